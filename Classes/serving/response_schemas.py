"""The JSON of the API's responses: JSON Schemas with descriptions for the OpenAPI document, and conversions."""

import base64
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.common import outcome, provenance
from Classes.common.config import Configuration
from Classes.common.errors import escape_control_chars
from Classes.imaging import decode
from Classes.inference.backend import describe_source
from Classes.inference.model_card import ModelCard
from Classes.serving.api_errors import ERROR_CODES, ApiError
from Classes.serving.predictor import HeatMap, PredictionResult

Schema = dict[str, Any]

SOFTWARE = "ALL detection toolkit"

# Longer file names are cut in responses.
MAX_NAME_LENGTH = 255

# Digits of a hash that are enough for people to tell models apart.
SHORT_HASH = 12


def _text(description: str, **rules: Any) -> Schema:
    return {"type": "string", "description": description, **rules}


def _number(description: str, **rules: Any) -> Schema:
    return {"type": "number", "description": description, **rules}


def _object(properties: dict[str, Schema], optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_FRACTION = {"minimum": 0, "maximum": 1}
_SHA256 = {"pattern": "^[0-9a-f]{64}$"}

_PREDICTION = {
    "verdict": _text("The result", enum=["ALL detected", "ALL not detected"]),
    "detected": {"type": "boolean", "description": "Whether the result is ALL"},
    "class": _text("The predicted class"),
    "low_confidence": {"type": "boolean", "description": "Whether the confidence is below InceptionThreshold"},
    "uncertain": {
        "type": "boolean",
        "description": "Whether the probability of ALL lies in the model's uncertainty band; a person should decide",
    },
    "probabilities": {
        "type": "object",
        "description": "Probability of each class",
        "additionalProperties": _number("", **_FRACTION),
    },
    "seconds": _number("Inference time in seconds", minimum=0),
    "remark": {
        "type": ["string", "null"],
        "description": "Why the result may be wrong: the colors differ from the training images; null: they do not",
    },
    "outcome": _text(
        "The result for people: signs of ALL, no signs of ALL, or review if there are reasons",
        enum=list(outcome.OUTCOMES),
    ),
    "reasons": {
        "type": "array",
        "description": "Why a person should look at the image; empty unless the outcome is review",
        "items": {"type": "string", "enum": list(outcome.REASONS)},
        "uniqueItems": True,
    },
    "sha256": _text("SHA-256 of the uploaded bytes", **_SHA256),
    "image": {
        **_object(
            {
                "format": _text("Format, detected from the content, such as jpg or png"),
                "width": {"type": "integer", "minimum": 1},
                "height": {"type": "integer", "minimum": 1},
            }
        ),
        "description": "The uploaded image; width and height in pixels",
    },
}
_HEAT_MAP = {
    "heat_map": _text("Heat map over the network input: a PNG as a data URI"),
    "heat_map_engine": _text("The backend that computed the heat map"),
    "heat_map_precision": _text("Its numeric precision"),
}
_MESSAGE = {
    "confidence": _number("Probability of the predicted class", **_FRACTION),
    "message": _text("The result as a sentence"),
}
_PROVENANCE = {
    "engine": _text("The backend that ran the model"),
    "precision": _text("Numeric precision of the backend"),
    "model": _text("SHA-256 of the frozen graph", **_SHA256),
    "synthetic": {
        "type": "boolean",
        "description": "Trained on synthetic images: the results are meaningless",
    },
    "request_id": _text("Identifies this request in the server's log"),
    "notice": _text("Limits on the use of the result"),
}
_LEGACY = {
    "Response": _text("Always OK", const="OK"),
    "Classification": _text("The result", enum=["ALL detected", "ALL not detected"]),
    "aClassification": _text("The predicted class"),
    "Confidence": _text("Probability of the predicted class, as text"),
    "Message": _text("The result as a sentence, with confidence and inference time"),
}


def _count(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description}


_INFO = _object(
    {
        "software": _text("Name of the software"),
        "version": _text("Its version"),
        "site_name": _text("Name of the laboratory (SiteName); may be empty"),
        "network": _text("Name of the model's network"),
        "model": _text("The first 12 digits of the SHA-256 of the frozen graph", pattern="^[0-9a-f]{12}$"),
        "classes": {
            "type": "array",
            "items": _text(""),
            "description": "Class names in the order of the probabilities",
        },
        "positive_class": _text("The class that means ALL"),
        "synthetic": _PROVENANCE["synthetic"],
        "key_required": {"type": "boolean", "description": "Whether the endpoints that take images need an API key"},
        "input_crop": _number(
            "Side of the central square that the model sees, relative to the shorter side of an image"
        ),
        "formats": {"type": "array", "items": _text(""), "description": "Image formats, recognized by content"},
        "limits": {
            **_object(
                {
                    "body_bytes": _count("Largest request (MaxBody)"),
                    "batch_images": _count("Most images per request to /v1/batch (MaxBatch)"),
                    "image_pixels": _count("Most pixels per image (MaxPixels)"),
                    "image_side": _count("Longest side of an image in pixels (MaxSide)"),
                    "images_per_minute": _count("Rate limit per client (RateLimitPerMinute); 0: none"),
                }
            ),
            "description": "Limits of this server",
        },
        "notice": _PROVENANCE["notice"],
    }
)

_ERROR = _object(
    {
        "code": _text("Stable identifier for programs", enum=list(ERROR_CODES)),
        "message": _text("What happened and what to do, for people"),
        "request_id": _text("Identifies this request in the server's log"),
        "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds to wait before trying again"},
        "Response": _text("Always Error; only at /Inference", const="Error"),
        "Message": _text("Same as message; only at /Inference"),
    },
    optional=("retry_after", "Response", "Message"),
)
_POSITION = {"index": {"type": "integer", "minimum": 0}, "name": _text("Name of the uploaded file")}
_IN_BATCH = _object({**_POSITION, **_PREDICTION, **_MESSAGE, **_HEAT_MAP}, optional=tuple(_HEAT_MAP))
_NOT_IN_BATCH = _object(
    {**_POSITION, "error": _object({key: _ERROR["properties"][key] for key in ("code", "message")})}
)
_HISTORY_ROW = _object(
    {
        "id": {"type": "integer", "minimum": 1, "description": "Grows with every result"},
        "time": _text("When the result was made, in UTC", format="date-time"),
        "sha256": _text("SHA-256 of the image", **_SHA256),
        **{name: _PREDICTION[name] for name in ("outcome", "reasons", "verdict", "class")},
        "confidence": _MESSAGE["confidence"],
        "key": _text("Name of the API key that the client sent; empty if it has none"),
        "model": _PROVENANCE["model"],
        "request_id": _PROVENANCE["request_id"],
    }
)

