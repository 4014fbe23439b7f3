"""A field with its cells as JSON, from the process that analyzes it to the one that writes the tables."""

import dataclasses
from typing import Any

from Classes.common import translation
from Classes.common.errors import ImageError
from Classes.fields.analyze import Field
from Classes.fields.html_report import Pictures
from Classes.fields.typed_cells import TypedCell
from Classes.jobs import run_texts
from Classes.jobs.job_folder import KILLED


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run knows about a photograph.

    Attributes:
      name: of the photograph.
      field: what was found in it; None: it has no result.
      pictures: for the report; None: there is no report.
      error: why it has no result.
    """

    name: str
    field: Field | None = None
    pictures: Pictures | None = None
    error: ImageError | None = None

    def row(self) -> dict[str, Any]:
        """Return the photograph as a flat row, the same in every run; the time it took is in the log."""
        if self.field is None:
            return {"field": self.name, "white_cells": None, "code": self.code, "error": str(self.error)}
        return {name: value for name, value in self.field.row().items() if name != "seconds"}

    @property
    def code(self) -> str | None:
        """Code of the error."""
        return self.error.code if self.error else None


def field_to_json(field: Field, pictures: Pictures | None) -> dict[str, Any]:
    """Return the result of a photograph for `read_record`."""
    return {
        "field": {name: value for name, value in vars(field).items() if name not in ("cells", "seconds")},
        "cells": [vars(cell) for cell in field.cells],
        "pictures": pictures and pictures._asdict(),
    }


def error_to_json(error: ImageError) -> dict[str, Any]:
    """Return the result of a photograph that cannot be analyzed for `read_record`."""
    return {"code": error.code, "error": translation.to_json(translation.text_of(error))}


def read_record(name: str, result: dict[str, Any]) -> Record:
    """Return the Record of a result that `field_to_json` or `error_to_json` made."""
    if result == KILLED:
        return Record(name, error=run_texts.killed_error(name))
    if "error" in result:
        return Record(name, error=ImageError(translation.from_json(result["error"]), result["code"]))
    cells = tuple(_read_cell(values) for values in result["cells"])
    pictures = Pictures(**result["pictures"]) if result["pictures"] else None
    return Record(name, Field(**result["field"], cells=cells, seconds=0.0), pictures)


def _read_cell(values: dict[str, Any]) -> TypedCell:
    sequences = {name: tuple(values[name]) for name in ("flags", "reasons")}
    return TypedCell(**{**values, **sequences})
