"""The JSON of a field: schema, sample answer and conversion. Its records are those of Classifier.py Field --json."""

import base64
from typing import Any

from Classes import Helpers
from Classes.common import outcome
from Classes.fields import field_texts, typed_cells
from Classes.serving import json_schema as schema
from Classes.serving.field_service import FieldResult

_PIXELS = "in pixels of the photograph"
_MICRONS = {"type": ["number", "null"], "minimum": 0}
_INTERVAL = {
    "type": "array",
    "items": schema.number("", **schema.FRACTION),
    "minItems": 2,
    "maxItems": 2,
    "description": "95 % interval",
}
_PHOTOGRAPH = {
    "field": schema.text("Name of the uploaded file; empty for a request body"),
    "width": {"type": "integer", "minimum": 1, "description": "Of the photograph, in pixels"},
    "height": {"type": "integer", "minimum": 1, "description": "Of the photograph, in pixels"},
    "searched": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "Left, top, right and bottom of the part that was searched: all of it",
    },
    "white_cells": schema.count("Cells that were found, also those that are not counted"),
    "needs_review": schema.count("Cells that a person should look at"),
    "um_per_pixel": {**_MICRONS, "description": "Micrometers per pixel; null: unknown"},
    "scale_source": schema.text(
        "Where the scale comes from", enum=["given", "file", "red_cells", "white_cells", "assumed"]
    ),
    "stain_matched": {
        "type": "boolean",
        "description": "Whether the colors were mapped to those of the training images",
    },
    "seconds": schema.number("Time for finding and typing the cells", minimum=0),
    "engine": schema.text("The backend that ran the model of cell types"),
    "precision": schema.text("Its numeric precision"),
}
_CELL = {
    **schema.record(
        {
            "field": schema.text("As `field` of the photograph"),
            "cell": {"type": "integer", "minimum": 1, "description": "Number, in reading order; also on the overlay"},
            "type": schema.text("Class of the model of cell types, or the name of a blast"),
            "name": schema.text("Its name"),
            "group": schema.text("What is counted"),
            "confidence": schema.number("Probability of the type", **schema.FRACTION),
            "group_confidence": schema.number("Probability of the group", **schema.FRACTION),
            "x": schema.number(f"Center, {_PIXELS}"),
            "y": schema.number(f"Center, {_PIXELS}"),
            "width": schema.number(f"Of the box, {_PIXELS}", minimum=0),
            "height": schema.number(f"Of the box, {_PIXELS}", minimum=0),
            **{f"{name}_um": {**_MICRONS, "description": "The same in µm"} for name in ("x", "y", "width", "height")},
            "finder_score": schema.number("How sure the finder is of a white cell", **schema.FRACTION),
            "blast_probability": {
                "type": ["number", "null"],
                "description": "From the own model; null: it is not used",
                **schema.FRACTION,
            },
            "blast": {
                "type": ["boolean", "null"],
                "description": "Whether the own model detects a blast; null: it is not used",
            },
            **{flag: {"type": "boolean"} for flag in typed_cells.FLAGS},
            "reason_codes": schema.text(
                f"Why a person should look at it, with spaces in between: {', '.join(outcome.REASONS)}"
            ),
        }
    ),
    "patternProperties": {"^probability_": schema.number("Probability of a class of cells", **schema.FRACTION)},
}
_BLASTS = schema.record(
    {
        "type": schema.text("What the own model detects"),
        "denominator": schema.text("Of the fractions"),
        "blasts": schema.count("Cells that are called blasts"),
        "cells": schema.count("The denominator"),
        "observed": schema.number("Fraction as observed", **schema.FRACTION),
        "observed_interval": _INTERVAL,
        "corrected": {
            "type": ["number", "null"],
            "description": "Fraction, corrected for the errors of the model; null: they are unknown or too large",
            **schema.FRACTION,
        },
        "corrected_interval": {**_INTERVAL, "type": ["array", "null"]},
    }
)
_COUNTS = schema.record(
    {
        "white_cells": schema.count("Counted cells, without erythroblasts: the denominator"),
        "enough": {"type": "boolean", "description": "Whether there are as many as CLSI H20-A2 counts"},
        "differential": schema.array(
            schema.record(
                {
                    "group": schema.text("Type"),
                    "count": schema.count("Cells"),
                    "fraction": schema.number("Of the counted cells", **schema.FRACTION),
                    "interval": _INTERVAL,
                }
            ),
            "Types with at least one cell, in conventional order",
        ),
        "not_counted": {
            "type": "object",
            "description": "Cells that are not white cells, by type",
            "additionalProperties": schema.count(""),
        },
        "blasts": {"oneOf": [_BLASTS, {"type": "null"}], "description": "Null: no own model, or no cells"},
    }
)
_PICTURE = schema.text("A JPEG as a data URI")