SCHEMAS = {
    "Error": _ERROR,
    "Inference": _object({**_LEGACY, **_PREDICTION, **_PROVENANCE}),
    "Classified": _object({**_PREDICTION, **_MESSAGE, **_HEAT_MAP, **_PROVENANCE}, optional=tuple(_HEAT_MAP)),
    "HeatMap": _object({**_HEAT_MAP, **_PROVENANCE}),
    "Batch": _object(
        {
            "results": {"type": "array", "items": {"oneOf": [_IN_BATCH, _NOT_IN_BATCH]}},
            "failed": {"type": "integer", "minimum": 0, "description": "Number of images without a result"},
            **_PROVENANCE,
        }
    ),
    "Info": _INFO,
    "History": _object(
        {
            "results": {"type": "array", "items": _HISTORY_ROW},
            "days": {"type": "integer", "minimum": 1, "description": "Results are deleted after this many days"},
            **_PROVENANCE,
        }
    ),
    "Model": {"type": "object", "description": "The model card, and the backend that runs the model"},
    "Examples": _object(
        {
            "examples": {
                "type": "array",
                "description": "Practice images of both classes, in turn",
                "items": _object({"name": _text("File name"), "url": _text("Address, relative to the page")}),
            }
        }
    ),
    "Document": {"type": "object", "description": "OpenAPI 3.1"},
    "Health": _object({"status": _text("Always ok")}),
}


