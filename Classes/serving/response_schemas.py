"""The JSON that the service answers with, and beside each field what it means, for the API's document."""

import base64

from Classes import Helpers
from Classes.common.errors import escape_control_chars
from Classes.inference import backend
from Classes.serving.api_errors import ERROR_CODES, ApiError

# A file name is repeated in answers only; longer ones serve nobody.
MAX_NAME_LENGTH = 255


def _text(description, **rules):
    return {"type": "string", "description": description, **rules}


def _number(description, **rules):
    return {"type": "number", "description": description, **rules}


def _object(properties, optional=()):
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_FRACTION = {"minimum": 0, "maximum": 1}
_SHA256 = {"pattern": "^[0-9a-f]{64}$"}

_PREDICTION = {
    "verdict": _text("What is said about the image", enum=["ALL detected", "ALL not detected"]),
    "detected": {"type": "boolean", "description": "Whether the verdict is ALL"},
    "class": _text("The class that is said"),
    "low_confidence": {"type": "boolean", "description": "Whether the confidence is below InceptionThreshold"},
    "uncertain": {
        "type": "boolean",
        "description": "Whether the probability of ALL lies in the model's uncertain band: a person should decide",
    },
    "probabilities": {
        "type": "object",
        "description": "Probability of each class",
        "additionalProperties": _number("", **_FRACTION),
    },
    "seconds": _number("How long the device took", minimum=0),
    "remark": {
        "type": ["string", "null"],
        "description": "Why the verdict may be wrong: colours unlike those of the training images; null: nothing",
    },
    "sha256": _text("SHA-256 of the bytes sent", **_SHA256),
    "image": {
        **_object(
            {
                "format": _text("Told by content, such as jpg or png"),
                "width": {"type": "integer", "minimum": 1},
                "height": {"type": "integer", "minimum": 1},
            }
        ),
        "description": "The image as it was sent, in pixels",
    },
}
_HEAT_MAP = {"heat_map": _text("What the verdict rests on, drawn over what the network saw: a PNG as a data URI")}
_MESSAGE = {
    "confidence": _number("Probability of that class", **_FRACTION),
    "message": _text("The verdict as a sentence"),
}
_PROVENANCE = {
    "engine": _text("What ran the model"),
    "precision": _text("Its arithmetic"),
    "model": _text("SHA-256 of the frozen graph", **_SHA256),
    "synthetic": {"type": "boolean", "description": "Trained on drawn smears, so that verdicts mean nothing"},
    "request_id": _text("Names this request in the server's log"),
    "notice": _text("What the verdict must not be taken for"),
}
_LEGACY = {
    "Response": _text("Always OK", const="OK"),
    "Classification": _text("The verdict", enum=["ALL detected", "ALL not detected"]),
    "aClassification": _text("The class that is said"),
    "Confidence": _text("Probability of that class, as a text"),
    "Message": _text("The verdict as a sentence, with its confidence and the seconds it took"),
}

_ERROR = _object(
    {
        "code": _text("Stable; programs may rely on it", enum=list(ERROR_CODES)),
        "message": _text("What happened and what to do, for people"),
        "request_id": _text("Names this request in the server's log"),
        "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds to wait before trying again"},
        "Response": _text("Always Error, at the historic address only", const="Error"),
        "Message": _text("As message, at the historic address only"),
    },
    optional=("retry_after", "Response", "Message"),
)
_POSITION = {"index": {"type": "integer", "minimum": 0}, "name": _text("The file's name as it was sent")}
_IN_BATCH = _object({**_POSITION, **_PREDICTION, **_MESSAGE, **_HEAT_MAP}, optional=("heat_map",))
_NOT_IN_BATCH = _object(
    {**_POSITION, "error": _object({key: _ERROR["properties"][key] for key in ("code", "message")})}
)

SCHEMAS = {
    "Refusal": _ERROR,
    "Inference": _object({**_LEGACY, **_PREDICTION, **_PROVENANCE}),
    "Classified": _object({**_PREDICTION, **_MESSAGE, **_HEAT_MAP, **_PROVENANCE}, optional=("heat_map",)),
    "Batch": _object(
        {
            "results": {"type": "array", "items": {"oneOf": [_IN_BATCH, _NOT_IN_BATCH]}},
            "failed": {"type": "integer", "minimum": 0, "description": "Images that could not be read"},
            **_PROVENANCE,
        }
    ),
    "Model": {"type": "object", "description": "The model card, with the engine that runs it"},
    "Document": {"type": "object", "description": "OpenAPI 3.1"},
    "Health": _object({"status": _text("ok, or why not")}),
}


def provenance_fields(card, engines, request_id):
    """Where an answer comes from.

    Args:
      card: model_card.ModelCard.
      engines: (name, precision) of what computed each of its images.
      request_id: text.
    """
    name, precision = backend.describe_source(engines)
    return {
        "engine": name,
        "precision": precision,
        "model": card.graph_sha256,
        "synthetic": card.synthetic,
        "request_id": request_id,
        "notice": Helpers.DISCLAIMER,
    }


def to_json(finding):
    """One image's verdict, without where it comes from.

    Args:
      finding: predictor.PredictionResult.
    """
    said = finding.verdict
    answer = {
        "verdict": said.finding,
        "detected": said.detected,
        "class": said.label,
        "low_confidence": said.low,
        "uncertain": said.uncertain,
        "probabilities": said.probabilities,
        "confidence": said.confidence,
        "message": said.sentence(finding.seconds),
        "seconds": finding.seconds,
        "remark": finding.remark,
        "sha256": finding.sha256,
        "image": {"format": finding.facts.format, "width": finding.facts.width, "height": finding.facts.height},
    }
    if finding.heat_map is not None:
        answer["heat_map"] = "data:image/png;base64," + base64.b64encode(finding.heat_map).decode()
    return answer


def batch_item_json(found):
    """One image's part of a batch.

    Args:
      found: predictor.PredictionResult, or the Refusal in its place.
    """
    if isinstance(found, ApiError):
        return {"error": {"code": found.code, "message": found.message}}
    return to_json(found)


def to_legacy_json(finding):
    """The answer that clients of the first system read, with the newer fields beside it."""
    answer = to_json(finding)
    # Readers that take Message and message for one name would stumble over both.
    confidence, message = answer.pop("confidence"), answer.pop("message")
    return {
        "Response": "OK",
        "Classification": answer["verdict"],
        "aClassification": answer["class"],
        "Confidence": str(confidence),
        "Message": message,
        **answer,
    }


def display_name(name):
    """A file's name as it may be repeated: one line of at most NAME characters."""
    return escape_control_chars(name or "")[:MAX_NAME_LENGTH]
