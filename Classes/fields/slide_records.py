"""What was found on a slide, read band by band from its part files, so that memory does not grow with the slide."""

import collections
import dataclasses
import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy

from Classes.common.errors import ImageError
from Classes.fields import slide_overview, slide_task
from Classes.fields.slide_plan import SlidePlan
from Classes.fields.typed_cells import NEEDS_REVIEW, UNLIKE_TRAINING, TypedCell
from Classes.jobs.items import Item
from Classes.jobs.job_folder import KILLED

# The code of a square that the run did not reach, because it had enough cells.
NOT_REACHED = len(slide_overview.NAMES)
NAMES = (*slide_overview.NAMES, "not_reached")

Results = Callable[[], Iterable[tuple[Item, dict[str, Any]]]]


@dataclasses.dataclass
class SlideRecord:
    """A slide with its result.

    Attributes:
      name: of the slide.
      path: the file.
      kind: name of its format.
      plan: see slide_plan; None: it has no result.
      results: yields the bands with their results, from top to bottom; can be called again.
      error: why it has no result.
      codes: uint8 [rows, columns] of NAMES.
      density: int32 [rows, columns]: white cells per square; blasts: the same for blasts.
      groups: number of cells by group.
      blasts, unlike, review: cells that are blasts, that have foreign colors, that need review.
      unfinished: other shares have not searched all of their parts yet.
    """

    name: str
    path: str
    kind: str = ""
    plan: SlidePlan | None = None
    results: Results = tuple
    error: ImageError | None = None
    codes: numpy.ndarray = dataclasses.field(default_factory=lambda: numpy.empty((0, 0), "uint8"))
    density: numpy.ndarray = dataclasses.field(default_factory=lambda: numpy.empty((0, 0), "int32"))
    blast_density: numpy.ndarray = dataclasses.field(default_factory=lambda: numpy.empty((0, 0), "int32"))
    groups: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unlike: int = 0
    review: int = 0
    unfinished: bool = False

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.groups.total()

    @property
    def blasts(self) -> int:
        """Number of blasts."""
        return int(self.blast_density.sum())

    def iterate(self) -> Iterator[TypedCell]:
        """Yield the cells with their numbers, band by band."""
        number = 0
        for _item, result in self.results():
            for values in result.get("cells", ()):
                number += 1
                yield slide_task.cell_from_json(values, number)

    def areas(self) -> dict[str, float]:
        """Return mm² by name of NAMES."""
        if self.plan is None:
            return {}
        areas = self.plan.grid.areas()
        return {name: round(float(areas[self.codes == code].sum()), 3) for code, name in enumerate(NAMES)}

    def row(self) -> dict[str, Any]:
        """Return the slide, without its cells, as a flat row."""
        if self.plan is None or self.error is not None:
            code = self.error.code if self.error else None
            return {"slide": self.name, "white_cells": None, "code": code, "error": str(self.error)}
        areas = self.areas()
        return {
            "slide": self.name,
            "format": self.kind,
            "width": self.plan.grid.width,
            "height": self.plan.grid.height,
            "um_per_pixel": self.plan.grid.microns,
            "scale_source": self.plan.scale_source,
            "stain_matched": self.plan.stain is not None,
            "searched_mm2": areas.pop("searched"),
            "skipped_mm2": areas,
            "white_cells": self.cells,
            "needs_review": self.review,
            "code": None,
            "error": None,
        }


def read_record(name: str, path: str, kind: str, plan: SlidePlan, results: Results) -> SlideRecord:
    """Return what was found on a slide, after reading all of its bands once."""
    shape = plan.codes.shape
    codes = plan.codes.copy()
    codes[codes == slide_overview.SEARCHED] = NOT_REACHED
    density, blasts = numpy.zeros(shape, "int32"), numpy.zeros(shape, "int32")
    record = SlideRecord(name, path, kind, plan, results, None, codes, density, blasts)
    for item, result in results():
        band = slide_task.band_from_json(item.data["band"])
        rows, columns = band.searched.shape
        part = codes[band.row : band.row + rows, band.column : band.column + columns]
        if result == KILLED or "code" in result:
            part[band.searched] = slide_overview.UNREADABLE
            continue
        part[band.searched] = numpy.array(result["codes"], "uint8")[band.searched]
    side = plan.grid.side
    for cell in record.iterate():
        place = min(int(cell.y // side), shape[0] - 1), min(int(cell.x // side), shape[1] - 1)
        density[place] += 1
        blasts[place] += cell.is_blast
        record.groups[cell.group] += 1
        record.review += NEEDS_REVIEW in cell.flags
        record.unlike += UNLIKE_TRAINING in cell.flags
    return record


def least_certain(cells: Iterable[TypedCell], most: int) -> list[TypedCell]:
    """Return the least certain cells of each group, at most so many, in the order of their numbers."""
    heaps: dict[str, list[tuple[float, int, TypedCell]]] = {}
    for cell in cells:
        heap = heaps.setdefault(cell.group, [])
        entry = (-cell.group_confidence, -cell.number, cell)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return sorted((entry[2] for heap in heaps.values() for entry in heap), key=lambda cell: cell.number)
