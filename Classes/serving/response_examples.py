"""Sample answers of the API for the OpenAPI document, one per schema of response_schemas.SCHEMAS with fields.

{condition} stands for the short name of the condition that the server's model detects.
"""

from typing import Any

from Classes import Helpers
from Classes.common.conditions import Condition
from Classes.serving import field_schemas

_IMAGE_SHA256 = "4f6f2f9c6b1d0c4c53a1f0d2c9be41d3b5a2e7c80f6a95d14e3b7c2a90d8f165"
_PROVENANCE: dict[str, Any] = {
    "engine": "OpenVINO CPU",
    "precision": "f32",
    "model": "9b1c7f2e5a804d63c1f7b2a9e6d05834f7c9a1b3d5e8f0246813579bdf02468a",
    "model_name": "{condition}Graph",
    "synthetic": False,
    "request_id": "5f0c1c5a0d6f4f3b8f8f7f6a3f3d2b1c",
    "notice": Helpers.DISCLAIMER,
}
_PREDICTION = {
    "verdict": "{condition} detected",
    "detected": True,
    "class": "1",
    "class_title": "1",
    "class_confidence": 0.9729,
    "group": "1",
    "group_confidence": 0.9729,
    "low_confidence": False,
    "uncertain": False,
    "probabilities": {"0": 0.0271, "1": 0.9729},
    "group_probabilities": {"0": 0.0271, "1": 0.9729},
    "positive_probability": 0.9729,
    "seconds": 0.0346,
    "remark": None,
    "outcome": "positive",
    "reasons": [],
    "sha256": _IMAGE_SHA256,
    "image": {"format": "jpg", "width": 360, "height": 363},
}
_CONDITION = {
    "short": "{condition}",
    "long": "{title}",
    "source": "{source}",
    "affected_cells": "leukemic cells",
    "normal_cells": "healthy cells",
    "translations": {},
}
_MESSAGE = {"confidence": 0.9729, "message": "{condition} detected with a confidence of 0.9729 in 0.0346"}
_HEAT_MAP = {
    "heat_map": "data:image/png;base64,iVBORw0KGgo…",
    "heat_map_class": "1",
    "heat_map_engine": "OpenVINO CPU",
    "heat_map_precision": "f32",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Inference": {
        "Response": "OK",
        "Classification": "{condition} detected",
        "aClassification": "1",
        "Confidence": "0.9729",
        "Message": _MESSAGE["message"],
        **_PREDICTION,
        **_PROVENANCE,
    },
    "Classified": {**_PREDICTION, **_MESSAGE, **_PROVENANCE},
    "Field": field_schemas.EXAMPLE,
    "HeatMap": {**_HEAT_MAP, **_PROVENANCE},
    "Batch": {
        "results": [
            {"index": 0, "name": "cell.jpg", **_PREDICTION, **_MESSAGE},
            {"index": 1, "name": "notes.txt", "error": {"code": "not_an_image", "message": "notes.txt: a text file."}},
        ],
        "failed": 1,
        **_PROVENANCE,
    },
    "Info": {
        "software": "{condition} detection toolkit",
        "version": "2.0.0",
        "site_name": "Hematology, ward 7",
        "default_model": "{condition}Graph",
        "network": "InceptionV3",
        "model": _PROVENANCE["model"][:12],
        "classes": ["0", "1"],
        "condition": _CONDITION,
        "positive_class": "1",
        "synthetic": False,
        "key_required": True,
        "input_crop": 1.0,
        "formats": ["JPEG", "PNG", "TIFF"],
        "limits": {
            "body_bytes": 16777216,
            "batch_images": 32,
            "image_pixels": 40000000,
            "image_side": 20000,
            "images_per_minute": 6000,
        },
        "notice": Helpers.DISCLAIMER,
    },
    "Models": {
        "default": "{condition}Graph",
        "models": [
            {
                "default": True,
                "name": "{condition}Graph",
                "available": True,
                "ready": True,
                "reason": None,
                "network": "InceptionV3",
                "model": _PROVENANCE["model"],
                "created": "2026-11-26T18:03:11+00:00",
                "detects": "{condition}",
                "condition": _CONDITION,
                "classes": ["0", "1"],
                "class_titles": {},
                "positive": ["1"],
                "groups": {},
                "counted": ["0", "1"],
                "threshold": 0.5,
                "input_size": 299,
                "input_crop": 1.0,
                "synthetic": False,
                "limits": [],
                "metrics": {
                    "of": "disease",
                    "split": "validation",
                    "images": 245,
                    "accuracy": {"value": 0.9714, "interval": [0.9422, 0.9861]},
                    "sensitivity": {"value": 0.9593, "interval": [0.9084, 0.9825]},
                    "specificity": {"value": 0.9836, "interval": [0.9422, 0.9955]},
                    "ece": 0.0125,
                },
                "engine": _PROVENANCE["engine"],
                "precision": _PROVENANCE["precision"],
            },
            {
                "default": False,
                "name": "WhiteCells",
                "available": False,
                "ready": False,
                "reason": "Model/WhiteCells/WhiteCells.json: there is no trained model yet; run python3 Trainer.py",
            },
        ],
        "request_id": _PROVENANCE["request_id"],
        "notice": _PROVENANCE["notice"],
    },
    "History": {
        "results": [
            {
                "id": 812,
                "time": "2026-11-26T18:03:11.482+00:00",
                "sha256": _IMAGE_SHA256,
                "outcome": "positive",
                "reasons": [],
                "verdict": "{condition} detected",
                "class": "1",
                "class_confidence": 0.9729,
                "group": "1",
                "confidence": 0.9729,
                "key": "ward-7",
                "model": _PROVENANCE["model"],
                "request_id": _PROVENANCE["request_id"],
                "model_name": "{condition}Graph",
            }
        ],
        "days": 90,
        **_PROVENANCE,
    },
    "Examples": {"examples": [{"name": "practice_1.jpg", "url": "examples/practice_1.jpg"}]},
    "Health": {"status": "ok"},
    "Error": {
        "code": "damaged_image",
        "message": "The image file is damaged: it ends after 2048 of 48210 bytes. Send it again.",
        "request_id": _PROVENANCE["request_id"],
    },
}


def examples(condition: Condition) -> dict[str, dict[str, Any]]:
    """Return EXAMPLES for a condition."""
    names = {"{condition}": condition.short, "{title}": condition.long, "{source}": condition.source}

    def fill(value: Any) -> Any:
        """Return a value with the names of the condition in all its texts."""
        if isinstance(value, dict):
            return {key: fill(each) for key, each in value.items()}
        if isinstance(value, list):
            return [fill(each) for each in value]
        if isinstance(value, str):
            for name, text in names.items():
                value = value.replace(name, text)
        return value

    return fill(EXAMPLES)
