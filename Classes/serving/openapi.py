"""The API's OpenAPI 3 document, made from the routes, their docstrings and what `describes` says of them."""

import dataclasses
import inspect

from Classes import Helpers
from Classes.serving import response_schemas
from Classes.serving.api_errors import ERROR_CODES

IMAGE_SCHEMA = {"type": "string", "format": "binary", "minLength": 1}
FORM_SCHEMA = {"type": "object", "required": ["file"]}

# What every address may answer.
COMMON_ERRORS = (
    "bad_request",
    "host_not_allowed",
    "origin_not_allowed",
    "request_timeout",
    "body_too_large",
    "headers_too_large",
    "internal_error",
)

# The ways to send an image, or several.
ONE_IMAGE_BODY = {
    "image/*": {"schema": IMAGE_SCHEMA},
    "application/octet-stream": {"schema": IMAGE_SCHEMA},
    "multipart/form-data": {"schema": {**FORM_SCHEMA, "properties": {"file": IMAGE_SCHEMA}}},
}
SEVERAL_IMAGES_BODY = {
    "multipart/form-data": {
        "schema": {**FORM_SCHEMA, "properties": {"file": {"type": "array", "items": IMAGE_SCHEMA, "minItems": 1}}}
    }
}


@dataclasses.dataclass(frozen=True)
class Description:
    """What a docstring does not say of a route.

    Attributes:
      answer: a key of response_schemas.SCHEMAS, or the media type of an answer that is no JSON.
      refusals: codes of api_errors.ERROR_CODES.
      body: content of the request, or None.
      query: {parameter: (schema, description)}.
      secured: whether the API key is needed, where there is one.
    """

    answer: str
    refusals: tuple = ()
    body: dict | None = None
    query: dict = dataclasses.field(default_factory=dict)
    secured: bool = False


def documented(**fields):
    """Decorate a view function with its Description."""

    def decorate(view):
        view.description = Description(**fields)
        return view

    return decorate


def openapi_document(application):
    """The OpenAPI document of an application's described routes.

    Args:
      application: flask.Flask.
    Returns:
      a dict, OpenAPI 3.1, whose schemas are JSON Schema.
    """
    paths = {}
    for rule in application.url_map.iter_rules():
        view = application.view_functions[rule.endpoint]
        description = getattr(view, "description", None)
        if description is not None:
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                paths.setdefault(rule.rule, {})[method.lower()] = _operation(rule.endpoint, view, description)
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "ALL detection", "version": "1", "description": Helpers.DISCLAIMER},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": response_schemas.SCHEMAS, "securitySchemes": schemes},
        # With those of no address of ours, such as not_found.
        "x-error-codes": {code: {"status": status, "when": words} for code, (status, words) in ERROR_CODES.items()},
    }


def _operation(name, view, description):
    summary, _, details = inspect.getdoc(view).partition("\n\n")
    found = {"operationId": name, "summary": summary.replace("\n", " ").rstrip("."), "responses": _answers(description)}
    if details:
        found["description"] = details
    if description.body:
        found["requestBody"] = {"required": True, "content": description.body}
    if description.query:
        found["parameters"] = [
            {"name": key, "in": "query", "required": False, "schema": schema, "description": words}
            for key, (schema, words) in description.query.items()
        ]
    if description.secured:
        # Either one will do, and none where the server has no key.
        found["security"] = [{"key": []}, {"bearer": []}, {}]
    return found


def _answers(description):
    name = description.answer
    if name in response_schemas.SCHEMAS:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    else:
        content = {name: {"schema": {"type": "string"}}}
    found = {"200": {"description": "As asked for", "content": content}}
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    codes = [*COMMON_ERRORS, *description.refusals, *(["unauthorized"] if description.secured else [])]
    for code, (status, words) in ERROR_CODES.items():
        if code in codes:
            known = found.setdefault(str(status), {"description": "", "content": refusal})
            known["description"] += f"{'; ' if known['description'] else ''}{code}: {words}"
    return found