def provenance_fields(card: ModelCard, sources: Sequence[tuple[str, str]], request_id: str) -> dict[str, Any]:
    """Return the JSON fields that identify model and backends; `sources` is (backend, precision) of each image."""
    name, precision = describe_source(sources)
    return {
        "engine": name,
        "precision": precision,
        "model": card.graph_sha256,
        "synthetic": card.synthetic,
        "request_id": request_id,
        "notice": Helpers.DISCLAIMER,
    }


def info_json(configuration: Configuration, card: ModelCard, key_required: bool) -> dict[str, Any]:
    """Return the JSON fields that describe the server to a client without a key."""
    return {
        "software": SOFTWARE,
        "version": provenance.version(),
        "site_name": configuration["SiteName"],
        "network": card.network,
        "model": card.graph_sha256[:SHORT_HASH],
        "classes": list(card.classes),
        "positive_class": card.positive,
        "synthetic": card.synthetic,
        "key_required": key_required,
        "input_crop": card.input_spec.crop,
        "formats": [*decode.FORMATS, "TIFF"],
        "limits": {
            "body_bytes": configuration["MaxBody"],
            "batch_images": configuration["MaxBatch"],
            "image_pixels": configuration["MaxPixels"],
            "image_side": configuration["MaxSide"],
            "images_per_minute": configuration["RateLimitPerMinute"],
        },
        "notice": Helpers.DISCLAIMER,
    }


def to_json(result: PredictionResult) -> dict[str, Any]:
    """Return the JSON fields of one image's result, without the provenance fields."""
    prediction, info = result.prediction, result.image_info
    fields = {
        "verdict": prediction.description,
        "detected": prediction.detected,
        "class": prediction.label,
        "low_confidence": prediction.low_confidence,
        "uncertain": prediction.uncertain,
        "probabilities": prediction.probabilities,
        "confidence": prediction.confidence,
        "message": prediction.message(result.seconds),
        "seconds": result.seconds,
        "remark": result.remark,
        "sha256": result.sha256,
        "image": {"format": info.format, "width": info.width, "height": info.height},
        "outcome": prediction.outcome,
        "reasons": list(prediction.reasons),
    }
    if result.heat_map is not None:
        fields |= heat_map_json(result.heat_map)
    return fields


def heat_map_json(found: HeatMap) -> dict[str, Any]:
    """Return the JSON fields of a heat map."""
    return {
        "heat_map": "data:image/png;base64," + base64.b64encode(found.content).decode(),
        "heat_map_engine": found.backend,
        "heat_map_precision": found.precision,
    }


def batch_item_json(result: PredictionResult | ApiError) -> dict[str, Any]:
    """Return the JSON fields of one image in a batch."""
    if isinstance(result, ApiError):
        return {"error": {"code": result.code, "message": result.message}}
    return to_json(result)


def to_legacy_json(result: PredictionResult) -> dict[str, Any]:
    """Return the JSON fields that clients of the first system read, followed by the newer fields."""
    fields = to_json(result)
    # Parsers that ignore case would confuse them with Confidence and Message.
    confidence, message = fields.pop("confidence"), fields.pop("message")
    return {
        "Response": "OK",
        "Classification": fields["verdict"],
        "aClassification": fields["class"],
        "Confidence": str(confidence),
        "Message": message,
        **fields,
    }


def display_name(name: str | None) -> str:
    """Return a file name in a form that is safe to repeat: one line of at most MAX_NAME_LENGTH characters."""
    return escape_control_chars(name or "")[:MAX_NAME_LENGTH]
