"""The endpoints for operators and programs: info, model card, health, metrics and the OpenAPI document."""

import logging
from typing import Any

import flask

from Classes import Helpers
from Classes.common.errors import system_reason
from Classes.serving import prediction_routes, server_description
from Classes.serving.api_errors import ApiError
from Classes.serving.openapi import MODEL_ERRORS, MODEL_QUERY, documented, openapi_document
from Classes.serving.prediction_service import PredictionService

# Rows of one response of /v1/history.
MAX_HISTORY_ROWS = 1000

log = logging.getLogger("ClassifierServer")

blueprint = flask.Blueprint("operations", __name__)


@blueprint.get("/v1/info")
@documented(response="Info")
def info() -> dict[str, Any]:
    """Describe the server before the first image: software, model, limits, and whether a key is needed.

    This endpoint needs no key.
    """
    service = _service()
    return server_description.info_json(service.configuration, service.models, bool(service.keys))


@blueprint.get("/v1/models")
@documented(response="Models")
def models() -> dict[str, Any]:
    """List the models: what each one detects, its classes, metrics and limits, and whether it is the default.

    A request chooses one of them with `?model=NAME`. This endpoint needs no key.
    """
    service = _service()
    return {
        **server_description.models_json(service.models, service.is_ready),
        "request_id": flask.g.request_id,
        "notice": Helpers.DISCLAIMER,
    }


@blueprint.get("/v1/model")
@documented(response="Model", errors=MODEL_ERRORS, query=MODEL_QUERY, secured=True)
def model() -> dict[str, Any]:
    """Return the model card: classes, input, threshold, data, metrics, versions and hashes."""
    found = prediction_routes.requested_model()
    return {**server_description.card_json(found.card), **found.provenance(flask.g.request_id)}


@blueprint.get("/v1/history")
@documented(
    response="History",
    errors=("no_history", "history_unavailable"),
    query={
        "limit": ({"type": "integer", "minimum": 1, "maximum": MAX_HISTORY_ROWS, "default": 100}, "Number of results"),
        "before": ({"type": "integer", "minimum": 1}, "Only results with a smaller id, for the next page"),
        "model": ({"type": "string"}, "Only results of the model with this name, which need not be served any more"),
    },
    secured=True,
)
def history() -> dict[str, Any]:
    """Return the results of the last days, newest first, if `HistoryDays` is set.

    A key with a name reads the results that were requested with it; a key without a name reads all.
    """
    service = _service()
    if service.history is None:
        raise ApiError("no_history", "The server keeps no history. Its operator can set HistoryDays.")
    limit = _query_integer("limit", 1, MAX_HISTORY_ROWS) or 100
    before = _query_integer("before", 1, 2**63 - 1)
    try:
        rows = service.history.read(limit, before, flask.g.key_name, flask.request.args.get("model", ""))
    except OSError as error:
        log.warning("%s: %s. Results of the history cannot be read.", error.filename, system_reason(error))
        raise ApiError(
            "history_unavailable",
            f"The history cannot be read: {system_reason(error)}. The server's log names the file.",
        ) from error
    days = service.configuration["HistoryDays"]
    return {"results": rows, "days": days, **service.models.first.provenance(flask.g.request_id)}


@blueprint.get("/health/live")
@documented(response="Health")
def live() -> dict[str, str]:
    """Report whether the process answers requests."""
    return {"status": "ok"}


@blueprint.get("/health/ready")
@documented(response="Health", errors=("not_ready", *MODEL_ERRORS), query=MODEL_QUERY)
def ready() -> dict[str, str]:
    """Report whether the server can classify images.

    It cannot before the first inference, while it stops, and after its device failed until the device works again.
    Without `?model=NAME`, the default model counts, or the first one if there is no default.
    """
    service, name = _service(), flask.request.args.get("model", "")
    model = service.models.find(name) if name else service.models.first
    service.probe_backend(model)
    if not service.is_ready(model):
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
    return openapi_document(flask.current_app, _service().models.condition)


def _query_integer(name: str, lowest: int, highest: int) -> int | None:
    """Return a query parameter as int, or None if it is missing."""
    text = flask.request.args.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or not lowest <= int(text[:20]) <= highest:
        raise ApiError(
            "bad_request", f"{name}={text[:20]} is not valid. Use a whole number from {lowest} to {highest}."
        )
    return int(text)


def _service() -> PredictionService:
    return flask.current_app.extensions["prediction_service"]
