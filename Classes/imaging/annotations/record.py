"""What all formats of annotations have in common: marked cells, and what is wrong with them."""

import collections
import dataclasses
import itertools
import re
from collections.abc import Sequence

from Classes.common.translation import Message

# Codes of problems.
OUTSIDE, TOO_SMALL, DUPLICATE, CONFLICT = "outside_photograph", "too_small", "duplicate", "conflicting_classes"
UNKNOWN_CLASS, NO_SIZE = "unknown_class", "unknown_size"
NO_PHOTOGRAPH, NO_ANNOTATION = "annotation_without_photograph", "photograph_without_annotation"
AMBIGUOUS, SEVERAL, OTHER_SIZE = "several_photographs", "several_annotations", "other_size"
UNREADABLE, UNREADABLE_PHOTOGRAPH = "unreadable_annotation", "unreadable_photograph"

# What `Problem.code` means, in the order in which problems are reported.
PROBLEMS = {
    UNREADABLE: Message("annotation files that cannot be read"),
    UNREADABLE_PHOTOGRAPH: Message("photographs that cannot be read"),
    NO_PHOTOGRAPH: Message("annotations without photograph"),
    NO_ANNOTATION: Message("photographs without annotation"),
    AMBIGUOUS: Message("annotations that fit several photographs"),
    SEVERAL: Message("further annotations of an annotated photograph"),
    OTHER_SIZE: Message("annotations of a photograph of another size"),
    UNKNOWN_CLASS: Message("cells of an unknown class"),
    NO_SIZE: Message("points without size, because the scale is unknown"),
    OUTSIDE: Message("cells outside of the photograph"),
    TOO_SMALL: Message("boxes too small for a cell"),
    DUPLICATE: Message("cells marked twice"),
    CONFLICT: Message("cells marked with two classes"),
}

# Shorter side in pixels. Below it, a box is a slip of the mouse, and a picture of a cell would show nothing.
SMALLEST_BOX = 5
# Boxes that overlap more than this, and points that are nearer than this many pixels, mark one cell.
SAME_OVERLAP, SAME_DISTANCE = 0.9, 2.0

