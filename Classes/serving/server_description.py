"""What /v1/info and /v1/models answer: JSON Schemas, and the JSON of the server, of its models and of a model card."""

from collections.abc import Callable
from typing import Any

from Classes import Helpers
from Classes.common import class_scheme, provenance
from Classes.common.config import Configuration
from Classes.imaging import decode
from Classes.inference.model_card import ModelCard
from Classes.serving import json_schema as schema
from Classes.serving.models import ModelRegistry, ServedModel

# Digits of a hash that are enough for people to tell models apart.
SHORT_HASH = 12

# Metrics of a card that a list of models shows, in this order.
_HEADLINE = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "macro_f1")

_CLASSES = schema.array(schema.text(""), "Class names in the order of the probabilities")
_CROP = schema.number("Side of the central square that the model sees, relative to the shorter side of an image")

INFO = schema.record(
    {
        "software": schema.text("Name of the software"),
        "version": schema.text("Its version"),
        "site_name": schema.text("Name of the laboratory (SiteName); may be empty"),
        "default_model": {
            "type": ["string", "null"],
            "description": "The model for requests that name none, which the next fields describe; null: it is not "
            "available, and they describe the first model of /v1/models that is",
        },
        "network": schema.text("Name of the model's network"),
        "model": schema.text("The first 12 digits of the SHA-256 of the frozen graph", pattern="^[0-9a-f]{12}$"),
        "classes": _CLASSES,
        "condition": {
            "type": ["object", "null"],
            "description": "The disease that the model detects: names, source of the terms, words; null: none",
        },
        "positive_class": {
            "type": ["string", "array"],
            "items": schema.text(""),
            "description": "The class that means disease; a list if there are several, empty if there is none",
        },
        "synthetic": schema.PROVENANCE["synthetic"],
        "key_required": {"type": "boolean", "description": "Whether the endpoints that take images need an API key"},
        "input_crop": _CROP,
        "formats": schema.array(schema.text(""), "Image formats, recognized by content"),
        "limits": {
            **schema.record(
                {
                    "body_bytes": schema.count("Largest request (MaxBody)"),
                    "batch_images": schema.count("Most images per request to /v1/batch (MaxBatch)"),
                    "image_pixels": schema.count("Most pixels per image (MaxPixels)"),
                    "image_side": schema.count("Longest side of an image in pixels (MaxSide)"),
                    "images_per_minute": schema.count("Rate limit per client (RateLimitPerMinute); 0: none"),
                }
            ),
            "description": "Limits of this server",
        },
        "notice": schema.PROVENANCE["notice"],
    }
)
_METRIC = schema.record(
    {
        "value": {"type": ["number", "null"], "description": "Null: there were no images for it"},
        "interval": {
            "type": ["array", "null"],
            "items": {"type": "number"},
            "description": "95 % interval; null: there is none",
        },
    }
)
_METRICS = {
    **schema.record(
        {
            "of": schema.text(
                "What is told apart: disease or not, the groups, or the classes", enum=["disease", "groups", "classes"]
            ),
            "split": schema.text("Which images were measured"),
            "images": schema.count("Number of images"),
            **dict.fromkeys(_HEADLINE, _METRIC),
            "macro_f1": {**_METRIC, "description": "Mean F1 of the groups or classes, which weighs each the same"},
            "ece": schema.number("Expected calibration error", **schema.FRACTION),
        },
        optional=(*_HEADLINE, "ece"),
    ),
    "type": ["object", "null"],
    "description": "The most important metrics; null: nothing was measured",
}
_ALWAYS = {
    "name": schema.text("Name of the model, for ?model="),
    "default": {"type": "boolean", "description": "Whether it answers requests that name no model"},
    "available": {"type": "boolean", "description": "Whether requests can use it"},
    "ready": {"type": "boolean", "description": "Whether its last inference succeeded"},
    "reason": {"type": ["string", "null"], "description": "Why it is not available; null: it is"},
}
_IF_AVAILABLE = {
    "network": schema.text("Name of the network"),
    "model": schema.PROVENANCE["model"],
    "created": {"type": ["string", "null"], "description": "When it was trained, in UTC"},
    "detects": {
        "type": ["string", "null"],
        "description": "Short name of the condition that it detects; null: none, it names types of cells",
    },
    "condition": {
        "type": ["object", "null"],
        "description": "The disease: names, the source of the terms, words for its cells; null: none",
    },
    "classes": _CLASSES,
    "class_titles": {
        "type": "object",
        "description": "What people read in place of a class name, if that is an abbreviation",
        "additionalProperties": schema.text(""),
    },
    "positive": schema.array(schema.text(""), "The classes that mean disease"),
    "groups": {
        "type": "object",
        "description": "Groups of classes, whose probabilities add up; a class in none is a group of its own",
        "additionalProperties": schema.array(schema.text(""), ""),
    },
    "counted": schema.array(schema.text(""), "The classes that enter counts"),
    "threshold": schema.number("Probability of disease from which it is detected", **schema.FRACTION),
    "input_size": {"type": "integer", "minimum": 1, "description": "Side of the network's square input in pixels"},
    "input_crop": _CROP,
    "synthetic": schema.PROVENANCE["synthetic"],
    "limits": schema.array(schema.text(""), "What the model has never seen, and other limits, as sentences"),
    "metrics": _METRICS,
    "engine": schema.PROVENANCE["engine"],
    "precision": schema.PROVENANCE["precision"],
}
_MODEL = schema.record({**_ALWAYS, **_IF_AVAILABLE}, optional=tuple(_IF_AVAILABLE))
MODELS = schema.record(
    {
        "default": {"type": ["string", "null"], "description": "Name of the default model; null: it is not available"},
        "models": schema.array(
            schema.record({**_ALWAYS, **_IF_AVAILABLE}, optional=tuple(_IF_AVAILABLE)), "The models"
        ),
        "request_id": schema.PROVENANCE["request_id"],
        "notice": schema.PROVENANCE["notice"],
    }
)


