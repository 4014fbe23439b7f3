"""Measure a finder of cells against annotated photographs: which cells it finds, how many, and of which type.

A found cell counts as right if its center lies in the box of an annotated cell, or, if that is a point, within half of
the found cell's width of it; each annotated cell counts once. Cells of one photograph resemble each other, so all
intervals are over photographs, or patients if they are known.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from Classes.common import statistics, translation
from Classes.evaluation import classification_metrics
from Classes.evaluation.classification_metrics import Metric
from Classes.imaging.annotations.record import AnnotatedCell

# Cost of a pair that is not allowed, in pixels; larger than the diagonals of all pairs of a photograph together.
NEVER = 1e9

SOME_MARKED = translation.mark("only some of the white cells are annotated")
NO_CELLS = translation.mark("no white cell is annotated")
NONE_FOUND = translation.mark("no white cell was found")

# Column of annotated cells that were not found, and row of found cells that are not annotated.
NOT_FOUND, NOT_ANNOTATED = translation.mark("not found"), translation.mark("not annotated")


class FoundCell(typing.Protocol):
    """A cell as the finder returns it: center and box in pixels."""

    @property
    def x(self) -> float:
        """Center, from the left."""

    @property
    def y(self) -> float:
        """Center, from the top."""

    @property
    def width(self) -> float:
        """Width of the box."""

    @property
    def height(self) -> float:
        """Height of the box."""


@dataclasses.dataclass(frozen=True)
class MeasuredField:
    """A photograph with its annotated and found cells.

    Attributes:
      name: of the photograph.
      group: photographs of a patient have the same; else it is the name.
      annotated: white cells that people marked.
      found: white cells that were found.
      types: type of each found cell; empty if they were not typed.
      complete: whether all white cells are annotated, not only some.
      refused: code of the error if the photograph got no count, else None.
      seconds: how long finding and typing took.
    """

    name: str
    group: str
    annotated: tuple[AnnotatedCell, ...]
    found: tuple[FoundCell, ...]
    types: tuple[str, ...] = ()
    complete: bool = True
    refused: str | None = None
    seconds: float = 0.0

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The matches; see `match_cells`."""
        return match_cells(self.annotated, self.found)


def match_cells(annotated: Sequence[AnnotatedCell], found: Sequence[FoundCell]) -> list[tuple[int, int]]:
    """Return the largest set of matches, with the smallest sum of distances.

    Args:
      annotated: white cells that people marked.
      found: white cells that were found.
    Returns:
      [(index of the annotated cell, index of the found cell)], each index at most once, in ascending order.
    """
    from scipy import optimize

    if not annotated or not found:
        return []
    marks = numpy.array([(cell.x, cell.y, cell.width / 2, cell.height / 2) for cell in annotated])
    cells = numpy.array([(cell.x, cell.y, cell.width / 2) for cell in found])
    across, down = (numpy.abs(marks[:, None, axis] - cells[None, :, axis]) for axis in (0, 1))
    distance = numpy.hypot(across, down)
    inside = (across <= marks[:, None, 2]) & (down <= marks[:, None, 3])
    point = (marks[:, 2] == 0) & (marks[:, 3] == 0)
    allowed = numpy.where(point[:, None], distance <= cells[None, :, 2], inside)
    rows, columns = optimize.linear_sum_assignment(numpy.where(allowed, distance, NEVER))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]


def evaluate_fields(
    fields: Sequence[MeasuredField], type_of: Mapping[str, str] | None = None, seed: int = 50
) -> dict[str, Any]:
    """Return the metrics of finding, counting and typing.

    Args:
      fields: photographs.
      type_of: {annotated class in lower case: type as in `MeasuredField.types`}; other classes have no known type.
      seed: of the bootstrap.
    Returns:
      dict for JSON: "photographs", "groups", "annotated", "found" and "matched" (counts), "recall", "precision", "f1",
      "exact_count", "count_error" (mean of found minus annotated per photograph) and "absolute_count_error" (Metric;
      in cells for the last two), "types" (see `confusion_of_types`; None without types) and "fields" (a row per
      photograph). Everything but recall is measured on the photographs in which all white cells are annotated.
    """
    matches = [field.pairs for field in fields]
    whole = [number for number, field in enumerate(fields) if field.complete]
    hits, marked_in = _hits([(field.annotated, pairs, 0) for field, pairs in zip(fields, matches, strict=True)], fields)
    right, found_in = _hits(
        [(fields[number].found, matches[number], 1) for number in whole], [fields[number] for number in whole]
    )
    return {
        "photographs": len(fields),
        "complete_photographs": len(whole),
        "groups": len({field.group for field in fields}),
        "annotated": len(hits),
        "found": sum(len(field.found) for field in fields),
        "matched": sum(map(len, matches)),
        "recall": classification_metrics.proportion_metric(hits, marked_in, NO_CELLS),
        "precision": classification_metrics.proportion_metric(right, found_in, NONE_FOUND if whole else SOME_MARKED),
        **_count_metrics([fields[number] for number in whole], [len(matches[number]) for number in whole], seed),
        "types": confusion_of_types(fields, matches, type_of or {}) if any(field.types for field in fields) else None,
        "fields": [_row(field, pairs) for field, pairs in zip(fields, matches, strict=True)],
    }