# Classes that are not white cells, in lower case without spaces and punctuation; QuPath writes "Ignore*".
NOT_WHITE = {
    "rbc", "rbcs", "redbloodcell", "redbloodcells", "redcell", "redcells", "erythrocyte", "erythrocytes",
    "platelet", "platelets", "plt", "thrombocyte", "thrombocytes",
    "artifact", "artifacts", "artefact", "artefacts", "smudge", "smudgecell", "smudgecells", "ignore", "scalebar",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AnnotatedCell:
    """A marked cell.

    Attributes:
      x, y: center in pixels of the whole photograph.
      width, height: of the box in pixels; both are 0 for a point.
      label: class as annotated; "" if it has none.
    """

    x: float
    y: float
    width: float
    height: float
    label: str

    @property
    def is_point(self) -> bool:
        """Whether the size is unknown."""
        return not (self.width or self.height)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that could not be used.

    Attributes:
      code: key of PROBLEMS.
      file: name of the photograph or the annotation file, relative to the folder.
      text: what it is, for people.
    """

    code: str
    file: str
    text: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """What an annotation file says about one photograph.

    Attributes:
      names: names that the photograph can have, the likeliest first, with or without folders and extension.
      cells: as annotated.
      size: (width, height) of the photograph as annotated; None if it is not stated.
      relative: the coordinates are fractions of the photograph's sides.
      complete: whether all white cells are marked, or only some.
    """

    names: tuple[str, ...]
    cells: tuple[AnnotatedCell, ...]
    size: tuple[int, int] | None = None
    relative: bool = False
    complete: bool = True


def box(left: float, top: float, right: float, bottom: float, label: str) -> AnnotatedCell:
    """Return the cell of a box; a box whose corners are swapped has a negative size."""
    return AnnotatedCell((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, label)


def bounding_box(points: Sequence[Sequence[float]], label: str) -> AnnotatedCell:
    """Return the cell of an outline, [(x, y)]."""
    xs, ys = [float(point[0]) for point in points], [float(point[1]) for point in points]
    return box(min(xs), min(ys), max(xs), max(ys), label)


def is_white_cell(label: str) -> bool:
    """Return whether a class can be white cells; an unknown class can."""
    return re.sub(r"[\W_]+", "", label.casefold()) not in NOT_WHITE


def check_cells(
    cells: Sequence[AnnotatedCell], width: int, height: int, file: str
) -> tuple[list[AnnotatedCell], list[Problem]]:
    """Return the cells that lie in a photograph and are marked once, and what is wrong with the others.

    Args:
      cells: in pixels.
      width, height: of the photograph.
      file: its name, for the problems.
    """
    problems = []
    inside: list[AnnotatedCell] = []
    for cell in cells:
        # A box that only reaches across the border belongs to a cell that the border cuts.
        if not (0 <= cell.x <= width and 0 <= cell.y <= height):
            text = Message(
                "{cell} is outside of {width} x {height} pixels", cell=_shown(cell), width=width, height=height
            )
            problems.append(Problem(OUTSIDE, file, text))
        elif not cell.is_point and min(cell.width, cell.height) < SMALLEST_BOX:
            problems.append(Problem(TOO_SMALL, file, Message("{cell} is too small", cell=_shown(cell))))
        else:
            inside.append(cell)
    kept, more = _without_repetitions(inside, file)
    return kept, problems + more


def _without_repetitions(cells: Sequence[AnnotatedCell], file: str) -> tuple[list[AnnotatedCell], list[Problem]]:
    """Return the cells that are marked once, or twice with one class, and the problems of the others."""
    # The centers of boxes that overlap that much are nearer than this. A field can have thousands of cells, so each is
    # compared only with those in the squares around it.
    side = max([SAME_DISTANCE, *(max(cell.width, cell.height) / 4 for cell in cells)])
    squares: dict[tuple[int, int], list[AnnotatedCell]] = collections.defaultdict(list)
    conflicts: set[int] = set()
    problems = []
    for cell in cells:
        column, row = int(cell.x // side), int(cell.y // side)
        around = itertools.product((column - 1, column, column + 1), (row - 1, row, row + 1))
        same = next((each for place in around for each in squares.get(place, ()) if _is_same(cell, each)), None)
        if same is None:
            squares[column, row].append(cell)
        elif same.label == cell.label:
            problems.append(Problem(DUPLICATE, file, Message("{cell} is marked twice", cell=_shown(cell))))
        else:
            conflicts.add(id(same))
            text = Message("{cell} is also marked as {other}", cell=_shown(cell), other=same.label or "?")
            problems.append(Problem(CONFLICT, file, text))
    kept = {id(cell) for each in squares.values() for cell in each} - conflicts
    return [cell for cell in cells if id(cell) in kept], problems


def _is_same(one: AnnotatedCell, other: AnnotatedCell) -> bool:
    if one.is_point or other.is_point:
        near = (one.x - other.x) ** 2 + (one.y - other.y) ** 2 <= SAME_DISTANCE**2
        return one.is_point and other.is_point and near
    across = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    down = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    shared = max(0.0, across) * max(0.0, down)
    return shared > SAME_OVERLAP * (one.width * one.height + other.width * other.height - shared)


def _shown(cell: AnnotatedCell) -> Message:
    """Return a cell as text, such as "WBC at 504, 337 (1 x 1 pixels)"."""
    label = cell.label or "?"
    if cell.is_point:
        return Message("{label} at {x:.0f}, {y:.0f}", label=label, x=cell.x, y=cell.y)
    return Message(
        "{label} at {x:.0f}, {y:.0f} ({width:.0f} x {height:.0f} pixels)",
        label=label,
        x=cell.x,
        y=cell.y,
        width=cell.width,
        height=cell.height,
    )
