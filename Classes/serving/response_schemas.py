"""The JSON of the API's responses: JSON Schemas with descriptions for the OpenAPI document, and conversions."""

import base64
from typing import Any

from Classes.common import outcome
from Classes.common.errors import escape_control_chars
from Classes.serving import field_schemas, json_answers, server_description
from Classes.serving import json_schema as schema
from Classes.serving.api_errors import ERROR_CODES, ApiError
from Classes.serving.predictor import HeatMap, PredictionResult

# Longer file names are cut in responses.
MAX_NAME_LENGTH = 255

_PREDICTION = {
    "verdict": schema.text(
        "The short name of the condition, and whether it is detected; if the model detects nothing, the class"
    ),
    "detected": {
        "type": ["boolean", "null"],
        "description": "Whether the disease is detected; null: the model detects nothing",
    },
    "class": schema.text("The predicted class"),
    "class_title": schema.text("What people read in place of the class, if its name is an abbreviation"),
    "class_confidence": schema.number("Probability of the predicted class", **schema.FRACTION),
    "group": schema.text("The predicted group of classes; the class itself if it is in none"),
    "group_confidence": schema.number("Probability of that group", **schema.FRACTION),
    "low_confidence": {"type": "boolean", "description": "Whether the confidence is below InceptionThreshold"},
    "uncertain": {
        "type": "boolean",
        "description": "Whether the probability of the condition lies in the uncertainty band; a person should decide",
    },
    "probabilities": {
        "type": "object",
        "description": "Probability of each class",
        "additionalProperties": schema.number("", **schema.FRACTION),
    },
    "group_probabilities": {
        "type": "object",
        "description": "Probability of each group, which is the sum of its classes",
        "additionalProperties": schema.number("", **schema.FRACTION),
    },
    "positive_probability": {
        "type": ["number", "null"],
        "description": "Probability of the disease; null: the model detects nothing",
        **schema.FRACTION,
    },
    "seconds": schema.number("Inference time in seconds", minimum=0),
    "remark": {
        "type": ["string", "null"],
        "description": "Why the result may be wrong: the colors differ from the training images; null: they do not",
    },
    "outcome": {
        "type": ["string", "null"],
        "description": "The result for people: signs of the disease, no signs of it, or review if there are reasons; "
        "null: the model detects nothing, and there are no reasons",
        "enum": [*outcome.OUTCOMES, None],
    },
    "reasons": {
        "type": "array",
        "description": "Why a person should look at the image; empty unless the outcome is review",
        "items": {"type": "string", "enum": list(outcome.REASONS)},
        "uniqueItems": True,
    },
    **schema.UPLOAD,
}
_HEAT_MAP = {
    "heat_map": schema.text("Heat map over the network input: a PNG as a data URI"),
    "heat_map_class": schema.text("The class that it is for: red areas speak for it, blue ones against it"),
    "heat_map_engine": schema.text("The backend that computed the heat map"),
    "heat_map_precision": schema.text("Its numeric precision"),
}
_MESSAGE = {
    "confidence": schema.number(
        "Probability of the predicted side, disease or not; of a model that detects nothing, of the predicted class",
        **schema.FRACTION,
    ),
    "message": schema.text("The result as a sentence"),
}
_LEGACY = {
    "Response": schema.text("Always OK", const="OK"),
    "Classification": schema.text("The same as verdict"),
    "aClassification": schema.text("The predicted class"),
    "Confidence": schema.text("The confidence as text"),
    "Message": schema.text("The result as a sentence, with confidence and inference time"),
}


_ERROR = schema.record(
    {
        "code": schema.text("Stable identifier for programs", enum=list(ERROR_CODES)),
        "message": schema.text("What happened and what to do, for people"),
        "request_id": schema.text("Identifies this request in the server's log"),
        "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds to wait before trying again"},
        "Response": schema.text("Always Error; only at /Inference", const="Error"),
        "Message": schema.text("Same as message; only at /Inference"),
    },
    optional=("retry_after", "Response", "Message"),
)
_POSITION = {"index": {"type": "integer", "minimum": 0}, "name": schema.text("Name of the uploaded file")}
_IN_BATCH = schema.record({**_POSITION, **_PREDICTION, **_MESSAGE, **_HEAT_MAP}, optional=tuple(_HEAT_MAP))
_NOT_IN_BATCH = schema.record(
    {**_POSITION, "error": schema.record({key: _ERROR["properties"][key] for key in ("code", "message")})}
)
_HISTORY_ROW = schema.record(
    {
        "id": {"type": "integer", "minimum": 1, "description": "Grows with every result"},
        "time": schema.text("When the result was made, in UTC", format="date-time"),
        "sha256": schema.text("SHA-256 of the image", **schema.SHA256),
        **{name: _PREDICTION[name] for name in ("outcome", "reasons", "verdict", "class", "class_confidence", "group")},
        "confidence": _MESSAGE["confidence"],
        "key": schema.text("Name of the API key that the client sent; empty if it has none"),
        "model": schema.PROVENANCE["model"],
        "request_id": schema.PROVENANCE["request_id"],
        "model_name": schema.PROVENANCE["model_name"],
    }
)

SCHEMAS = {
    "Error": _ERROR,
    "Inference": schema.record({**_LEGACY, **_PREDICTION, **schema.PROVENANCE}),
    "Classified": schema.record(
        {**_PREDICTION, **_MESSAGE, **_HEAT_MAP, **schema.PROVENANCE}, optional=tuple(_HEAT_MAP)
    ),
    "Field": field_schemas.FIELD,
    "HeatMap": schema.record({**_HEAT_MAP, **schema.PROVENANCE}),
    "Batch": schema.record(
        {
            "results": {"type": "array", "items": {"oneOf": [_IN_BATCH, _NOT_IN_BATCH]}},
            "failed": {"type": "integer", "minimum": 0, "description": "Number of images without a result"},
            **schema.PROVENANCE,
        }
    ),
    "Info": server_description.INFO,
    "Models": server_description.MODELS,
    "History": schema.record(
        {
            "results": {"type": "array", "items": _HISTORY_ROW},
            "days": {"type": "integer", "minimum": 1, "description": "Results are deleted after this many days"},
            **schema.PROVENANCE,
        }
    ),
    "Model": {"type": "object", "description": "The model card, and the backend that runs the model"},
    "Examples": schema.record(
        {
            "examples": {
                "type": "array",
                "description": "Practice images of both classes, in turn",
                "items": schema.record(
                    {"name": schema.text("File name"), "url": schema.text("Address, relative to the page")}
                ),
            }
        }
    ),
    "Document": {"type": "object", "description": "OpenAPI 3.1"},
    "Health": schema.record({"status": schema.text("Always ok")}),
}


def to_json(result: PredictionResult) -> dict[str, Any]:
    """Return the JSON fields of one image's result, without the provenance fields."""
    prediction, info = result.prediction, result.image_info
    fields = {
        "verdict": prediction.description,
        "detected": prediction.detected,
        "class": prediction.label,
        "class_title": result.class_title,
        "class_confidence": prediction.label_confidence,
        "group": prediction.group,
        "group_confidence": prediction.group_confidence,
        "low_confidence": prediction.low_confidence,
        "uncertain": prediction.uncertain,
        "probabilities": prediction.probabilities,
        "group_probabilities": prediction.group_probabilities,
        "positive_probability": prediction.positive_probability,
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
        "heat_map": json_answers.PNG_URI + base64.b64encode(found.content).decode(),
        "heat_map_class": found.class_name,
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
