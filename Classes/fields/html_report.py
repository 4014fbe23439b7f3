"""The report of a run over fields: counts, a gallery of all cells by type, and each cell's place in its field.

One HTML file that includes its pictures and opens without a network.
"""

import dataclasses
import io
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import markupsafe
import numpy
import PIL.Image

from Classes.common import errors, html, translation, type_names
from Classes.common.cell_counts import RunCounts
from Classes.fields import cell_styles, field_texts
from Classes.fields.analyze import Field, FieldCrops
from Classes.fields.typed_cells import NEEDS_REVIEW, TypedCell

# Longer side of a field and side of a cell in the report, in pixels.
FIELD_SIDE, CELL_SIDE = 1400, 112

# Cells that are shown per type and field pictures per report, so that a browser can open it.
MOST_CELLS, MOST_FIELDS = 150, 200

# Bytes of pictures of fields that stay in memory; more are kept in a temporary file until the report is written.
IN_MEMORY = 8 * 2**20

FIELD_QUALITY, CELL_QUALITY = 78, 85


@dataclasses.dataclass(frozen=True)
class Shown:
    """A cell in the report.

    Attributes:
      place: identifier of its place in the field.
      field: name of the field.
      cell: the cell.
      picture: source of an <img>.
    """

    place: str
    field: str
    cell: TypedCell
    picture: str

    @property
    def caption(self) -> str:
        """What is below the cell: its flags."""
        flags = (field_texts.flag_text(flag) for flag in self.cell.flags if flag != NEEDS_REVIEW)
        return ", ".join(flags)


class Pictures(NamedTuple):
    """The pictures of a field, each the source of an <img>.

    Attributes:
      field: the photograph.
      cells: one per cell.
    """

    field: str
    cells: list[str]


def draw_pictures(image: numpy.ndarray, field: Field, crops: Sequence[numpy.ndarray] | None = None) -> Pictures:
    """Return what the report shows of a field.

    Args:
      image: uint8 [H, W, 3].
      crops: uint8 [S, S, 3] of each cell; None: they are cut out of the image.
    """
    crops = FieldCrops(image, field.cells, field.scale) if crops is None else crops
    cells = [_picture(crop, CELL_SIDE, CELL_QUALITY, square=True) for crop in crops]
    return Pictures(_picture(image, FIELD_SIDE, FIELD_QUALITY), cells)


class _KeptPicture:
    """A picture in a file; the template reads it when it is written."""

    def __init__(self, file: IO[bytes], source: str) -> None:
        self._file, content = file, source.encode()
        file.seek(0, io.SEEK_END)
        self._place, self._length = file.tell(), len(content)
        file.write(content)

    def __html__(self) -> markupsafe.Markup:
        self._file.seek(self._place)
        return markupsafe.Markup(self._file.read(self._length).decode())


class HtmlReport:
    """Collects fields or slides, and makes the report of them.

    Args:
      of_slides: whether they are slides.
    """

    def __init__(self, of_slides: bool = False) -> None:
        self._of_slides = of_slides
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by write
        self._fields: list[dict[str, Any]] = []
        self._cells: dict[str, list[Shown]] = {}
        self._problems: list[tuple[str, str]] = []
        self._names: list[str] = []
        self._left_out = 0

    def add_field(self, field: Field, pictures: Pictures, sentence: str = "") -> None:
        """Add a field, or a slide with some of its cells.

        Args:
          field, pictures: what is shown.
          sentence: what is said about it; "": the number of cells and the scale of a field.
        """
        number = len(self._names) + 1
        self._names.append(field.name)
        shows_field = len(self._fields) < MOST_FIELDS
        for index, cell in enumerate(field.cells):
            shown = self._cells.setdefault(cell.group, [])
            # The least certain ones are shown; a picture of a cell that is not would only take memory.
            place = f"f{number}c{cell.number}" if shows_field else ""
            shown.append(
                Shown(
                    place,
                    pathlib.PurePath(field.name).name,
                    cell,
                    pictures.cells[index],
                )
            )
            if len(shown) > 2 * MOST_CELLS:
                self._cells[cell.group] = _least_certain(shown)
        if shows_field:
            self._fields.append(
                {
                    "number": number,
                    "field": field,
                    "picture": _KeptPicture(self._file, pictures.field),
                    "sentence": sentence or field_texts.describe_searched(field),
                    "boxes": [_box(field, cell, f"f{number}c{cell.number}") for cell in field.cells],
                    "font": max(field.width, field.height) / 45,
                }
            )

    def add_problem(self, name: str, error: errors.ALLError) -> None:
        """Add a photograph that has no answer."""
        self._problems.append((name, translation.localize(error)))

    def write(self, path: str | os.PathLike[str], counts: RunCounts, notes: Sequence[str]) -> None:
        """Write the report and forget the pictures.

        Args:
          path: the file.
          counts: of all cells.
          notes: sentences about the models.
        Raises:
          OSError: it cannot be written.
        """
        groups = []
        numbers = {row.name: row.count for row in counts.differential.rows} | counts.differential.apart
        for group, cells in sorted(self._cells.items(), key=lambda item: (numbers.get(item[0], 0), item[0])):
            groups.append(
                {
                    "id": f"type-{group.replace(' ', '-')}",
                    "name": type_names.type_name(group),
                    "count": numbers.get(group, len(cells)),
                    "style": cell_styles.style_of(group),
                    "cells": _least_certain(cells),
                }
            )
        html.write(
            path,
            "Classes.fields",
            "field_report.html",
            into=True,
            counts=counts,
            groups=groups,
            fields=self._fields,
            of_slides=self._of_slides,
            field_count=len(self._names),
            problems=self._problems,
            notes=notes,
            symbol_points=symbol_points,
            type_name=type_names.type_name,
        )
        self._file.close()


def symbol_points(symbol: str, x: float = 0, y: float = 0, radius: float = 1) -> str:
    """Return the corners of a symbol for an SVG polygon."""
    return " ".join(f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in cell_styles.SYMBOLS[symbol])


def _least_certain(cells: Sequence[Shown]) -> list[Shown]:
    return sorted(cells, key=lambda shown: shown.cell.group_confidence)[:MOST_CELLS]


def _box(field: Field, cell: TypedCell, place: str) -> dict[str, Any]:
    left, top, right, bottom = cell.box
    style = cell_styles.style_of(cell.group)
    line = max(field.width, field.height) / 350 * style.weight
    return {
        "place": place,
        "cell": cell,
        "style": style,
        "left": max(left, 0),
        "top": max(top, 0),
        "width": min(right, field.width) - max(left, 0),
        "height": min(bottom, field.height) - max(top, 0),
        "line": line,
        "dash": " ".join(f"{line * length:.1f}" for length in style.dash),
    }


def _picture(image: numpy.ndarray, side: int, quality: int, square: bool = False) -> str:
    picture = PIL.Image.fromarray(image)
    factor = side / max(picture.size)
    if square or factor < 1:
        size = (max(1, round(factor * picture.width)), max(1, round(factor * picture.height)))
        picture = picture.resize(size, PIL.Image.Resampling.BICUBIC)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return html.data_uri(content.getvalue(), "jpeg")
