"""Building blocks of the JSON Schemas of the API."""

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]

FRACTION = {"minimum": 0, "maximum": 1}
SHA256 = {"pattern": "^[0-9a-f]{64}$"}


def text(description: str, **rules: Any) -> Schema:
    """Return the schema of a text."""
    return {"type": "string", "description": description, **rules}


def number(description: str, **rules: Any) -> Schema:
    """Return the schema of a number."""
    return {"type": "number", "description": description, **rules}


def record(properties: dict[str, Schema], optional: Sequence[str] = ()) -> Schema:
    """Return the schema of an object that has these fields and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def count(description: str) -> Schema:
    """Return the schema of a number of things."""
    return {"type": "integer", "minimum": 0, "description": description}


def array(items: Schema, description: str) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, "description": description}


# Fields that describe the uploaded file.
UPLOAD = {
    "sha256": text("SHA-256 of the uploaded bytes", **SHA256),
    "image": {
        **record(
            {
                "format": text("Format, detected from the content, such as jpg or png"),
                "width": {"type": "integer", "minimum": 1},
                "height": {"type": "integer", "minimum": 1},
            }
        ),
        "description": "The uploaded image; width and height in pixels",
    },
}

# Fields that identify the model and the device of a result.
PROVENANCE = {
    "engine": text("The backend that ran the model"),
    "precision": text("Numeric precision of the backend"),
    "model": text("SHA-256 of the frozen graph", **SHA256),
    "model_name": text("Name of the model, see /v1/models"),
    "synthetic": {
        "type": "boolean",
        "description": "Trained on synthetic images: the results are meaningless",
    },
    "request_id": text("Identifies this request in the server's log"),
    "notice": text("Limits on the use of the result"),
}
