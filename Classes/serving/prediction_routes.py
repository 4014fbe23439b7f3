"""The endpoints that take images: /Inference, /v1/classify, /v1/heatmap and /v1/batch."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import flask

from Classes.serving import openapi, response_schemas, uploads
from Classes.serving.admission import Ticket
from Classes.serving.api_errors import ApiError
from Classes.serving.models import ServedModel
from Classes.serving.openapi import MODEL_QUERY, ONE_IMAGE_BODY, SEVERAL_IMAGES_BODY, documented
from Classes.serving.prediction_service import PredictionService
from Classes.serving.predictor import PredictionResult

LEGACY_ENDPOINT = "/Inference"

# Key of the WSGI environment: time.monotonic() when the first byte of the request arrived; the timeout counts from it.
ARRIVED = "all.arrived"

IMAGE_ERRORS = (
    "empty", "several_images", "image_too_large", "not_an_image", "damaged_image", "no_content", "unknown_bit_depth",
    "several_pages", "unsupported_image",
)  # fmt: skip
LOAD_ERRORS = (*openapi.MODEL_ERRORS, "too_many_requests", "busy", "engine_failed", "deadline")
_HEAT_MAP_QUERY = {"heatmap": ({"type": "string", "enum": ["0", "1"]}, "1: also return a heat map")}

T = TypeVar("T")

blueprint = flask.Blueprint("predictions", __name__)


@blueprint.post(LEGACY_ENDPOINT)
@documented(
    response="Inference", errors=IMAGE_ERRORS + LOAD_ERRORS, body=ONE_IMAGE_BODY, query=MODEL_QUERY, secured=True
)
def inference() -> dict[str, Any]:
    """Classify one image, with the response format of the first version.

    The image is the request body or the form field `file`. The content type is ignored.
    """
    model = requested_model()
    result = _predict_one(model)
    return {**response_schemas.to_legacy_json(result), **model.provenance(flask.g.request_id, result)}


@blueprint.post("/v1/classify")
@documented(
    response="Classified",
    errors=(*IMAGE_ERRORS, *LOAD_ERRORS, "no_heat_map"),
    body=ONE_IMAGE_BODY,
    query={**MODEL_QUERY, **_HEAT_MAP_QUERY},
    secured=True,
)
def classify() -> dict[str, Any]:
    """Classify one image, optionally with a heat map.

    The image is the request body or the form field `file`. The content type is ignored.
    """
    model = requested_model()
    result = _predict_one(model, parse_flag("heatmap"))
    return {**response_schemas.to_json(result), **model.provenance(flask.g.request_id, result)}


@blueprint.post("/v1/heatmap")
@documented(
    response="HeatMap",
    errors=(*IMAGE_ERRORS, *LOAD_ERRORS, "no_heat_map"),
    body=ONE_IMAGE_BODY,
    query=MODEL_QUERY,
    secured=True,
)
def heat_map() -> dict[str, Any]:
    """Return the heat map of one image, without a result.

    The image is sent as for /v1/classify. Nothing is counted as a result, stored or published.
    """
    model = requested_model()
    found = _run_on_image(functools.partial(_service().render_heat_map, model), heat_map=True)
    return {**response_schemas.heat_map_json(found), **model.provenance(flask.g.request_id)}


@blueprint.post("/v1/batch")
@documented(
    response="Batch",
    errors=("empty", "several_images", "too_many_images", *LOAD_ERRORS),
    body=SEVERAL_IMAGES_BODY,
    query=MODEL_QUERY,
    secured=True,
)
def batch() -> dict[str, Any]:
    """Classify several images sent as one form.

    Each image is a form field `file`. The response has one result per image, in the same order. An image that cannot
    be classified has `error` in place of a result and does not affect the others.
    """
    service, request, model = _service(), flask.request, requested_model()
    max_images = service.configuration["MaxBatch"]
    with service.admission.admit(request.environ.get(ARRIVED)) as ticket:
        images = uploads.all_images(request)
        if len(images) > max_images:
            raise ApiError(
                "too_many_images", f"The request has {len(images)} images, and MaxBatch is {max_images}. Send fewer."
            )
        service.rate_limiter.consume(request.remote_addr or "", len(images), already_counted=1)
        results = [
            uploads.add_hint(result, content, request) if isinstance(result, ApiError) else _record(model, result)
            for result, (_, content) in zip(
                service.predict_batch(model, ticket, [content for _, content in images]), images, strict=True
            )
        ]
    items = [
        {"index": index, "name": response_schemas.display_name(name), **response_schemas.batch_item_json(result)}
        for index, ((name, _), result) in enumerate(zip(images, results, strict=True))
    ]
    succeeded = [result for result in results if isinstance(result, PredictionResult)]
    return {
        "results": items,
        "failed": len(items) - len(succeeded),
        **model.provenance(flask.g.request_id, *succeeded),
    }


def requested_model() -> ServedModel:
    """Return the model that the query names, otherwise the default one.

    Raises:
      ApiError: `unknown_model` or `no_model`.
    """
    model = _service().models.find(flask.request.args.get("model", ""))
    flask.g.model = model.name
    return model


def _predict_one(model: ServedModel, heat_map: bool = False) -> PredictionResult:
    def work(ticket: Ticket, content: bytes) -> PredictionResult:
        return _record(model, _service().predict(model, ticket, content, heat_map))

    return _run_on_image(work, heat_map)


def _run_on_image(work: Callable[[Ticket, bytes], T], heat_map: bool) -> T:
    """Return what `work` makes of the request's only image, admitted among the requests with or without a heat map."""
    request, service = flask.request, _service()
    admission = service.heat_map_admission if heat_map else service.admission
    with admission.admit(request.environ.get(ARRIVED)) as ticket:
        content = uploads.single_image(request)
        try:
            return work(ticket, content)
        except ApiError as error:
            raise uploads.add_hint(error, content, request) from error


def _record(model: ServedModel, result: PredictionResult) -> PredictionResult:
    verdict, outcome = result.prediction.description, result.prediction.outcome
    label = result.prediction.label
    flask.g.predictions.append({"sha256": result.sha256, "verdict": verdict, "outcome": outcome, "class": label})
    _service().record(model, result, flask.g.request_id, flask.g.key_name)
    return result


def _service() -> PredictionService:
    return flask.current_app.extensions["prediction_service"]


def parse_flag(name: str) -> bool:
    """Return a query parameter as bool; an unknown value is an error rather than false."""
    text = flask.request.args.get(name, "0")
    flags = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    if text.lower() not in flags:
        raise ApiError("bad_request", f"{name}={text[:16]} is not valid. Use 1 or 0.")
    return flags[text.lower()]
