"""Decide which cells of an annotated photograph become training images, and of which class."""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

from Classes.common.translation import Message
from Classes.imaging import cell_crops
from Classes.imaging.annotations import points, record
from Classes.imaging.annotations.record import AnnotatedCell, Problem

# Characters that the name of a folder cannot have on some system.
UNSAFE = re.compile(r'[\x00-\x1f\\/:*?"<>|]+')


@dataclasses.dataclass(frozen=True)
class CellCrop:
    """A cell to crop.

    Attributes:
      x, y: center in pixels of the photograph.
      side: of the square in pixels of the photograph.
      class_name: folder.
    """

    x: float
    y: float
    side: float
    class_name: str


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """Which class folder a cell goes to.

    Attributes:
      folders: {label in lower case: folder}.
      others: folder of white cells that are not annotated; None: they are not used.
    """

    folders: Mapping[str, str]
    others: str | None = None

    def folder(self, label: str) -> str | None:
        """Return the folder of a label, or None."""
        return self.folders.get(label.casefold())


def map_classes(
    labels: Iterable[str], given: Mapping[str, str], positive: str = "", others: str | None = None
) -> ClassMap:
    """Return the folders of all labels.

    Args:
      labels: of all annotated cells.
      given: {label: folder} that the user wants; if it is empty, every label of white cells gets a folder of its name.
      positive: folder of blasts, the label of the points of ALL-IDB; "": a folder of their name.
      others: folder of white cells that are not annotated.
    """
    if given:
        return ClassMap({label.casefold(): folder for label, folder in given.items()}, others)
    spellings: dict[str, Counter] = defaultdict(Counter)
    for label in labels:
        if label and record.is_white_cell(label):
            spellings[label.casefold()][label] += 1
    # "wbc" and "WBC" are one class, named as most cells are.
    folders = {
        key: UNSAFE.sub("_", max(sorted(counts), key=lambda label: counts[label])).strip(". ") or "_"
        for key, counts in spellings.items()
    }
    if positive and points.BLAST in folders:
        folders[points.BLAST] = positive
    return ClassMap(folders, others)


def select_cells(
    cells: Sequence[AnnotatedCell],
    classes: ClassMap,
    name: str,
    scale: float | None = None,
    found: Sequence[Any] = (),
) -> tuple[list[CellCrop], list[Problem]]:
    """Return the cells of a photograph to crop, and those without a class.

    Args:
      cells: usable annotations, in pixels.
      classes: ClassMap.
      name: of the photograph, for the problems.
      scale: micrometers per pixel, or None.
      found: white cells that a finder found, with x, y, width and height.
    """
    crops, problems = [], []
    for cell in cells:
        folder = classes.folder(cell.label)
        if folder is None:
            # Annotated red cells and platelets are expected; they are just not used.
            if record.is_white_cell(cell.label):
                place = {"label": cell.label or "?", "x": cell.x, "y": cell.y}
                text = Message("{label} at {x:.0f}, {y:.0f} has no class folder", **place)
                problems.append(Problem(record.UNKNOWN_CLASS, name, text))
            continue
        x, y, width, height = _place(cell, found)
        if not width and scale is None:
            text = Message("{label} at {x:.0f}, {y:.0f} has no size", label=cell.label, x=cell.x, y=cell.y)
            problems.append(Problem(record.NO_SIZE, name, text))
            continue
        crops.append(CellCrop(x, y, cell_crops.crop_side(width, height, scale), folder))
    if classes.others is not None:
        for each in unannotated(found, cells):
            side = cell_crops.crop_side(each.width, each.height, scale)
            crops.append(CellCrop(each.x, each.y, side, classes.others))
    return crops, problems


def unannotated(found: Sequence[Any], cells: Sequence[AnnotatedCell]) -> list[Any]:
    """Return the found white cells that nobody has marked, as any class.

    A found cell counts as marked if it contains the center of an annotation, or an annotation its center.
    """
    return [each for each in found if not any(_contains(each, cell) or _contains(cell, each) for cell in cells)]


def _contains(one: Any, other: Any) -> bool:
    """Return whether the center of `other` is in the box of `one`."""
    return bool(abs(one.x - other.x) <= one.width / 2 and abs(one.y - other.y) <= one.height / 2)


def _place(cell: AnnotatedCell, found: Sequence[Any]) -> tuple[float, float, float, float]:
    """Return center and size of a cell; a point takes them from the nearest found cell that contains it."""
    near = [each for each in found if _contains(each, cell)] if cell.is_point else []
    best = min(near, key=lambda each: numpy.hypot(each.x - cell.x, each.y - cell.y), default=cell)
    return float(best.x), float(best.y), float(best.width), float(best.height)
