"""The endpoint that takes photographs with many cells: /v1/field."""

from typing import Any

import flask

from Classes.common.errors import ConfigurationError
from Classes.common.scale_option import HIGHEST, LOWEST
from Classes.fields import scale
from Classes.serving import field_schemas, prediction_routes, response_schemas, uploads
from Classes.serving.api_errors import ApiError
from Classes.serving.field_service import FieldRequest, check_cell_types
from Classes.serving.openapi import ONE_IMAGE_BODY, documented
from Classes.serving.prediction_service import PredictionService

_NOT_A_FIELD = ("not_a_smear", "photograph_of_a_screen", "field_out_of_focus", "too_many_cells")
_SWITCH = {"type": "string", "enum": ["0", "1"]}
_QUERY = {
    "overlay": (_SWITCH, "1: also return the photograph with numbered boxes"),
    "crops": (_SWITCH, "1: also return a picture of each cell"),
    "photograph": (_SWITCH, "1: also return the photograph as a JPEG, for programs that cannot read its format"),
    "scale": ({"type": "number"}, "Micrometers per pixel; without it, from the file or the red cells"),
    "model": ({"type": "string"}, "Name of a model of cell types, from /v1/models; without it, WhiteCells"),
}

blueprint = flask.Blueprint("fields", __name__)


@blueprint.post("/v1/field")
@documented(
    response="Field",
    errors=(*prediction_routes.IMAGE_ERRORS, *prediction_routes.LOAD_ERRORS, *_NOT_A_FIELD, "not_a_cell_type_model"),
    body=ONE_IMAGE_BODY,
    query=_QUERY,
    secured=True,
    needs_default_model=False,
)
def field() -> dict[str, Any]:
    """Find, type and count the white cells of one photographed field.

    The image is sent as for /v1/classify. Fields have their own queue, one is counted at a time, in one stream, so
    that single cells do not wait for them. Nothing is kept in the history or published.
    """
    request, service = flask.request, _service()
    pictures = {name: prediction_routes.parse_flag(name) for name in ("overlay", "crops", "photograph")}
    microns, model = _parse_scale(request.args.get("scale", "")), request.args.get("model", "")
    if model:
        check_cell_types(service.models.find(model).card, model)
    with service.field_admission.admit(request.environ.get(prediction_routes.ARRIVED)) as ticket:
        content = uploads.single_image(request)
        name = response_schemas.display_name(uploads.image_name(request))
        try:
            result = service.analyze_field(ticket, content, FieldRequest(name, model, microns, **pictures))
        except ApiError as error:
            raise uploads.add_hint(error, content, request) from error
    flask.g.model = result.types.path.stem
    flask.g.predictions.append({"sha256": result.sha256, "white_cells": len(result.field.cells)})
    return field_schemas.field_json(result, flask.g.request_id)


def _parse_scale(text: str) -> scale.Scale | None:
    """Return the scale of the query; None if it has none."""
    if not text:
        return None
    try:
        return scale.given_scale(float(text))
    except (ValueError, ConfigurationError) as error:
        raise ApiError(
            "bad_request",
            f"scale={text[:16]} is not valid. Use {LOWEST} to {HIGHEST} micrometers per pixel.",
        ) from error


def _service() -> PredictionService:
    return flask.current_app.extensions["prediction_service"]
