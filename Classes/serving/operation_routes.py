"""The endpoints for operators and programs: info, model card, health, metrics and the OpenAPI document."""

from typing import Any

import flask

from Classes.serving import response_schemas
from Classes.serving.api_errors import ApiError
from Classes.serving.openapi import documented, openapi_document
from Classes.serving.prediction_service import PredictionService

blueprint = flask.Blueprint("operations", __name__)


@blueprint.get("/v1/info")
@documented(response="Info")
def info() -> dict[str, Any]:
    """Describe the server before the first image: software, model, limits, and whether a key is needed.

    This endpoint needs no key.
    """
    return response_schemas.info_json(_service().configuration, _service().card, _service().key is not None)


@blueprint.get("/v1/model")
@documented(response="Model", secured=True)
def model() -> dict[str, Any]:
    """Return the model card: classes, input, threshold, data, metrics, versions and hashes."""
    return {**_service().card_json(), **_service().provenance(flask.g.request_id)}


@blueprint.get("/health/live")
@documented(response="Health")
def live() -> dict[str, str]:
    """Report whether the process answers requests."""
    return {"status": "ok"}


@blueprint.get("/health/ready")
@documented(response="Health", errors=("not_ready",))
def ready() -> dict[str, str]:
    """Report whether the server can classify images.

    It cannot before the first inference, while it stops, and after its device failed until the device works again.
    """
    _service().probe_backend()
    if not _service().ready:
        raise ApiError("not_ready", "The server is starting or stopping, or its device fails.", retry_after=1)
    return {"status": "ok"}


@blueprint.get("/metrics")
@documented(response="text/plain", secured=True)
def metrics() -> flask.Response:
    """Return the metrics in the Prometheus text format."""
    return flask.Response(_service().metrics.render(), content_type=_service().metrics.content_type)


@blueprint.get("/openapi.json")
@documented(response="Document")
def openapi() -> dict[str, Any]:
    """Return this document."""
    return openapi_document(flask.current_app)


def _service() -> PredictionService:
    return flask.current_app.extensions["prediction_service"]