def info_json(configuration: Configuration, models: ModelRegistry, key_required: bool) -> dict[str, Any]:
    """Return the JSON fields that describe the server to a client without a key."""
    card = models.first.card
    return {
        "software": f"{card.condition.short} detection toolkit",
        "version": provenance.version(),
        "site_name": configuration["SiteName"],
        "default_model": models.default.name if models.default else None,
        "network": card.network,
        "model": card.graph_sha256[:SHORT_HASH],
        "classes": list(card.classes),
        "condition": card.condition.to_json() if card.positive else None,
        "positive_class": class_scheme.as_json(card.positive),
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


def models_json(models: ModelRegistry, is_ready: Callable[[ServedModel], bool]) -> dict[str, Any]:
    """Return the JSON fields of the list of models, those that are not available last."""
    unavailable = [
        {"default": name == models.default_name, "name": name, "available": False, "ready": False, "reason": reason}
        for name, reason in models.unavailable.items()
    ]
    return {
        "default": models.default.name if models.default else None,
        "models": [
            *({"default": model is models.default, **_model_json(model, is_ready(model))} for model in models),
            *unavailable,
        ],
    }


def card_json(card: ModelCard) -> dict[str, Any]:
    """Return a model card as JSON, without its path on this machine."""
    return card.to_json()


def _model_json(model: ServedModel, ready: bool) -> dict[str, Any]:
    card = model.card
    about = card.cell_types or {}
    return {
        "name": model.name,
        "available": True,
        "ready": ready,
        "reason": None,
        "network": card.network,
        "model": card.graph_sha256,
        "created": card.created,
        "detects": card.condition.short if card.positive else None,
        "condition": card.condition.to_json() if card.positive else None,
        "classes": list(card.classes),
        "class_titles": about.get("names", {}),
        "positive": list(card.positive),
        "groups": {group: list(types) for group, types in card.scheme.groups.items()},
        "counted": list(card.scheme.counted),
        "threshold": card.threshold,
        "input_size": card.size,
        "input_crop": card.input_spec.crop,
        "synthetic": card.synthetic,
        "limits": [*about.get("limits", []), *[Helpers.SYNTHETIC] * card.synthetic],
        "metrics": _headline(card),
        "engine": model.backend.name,
        "precision": model.backend.precision,
    }


def _headline(card: ModelCard) -> dict[str, Any] | None:
    """Return the metrics for the list: of disease or not, otherwise of the groups or classes."""
    if card.metrics:
        calibration = (card.metrics.get("certainty") or {}).get("after") or {}
        found = {"of": "disease" if card.positive else "classes", "split": card.metrics["split"]}
        macro = {key: value for key, value in (card.metrics.get("multiclass") or {}).items() if key == "macro_f1"}
        found |= _values({**card.metrics, **macro})
        return {**found, "ece": calibration["ece"]} if calibration.get("ece") is not None else found
    measured = (card.cell_types or {}).get("metrics")
    if not measured:
        return None
    return {"of": "groups", "split": measured["split"], **_values(measured["groups"]), "ece": measured["groups"]["ece"]}


def _values(metrics: dict[str, Any]) -> dict[str, Any]:
    values = {name: metrics[name] for name in _HEADLINE if name in metrics}
    return {
        "images": metrics["images"],
        **{name: {"value": each["value"], "interval": each["interval"]} for name, each in values.items()},
    }
