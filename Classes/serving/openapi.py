"""Builds the API's OpenAPI 3.1 document from the routes, their docstrings and the `documented` decorator.

docs.js shows it and can send requests. Swagger UI 5.35 works under the same content security policy, but axe-core finds
eight kinds of accessibility faults in it, one of them critical, and its script has 1.7 MB.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flask

from Classes import Helpers
from Classes.common.conditions import Condition
from Classes.serving import response_schemas
from Classes.serving.api_errors import ERROR_CODES
from Classes.serving.response_examples import examples

IMAGE_SCHEMA = {"type": "string", "format": "binary", "minLength": 1}
FORM_SCHEMA = {"type": "object", "required": ["file"]}

# The parameter that chooses a model, and its errors.
MODEL_QUERY = {"model": ({"type": "string"}, "Name of the model, from /v1/models; without it, the default model")}
MODEL_ERRORS = ("unknown_model", "no_model")

# Errors that every endpoint can answer with.
COMMON_ERRORS = (
    "bad_request",
    "host_not_allowed",
    "origin_not_allowed",
    "request_timeout",
    "body_too_large",
    "headers_too_large",
    "internal_error",
)

# Content types of a request with one image, and with several.
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
class Documentation:
    """The parts of a route's documentation that its docstring does not contain.

    Attributes:
      response: a key of response_schemas.SCHEMAS, or the media type of a response that is not JSON.
      errors: keys of api_errors.ERROR_CODES, besides COMMON_ERRORS.
      body: content of the request, or None if the endpoint ignores it.
      query: {parameter: (schema, description)}.
      secured: whether the endpoint needs the API key, if the server has one.
      needs_default_model: whether a request that names no model needs the default one.
    """

    response: str
    errors: tuple[str, ...] = ()
    body: dict[str, Any] | None = None
    query: Mapping[str, tuple[dict[str, Any], str]] = dataclasses.field(default_factory=dict)
    secured: bool = False
    needs_default_model: bool = True


Samples = dict[str, dict[str, Any]]
View = TypeVar("View", bound=Callable[..., Any])
_DOCUMENTED: dict[Callable[..., Any], Documentation] = {}


def documented(**fields: Any) -> Callable[[View], View]:
    """Attach a Documentation with these fields to a view function."""

    def decorate(view: View) -> View:
        _DOCUMENTED[view] = Documentation(**fields)
        return view

    return decorate


def documentation(view: Callable[..., Any] | None) -> Documentation | None:
    """Return the Documentation of a view function, or None."""
    return None if view is None else _DOCUMENTED.get(view)


def openapi_document(application: flask.Flask, condition: Condition) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of an application's documented routes.

    Args:
      condition: what the default model detects, for the title and the sample answers.
    """
    samples = examples(condition)
    paths: dict[str, dict[str, Any]] = {}
    for rule in application.url_map.iter_rules():
        view = application.view_functions[rule.endpoint]
        found = documentation(view)
        if found is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                paths.setdefault(rule.rule, {})[method.lower()] = _operation(view, found, samples)
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{condition.short} detection", "version": "1", "description": Helpers.DISCLAIMER},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": response_schemas.SCHEMAS, "securitySchemes": schemes},
        # Includes codes that belong to no endpoint, such as not_found.
        "x-error-codes": {code: {"status": status, "when": when} for code, (status, when) in ERROR_CODES.items()},
    }


def _operation(view: Callable[..., Any], found: Documentation, samples: Samples) -> dict[str, Any]:
    summary, _, details = (inspect.getdoc(view) or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": view.__name__,
        "summary": summary.replace("\n", " ").rstrip("."),
        "responses": _responses(found, samples),
    }
    if details:
        operation["description"] = details
    if found.body:
        operation["requestBody"] = {"required": True, "content": found.body}
    if found.query:
        operation["parameters"] = [
            {"name": key, "in": "query", "required": False, "schema": schema, "description": description}
            for key, (schema, description) in found.query.items()
        ]
    if found.secured:
        # Either of them, or none if the server has no key.
        operation["security"] = [{"key": []}, {"bearer": []}, {}]
    return operation


def _json_content(schema: str, samples: Samples) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {**content, "example": samples[schema]} if schema in samples else content


def _responses(found: Documentation, samples: Samples) -> dict[str, Any]:
    if found.response in response_schemas.SCHEMAS:
        content = {"application/json": _json_content(found.response, samples)}
    else:
        content = {found.response: {"schema": {"type": "string"}}}
    responses: dict[str, Any] = {"200": {"description": "Success", "content": content}}
    error_content = {"application/json": _json_content("Error", samples)}
    codes = [*COMMON_ERRORS, *found.errors, *(["unauthorized"] if found.secured else [])]
    for code, (status, when) in ERROR_CODES.items():
        if code in codes:
            response = responses.setdefault(str(status), {"description": "", "content": error_content})
            response["description"] += f"{'; ' if response['description'] else ''}{code}: {when}"
    return responses
