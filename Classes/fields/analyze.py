"""Find, crop and type the white cells of a photographed field."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy

from Classes.common import cancellation, outcome
from Classes.fields import cell_typing, field_check, stain_matching
from Classes.fields.cell_typing import CellTyper
from Classes.fields.typed_cells import NEEDS_REVIEW, TypedCell
from Classes.imaging import cell_crops, color_stats

# Source of a scale that the finder could not measure; see scale.ASSUMED.
ASSUMED = "assumed"

# If at least this share of three or more "cells" do not look like cells, the finder was wrong about the whole field.
MAX_STRANGE = 0.7
MIN_CELLS = 3


class Finder(Protocol):
    """What finder.CellFinder does."""

    def find(self, image: numpy.ndarray, scale: Any = None) -> Any:
        """Return a finder.FoundCells for uint8 [H, W, 3]; `scale`: micrometers per pixel, or a scale.Scale."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A photographed field with its white cells.

    Attributes:
      name: of the photograph.
      width, height: in pixels.
      cells: in reading order.
      scale: micrometers per pixel; None if it is unknown.
      scale_source: where the scale comes from, a stable code of the finder.
      seconds: how long finding and typing took.
      engine, precision: of the model of cell types.
      stain_matched: whether the model of cell types saw the cells in the colors of its training images, see
        stain_matching.
    """

    name: str
    width: int
    height: int
    cells: tuple[TypedCell, ...]
    scale: float | None
    scale_source: str
    seconds: float
    engine: str = ""
    precision: str = ""
    stain_matched: bool = False

    def row(self) -> dict[str, Any]:
        """Return the field, without its cells, as a flat row."""
        return {
            "field": self.name,
            "width": self.width,
            "height": self.height,
            "searched": [0, 0, self.width, self.height],
            "white_cells": len(self.cells),
            "needs_review": sum(NEEDS_REVIEW in cell.flags for cell in self.cells),
            "um_per_pixel": self.scale,
            "scale_source": self.scale_source,
            "stain_matched": self.stain_matched,
            "seconds": round(self.seconds, 3),
            "engine": self.engine,
            "precision": self.precision,
            "code": None,
            "error": None,
        }


class CellCrops(Sequence[numpy.ndarray]):
    """Crops of cells, uint8 [S, S, 3] each; made when they are used, to save memory.

    Args:
      cells: with x, y, width and height in pixels.
    """

    def __init__(self, cells: Sequence[Any]) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._crop(cell) for cell in self._cells[index]]
        return self._crop(self._cells[index])

    def _crop(self, cell: Any) -> numpy.ndarray:
        """Return the crop of one cell."""
        raise NotImplementedError


class FieldCrops(CellCrops):
    """The cells of a field with their surroundings, uint8 [S, S, 3] each; made when they are used, to save memory.

    Args:
      image: uint8 [H, W, 3], the field.
      cells: with x, y, width and height in pixels.
      scale: micrometers per pixel, or None.
    """

    def __init__(self, image: numpy.ndarray, cells: Sequence[Any], scale: float | None) -> None:
        super().__init__(cells)
        self._image, self._scale = image, scale
        self._background = color_stats.background_color(image)

    def _crop(self, cell: Any) -> numpy.ndarray:
        cancellation.check()
        side = cell_crops.crop_side(cell.width, cell.height, self._scale)
        return cell_crops.crop_cell(self._image, cell.x, cell.y, side, self._background)


def analyze_field(image: numpy.ndarray, name: str, finder: Finder, typer: CellTyper, scale: Any = None) -> Field:
    """Return the white cells of a field with their types.

    Args:
      image: uint8 [H, W, 3], RGB, the whole photograph.
      name: of the photograph.
      finder: finds the cells.
      typer: names their types.
      scale: micrometers per pixel or a scale.Scale if it is known; otherwise the finder measures it.
    Raises:
      ImageError: see field_check; no count is better than a made-up one.
      EngineError: a device failed.
      Exception: from cancellation.checked_by, between tiles and cells.
    """
    start = time.perf_counter()
    field_check.check_field(image, name)
    found = finder.find(image, scale)
    field_check.check_cells(len(found.cells), name)
    ordered = reading_order(found.cells)
    microns = None if found.scale_source == ASSUMED else found.scale
    crops = FieldCrops(image, ordered, microns)
    stain = stain_matching.match_stain(image, [cell_box(cell) for cell in ordered], crops, typer.card.colours)
    cells = type_cells(ordered, crops, typer, stain)
    check_types(cells, name)
    return Field(
        name,
        image.shape[1],
        image.shape[0],
        cells,
        microns,
        found.scale_source,
        time.perf_counter() - start,
        typer.backend.name,
        typer.backend.precision,
        stain is not None,
    )


def type_cells(
    cells: Sequence[Any],
    crops: Sequence[numpy.ndarray],
    typer: CellTyper,
    stain: stain_matching.StainMap | None,
    first: int = 1,
) -> tuple[TypedCell, ...]:
    """Return cells with their types.

    Args:
      cells: finder.Cell each.
      crops: of the same cells.
      typer, stain: see CellTyper.classify.
      first: number of the first cell.
    Raises:
      EngineError: a device failed.
    """
    types = typer.classify(crops, stain)
    return tuple(
        _typed_cell(number, cell, each) for number, (cell, each) in enumerate(zip(cells, types, strict=True), first)
    )


def cell_box(cell: Any) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of a finder.Cell in pixels."""
    return (
        cell.x - cell.width / 2,
        cell.y - cell.height / 2,
        cell.x + cell.width / 2,
        cell.y + cell.height / 2,
    )


def reading_order(cells: Sequence[Any]) -> list[Any]:
    """Return the cells row by row, each as high as a cell, so that people find a number quickly."""
    if not cells:
        return []
    height = float(numpy.median([cell.height for cell in cells])) or 1.0
    return sorted(cells, key=lambda cell: (int(cell.y / height), cell.x))


def check_types(cells: Sequence[TypedCell], name: str) -> None:
    """Raise ImageError if hardly any of the found cells looks like a cell."""
    if len(cells) < MIN_CELLS:
        return
    blurred = sum(outcome.OUT_OF_FOCUS in each.reasons for each in cells)
    if blurred >= MAX_STRANGE * len(cells):
        raise field_check.out_of_focus(name)
    strange = sum(not {outcome.NOT_A_PHOTOGRAPH, outcome.EMPTY}.isdisjoint(each.reasons) for each in cells)
    if strange >= MAX_STRANGE * len(cells):
        raise field_check.not_a_smear(name)


def _typed_cell(number: int, cell: Any, found: cell_typing.CellType) -> TypedCell:
    return TypedCell(
        number,
        float(cell.x),
        float(cell.y),
        float(cell.width),
        float(cell.height),
        float(cell.score),
        found.label,
        found.name,
        found.group,
        found.confidence,
        found.group_confidence,
        found.probabilities,
        found.blast_probability,
        found.is_blast,
        cell_typing.cell_flags(found, cell.flags),
        found.reasons,
    )
