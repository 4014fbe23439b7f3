"""Read YOLO text: a file per photograph, one line "class x y width height" per cell, as fractions of the sides.

The names of the classes are in classes.txt or obj.names, one per line, or under `names` in data.yaml, in the folder of
the labels or one above it.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from Classes.imaging.annotations.record import AnnotatedCell, Entry, bounding_box

NAME_FILES = ("classes.txt", "obj.names", "classes.names")
YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


def read(path: pathlib.Path, names: Mapping[int, str]) -> list[Entry]:
    """Return the annotation of one photograph; an empty file says that it shows no cell.

    Args:
      names: from `class_names`; the class of a number that is missing is "", or "class 0" if there are no names.
    Raises:
      OSError, ValueError: it cannot be read.
    """
    cells = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, *values = map(float, line.split())
        except ValueError as error:
            raise ValueError(f"line {number} has a word instead of a number") from error
        if not label.is_integer() or not all(map(math.isfinite, values)):
            raise ValueError(f"line {number} is not class x y width height")
        # Not "0", which is the folder of healthy cells.
        name = names.get(int(label), "") if names else f"class {int(label)}"
        cells.append(_cell(values, name, number))
    return [Entry((path.stem,), tuple(cells), relative=True)]


def _cell(values: list[float], label: str, number: int) -> AnnotatedCell:
    # A sixth number is the confidence of a detection; an outline is at least three points.
    if len(values) in (4, 5):
        return AnnotatedCell(values[0], values[1], values[2], values[3], label)
    if len(values) >= 6 and len(values) % 2 == 0:
        return bounding_box(list(zip(values[::2], values[1::2], strict=True)), label)
    raise ValueError(f"line {number} has {len(values) + 1} numbers instead of 5")


def class_names(folder: pathlib.Path, top: pathlib.Path) -> dict[int, str]:
    """Return {number: name} from the nearest file of names; empty if there is none.

    Args:
      folder: contains the labels.
      top: the highest folder that is searched.
    Raises:
      OSError, ValueError: the file cannot be read.
    """
    for place in (folder, *folder.parents):
        for name in NAME_FILES:
            if (place / name).is_file():
                lines = (place / name).read_text(encoding="utf-8-sig").splitlines()
                return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
        for name in YAML_FILES:
            if (place / name).is_file():
                return _yaml_names(place / name)
        if place == top:
            break
    return {}


def _yaml_names(path: pathlib.Path) -> dict[int, str]:
    # Only a folder with such a file needs it, and a small device does not have it.
    import yaml

    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise ValueError(f"{path.name} has no names")
    return {int(number): str(name).strip() for number, name in names.items()}