FIELD = schema.record(
    {
        **_PHOTOGRAPH,
        "message": schema.text("The counts in one line"),
        "suggested": {"const": True, "description": "All types are suggested until a person has looked at the cells"},
        "counts": _COUNTS,
        "sentences": schema.array(
            {"type": "string"}, "What people must know beside the counts: whether the number is enough, blasts, limits"
        ),
        "cells": schema.array(_CELL, "The cells in reading order"),
        "models": {"type": "object", "description": "The models of types and of blasts; `blasts` is null without one"},
        **schema.UPLOAD,
        "overlay": {**_PICTURE, "description": "With ?overlay=1: the photograph with numbered boxes, a JPEG data URI"},
        "crops": schema.array(_PICTURE, "With ?crops=1: the cells in the order of `cells`"),
        "photograph": {**_PICTURE, "description": "With ?photograph=1: the photograph alone, a JPEG data URI"},
        **{name: each for name, each in schema.PROVENANCE.items() if name not in _PHOTOGRAPH},
    },
    optional=("overlay", "crops", "photograph"),
)

_SHA256 = "4f6f2f9c6b1d0c4c53a1f0d2c9be41d3b5a2e7c80f6a95d14e3b7c2a90d8f165"
EXAMPLE: dict[str, Any] = {
    "field": "field.jpg",
    "width": 2592,
    "height": 1944,
    "searched": [0, 0, 2592, 1944],
    "white_cells": 1,
    "needs_review": 0,
    "um_per_pixel": 0.081,
    "scale_source": "red_cells",
    "stain_matched": False,
    "seconds": 0.61,
    "engine": "OpenVINO CPU",
    "precision": "f32",
    "message": "1 white cell: 1 lymphocyte",
    "suggested": True,
    "counts": {
        "white_cells": 1,
        "enough": False,
        "differential": [{"group": "lymphocyte", "count": 1, "fraction": 1.0, "interval": [0.2065, 1.0]}],
        "not_counted": {},
        "blasts": None,
    },
    "sentences": ["All types are suggested until a person has looked at the cells."],
    "cells": [
        {
            "field": "field.jpg",
            "cell": 1,
            "type": "LY",
            "name": "lymphocyte",
            "group": "lymphocyte",
            "confidence": 0.9871,
            "group_confidence": 0.9871,
            "x": 1203.4,
            "y": 877.1,
            "width": 131.0,
            "height": 128.5,
            "x_um": 97.48,
            "y_um": 71.05,
            "width_um": 10.61,
            "height_um": 10.41,
            "finder_score": 0.9412,
            "blast_probability": None,
            "blast": None,
            **dict.fromkeys(typed_cells.FLAGS, False),
            "reason_codes": "",
            "probability_LY": 0.9871,
            "probability_MO": 0.0129,
        }
    ],
    "models": {
        "types": {
            "graph": "WhiteCells.pb",
            "graph_sha256": _SHA256,
            "limits": ["It has never seen a leukemic cell."],
        },
        "blasts": None,
    },
    "sha256": _SHA256,
    "image": {"format": "jpg", "width": 2592, "height": 1944},
    "model": _SHA256,
    "model_name": "WhiteCells",
    "synthetic": False,
    "request_id": "5f0c1c5a0d6f4f3b8f8f7f6a3f3d2b1c",
    "notice": Helpers.DISCLAIMER,
}


def field_json(result: FieldResult, request_id: str) -> dict[str, Any]:
    """Return the JSON fields of a field."""
    field, info = result.field, result.image_info
    row = {name: value for name, value in field.row().items() if name not in ("code", "error")}
    found = {
        **row,
        "message": field_texts.describe_counts(field),
        "suggested": True,
        "counts": result.counts.to_json(),
        "sentences": result.counts.sentences(),
        "cells": [cell.row(field.name, field.scale) for cell in field.cells],
        "models": result.models,
        "sha256": result.sha256,
        "image": {"format": info.format, "width": info.width, "height": info.height},
    }
    if result.overlay is not None:
        found["overlay"] = _data_uri(result.overlay)
    if result.crops is not None:
        found["crops"] = [_data_uri(each) for each in result.crops]
    if result.photograph is not None:
        found["photograph"] = _data_uri(result.photograph)
    return {
        **found,
        "model": result.types.graph_sha256,
        "model_name": result.types.path.stem,
        "synthetic": result.types.synthetic,
        "request_id": request_id,
        "notice": Helpers.DISCLAIMER,
    }


def _data_uri(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
