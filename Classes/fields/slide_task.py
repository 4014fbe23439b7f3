"""The units of work of a slide: its plan, and the cells of each of its bands."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from Classes.common import translation
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.fields import analyze, slide_plan, slide_search, task_models
from Classes.fields.slide_grid import BAND_COLUMNS, BAND_ROWS, Band, Grid, bands
from Classes.fields.slide_plan import SlideCrops, SlidePlan
from Classes.fields.typed_cells import TypedCell
from Classes.imaging import decode, slide_reader
from Classes.imaging.slide_reader import Slide
from Classes.inference.model_card import ModelCard
from Classes.jobs.items import Item, file_item

TASK = "Classes.fields.slide_task:SlideTask"

# Side of the finder's tiles in pixels at working scale: three in a row make a band. Larger ones need more memory, and
# smaller ones more time for their halos, see benchmarks/slides.py.
FINDER_TILE = 704


def make_settings(
    configuration: Configuration, types: ModelCard, blasts: ModelCard | None, finder: pathlib.Path, scale: float | None
) -> dict[str, Any]:
    """Return the settings of a SlideTask.

    Args:
      types, blasts: the models; see cell_typing.CellTyper.
      finder: card of the cell finder.
      scale: µm per pixel that the user states, or None.
    Raises:
      GraphError: there is no cell finder, or it is damaged.
    """
    return {**task_models.make_settings(configuration, types, blasts, finder), "scale": scale}


class SlideTask:
    """Plans slides and searches their bands; see jobs.task.Task.

    Args:
      settings: see make_settings.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self._slide: tuple[str, Slide] | None = None

    def open(self) -> None:
        """Open the models.

        Raises:
          ALLError: a model or a device is missing.
        """
        self._models = task_models.open_models(self._settings, self._stack, FINDER_TILE)
        self._limits = decode.decode_limits(self._models.configuration)

    def run(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the plan of a slide, or the cells of a band, for each item."""
        return [self._run_item(item.data) for item in items]

    def close(self) -> None:
        """Release the slide and the models."""
        if self._slide is not None:
            self._slide[1].close()
        self._slide = None
        self._stack.close()

    def _run_item(self, data: Mapping[str, Any]) -> dict[str, Any]:
        try:
            slide = self._open_slide(data["path"])
            if data["band"] is None:
                plan = slide_plan.make_plan(slide, self._models.finder, self._models.typer, self._settings["scale"])
                return {"kind": slide.kind, **plan.to_json()}
            return self._search(slide, data)
        except ImageError as error:
            # OpenSlide does not read on after an error.
            self._close_slide()
            return {"code": error.code, "error": translation.to_json(translation.text_of(error))}

    def _open_slide(self, path: str) -> Slide:
        if self._slide is None or self._slide[0] != path:
            self._close_slide()
            self._slide = (path, slide_reader.open_slide(path, self._limits))
        return self._slide[1]

    def _close_slide(self) -> None:
        if self._slide is not None:
            self._slide[1].close()
        self._slide = None

    def _search(self, slide: Slide, data: Mapping[str, Any]) -> dict[str, Any]:
        grid, band = Grid(**data["grid"]), band_from_json(data["band"])
        found = slide_search.search_band(slide, grid, band, self._models.finder)
        ordered = analyze.reading_order(found.cells)
        crops = SlideCrops(slide, ordered, grid.microns, data["background"])
        stain = slide_plan.stain_from_json(data["stain"])
        cells = analyze.type_cells(ordered, crops, self._models.typer, stain)
        return {"codes": found.codes.tolist(), "cells": [dataclasses.asdict(cell) for cell in cells]}


def plan_item(path: pathlib.Path) -> Item:
    """Return the unit that plans a slide.

    Raises:
      OSError: the file is missing.
    """
    return file_item(path, band=None)


def band_items(path: pathlib.Path, plan: SlidePlan, rows: int = BAND_ROWS, columns: int = BAND_COLUMNS) -> list[Item]:
    """Return the units that search a slide, from top to bottom.

    Args:
      rows, columns: of squares in a band.
    """
    grid = dataclasses.asdict(plan.grid)
    shared = {
        "grid": grid,
        "background": list(plan.background),
        "stain": slide_plan.stain_to_json(plan.stain),
    }
    # slide_overview.SEARCHED is 0.
    return [file_item(path, band=band_to_json(band), **shared) for band in bands(plan.codes == 0, rows, columns)]


def band_to_json(band: Band) -> dict[str, Any]:
    """Return a band as JSON."""
    return {
        "row": band.row,
        "column": band.column,
        "searched": ["".join("01"[square] for square in row) for row in band.searched.astype(int).tolist()],
    }


def band_from_json(values: Mapping[str, Any]) -> Band:
    """Return the band that `band_to_json` wrote."""
    searched = numpy.array([[square == "1" for square in row] for row in values["searched"]], bool)
    return Band(values["row"], values["column"], searched)


def cell_from_json(values: Mapping[str, Any], number: int) -> TypedCell:
    """Return a cell that was written with dataclasses.asdict, with its number within the slide."""
    return TypedCell(
        **{**values, "number": number, "flags": tuple(values["flags"]), "reasons": tuple(values["reasons"])}
    )