def _hits(
    cells: Sequence[tuple[Sequence[Any], list[tuple[int, int]], int]], fields: Sequence[MeasuredField]
) -> tuple[numpy.ndarray, list[str]]:
    """Return (bool [N], whether each cell is matched; [N] groups) for (cells, matches, side of the match)."""
    hits, groups = [], []
    for (each, pairs, side), field in zip(cells, fields, strict=True):
        matched = {pair[side] for pair in pairs}
        hits += [number in matched for number in range(len(each))]
        groups += [field.group] * len(each)
    return numpy.array(hits, bool), groups


def _count_metrics(fields: Sequence[MeasuredField], matched: Sequence[int], seed: int) -> dict[str, Metric]:
    """Return F1 and the errors of the counts of completely annotated photographs; `matched` has a number for each."""
    names = ("f1", "count_error", "absolute_count_error")
    if not fields:
        return dict.fromkeys((*names, "exact_count"), _metric(None, note=SOME_MARKED))
    marked, found = (numpy.array([len(getattr(field, side)) for field in fields]) for side in ("annotated", "found"))
    error, groups = found - marked, [field.group for field in fields]
    total = numpy.array(matched)

    def values(weights: numpy.ndarray) -> dict[str, float | None]:
        """Return the metrics if each photograph counts as often as its weight says."""
        cells = (weights * (marked + found)).sum()
        return {
            "f1": 2 * (weights * total).sum() / cells if cells else None,
            "count_error": (weights * error).sum() / weights.sum(),
            "absolute_count_error": (weights * abs(error)).sum() / weights.sum(),
        }

    draws = [values(weights) for weights in statistics.bootstrap_group_indices(groups, len(fields), seed)]
    metrics = {}
    for name, value in values(numpy.ones(len(fields))).items():
        samples = [drawn for draw in draws if (drawn := draw[name]) is not None]
        interval, reason = statistics.bootstrap_interval(samples, len(set(groups)))
        note = NO_CELLS if value is None else reason
        metrics[name] = _metric(value, interval if value is not None else None, note)
    metrics["exact_count"] = classification_metrics.proportion_metric(error == 0, groups, NO_CELLS)
    return metrics


def confusion_of_types(
    fields: Sequence[MeasuredField], matches: Sequence[list[tuple[int, int]]], type_of: Mapping[str, str]
) -> dict[str, Any]:
    """Return which types annotated cells got.

    Args:
      fields, matches: photographs with their types, and the matches of each.
      type_of: {annotated class in lower case: type}.
    Returns:
      dict for JSON: "annotated" (classes as people wrote them, the rows), "types" (the columns), "confusion" ([row]
      [column] counts of cells) and "accuracy" (Metric of the found cells whose annotated class has a type). The last
      row is NOT_ANNOTATED, and the last column NOT_FOUND.
    """
    types = sorted({name for field in fields for name in field.types})
    labels = sorted({cell.label for field in fields for cell in field.annotated})
    counts = numpy.zeros((len(labels) + 1, len(types) + 1), int)
    right, groups = [], []
    for field, pairs in zip(fields, matches, strict=True):
        partner = dict(pairs)
        for number, cell in enumerate(field.annotated):
            name = field.types[partner[number]] if number in partner else None
            counts[labels.index(cell.label), types.index(name) if name else -1] += 1
            if name and type_of.get(cell.label.casefold()):
                right.append(type_of[cell.label.casefold()] == name)
                groups.append(field.group)
        # If only some cells are annotated, the others do not count as errors.
        if field.complete:
            for number in set(range(len(field.found))) - {column for _, column in pairs}:
                counts[-1, types.index(field.types[number])] += 1
    note = translation.mark("no annotated class is a type of the model")
    return {
        "annotated": [*labels, NOT_ANNOTATED],
        "types": [*types, NOT_FOUND],
        "confusion": counts.tolist(),
        "accuracy": classification_metrics.proportion_metric(numpy.array(right, bool), groups, note),
    }


def _row(field: MeasuredField, pairs: list[tuple[int, int]]) -> dict[str, Any]:
    """Return a photograph for JSON: counts, and the places of missed and of false cells."""
    rows, columns = ({pair[side] for pair in pairs} for side in (0, 1))
    missed = [_place(cell) for number, cell in enumerate(field.annotated) if number not in rows]
    false = [_place(cell) for number, cell in enumerate(field.found) if number not in columns]
    return {
        "photograph": field.name,
        "group": field.group,
        "annotated": len(field.annotated),
        "complete": field.complete,
        "found": len(field.found),
        "matched": len(pairs),
        "missed": missed,
        "not_annotated": false,
        "refused": field.refused,
        "seconds": round(field.seconds, 3),
    }


def _place(cell: Any) -> list[float]:
    return [round(float(value), 1) for value in (cell.x, cell.y, cell.width, cell.height)]


def _metric(value: float | None, interval: tuple[float, float] | None = None, note: str | None = None) -> Metric:
    return {
        "value": None if value is None else float(value),
        "interval": None if interval is None else list(interval),
        "of": None,
        "note": note,
    }
