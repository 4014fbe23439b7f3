"""How well white cells are found in annotated fields: by centers in boxes, with intervals by photograph."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy

from Classes.common import statistics
from Classes.common.statistics import N_BOOTSTRAP


@dataclasses.dataclass(frozen=True)
class FieldMatch:
    """What was found in one field.

    Attributes:
      box_of_cell: int [cells], the box that holds the cell's center and is its own, -1 for a false cell.
      boxes: number of annotated cells.
    """

    box_of_cell: numpy.ndarray
    boxes: int

    @property
    def found(self) -> int:
        """Annotated cells that were found."""
        return int((self.box_of_cell >= 0).sum())

    @property
    def false(self) -> int:
        """Cells that are not annotated."""
        return len(self.box_of_cell) - self.found

    @property
    def missed(self) -> int:
        """Annotated cells that were not found."""
        return self.boxes - self.found


def match_centers(centers: Any, scores: Any, boxes: Any) -> FieldMatch:
    """Match cells with boxes, one to one.

    A cell is right if its center lies in a box. The cell with the highest score chooses first, and of several boxes it
    gets the one whose center is nearest in units of the box; a second cell in the same box is false.

    Args:
      centers: float [N, 2].
      scores: float [N].
      boxes: float [M, 4], center x and y, width and height.
    """
    centers = numpy.asarray(centers, float).reshape(-1, 2)
    boxes = numpy.asarray(boxes, float).reshape(-1, 4)
    matched = numpy.full(len(centers), -1)
    free = numpy.ones(len(boxes), bool)
    for cell in numpy.argsort(-numpy.asarray(scores, float), kind="stable"):
        away = (abs(boxes[:, :2] - centers[cell]) / (boxes[:, 2:] / 2)).max(axis=1, initial=0)
        away[~free] = numpy.inf
        if len(away) and away.min() <= 1:
            matched[cell] = int(away.argmin())
            free[matched[cell]] = False
    return FieldMatch(matched, len(boxes))


def detection_metrics(matches: Sequence[FieldMatch], seed: int = 0) -> dict[str, Any]:
    """Return recall, precision and F1 with 95 % intervals by photograph; see common.statistics.

    Args:
      matches: of every field.
      seed: of the bootstrap.
    Returns:
      {"fields", "cells", "found", "false", "missed", and for each metric {"value", "interval"}}; a value is None if it
      is not defined, an interval if there is none.
    """
    counts = numpy.array([(match.found, match.false, match.missed) for match in matches], float).reshape(-1, 3)
    draws = [_f1(weights @ counts) for weights in statistics.bootstrap_group_indices(None, len(counts), seed)]
    metrics: dict[str, Any] = {
        "fields": len(matches),
        "cells": sum(match.boxes for match in matches),
        **dict(zip(("found", "false", "missed"), counts.sum(axis=0).astype(int).tolist(), strict=True)),
    }
    for name, wrong in (("recall", 2), ("precision", 1)):
        hits = [hit for row in counts.astype(int) for hit in [True] * row[0] + [False] * row[wrong]]
        fields = [index for index, row in enumerate(counts.astype(int)) for _ in range(row[0] + row[wrong])]
        found = statistics.proportion_interval(hits, fields) if hits else None
        metrics[name] = {"value": sum(hits) / len(hits) if hits else None, "interval": list(found) if found else None}
    defined = [value for value in draws if value is not None]
    interval, _ = statistics.bootstrap_interval(defined, len(counts), N_BOOTSTRAP)
    metrics["f1"] = {"value": _f1(counts.sum(axis=0)), "interval": list(interval) if interval else None}
    return metrics


def _f1(counts: numpy.ndarray) -> float | None:
    """Return F1 for the numbers of found, false and missed cells."""
    found, false, missed = (float(count) for count in counts)
    return 2 * found / (2 * found + false + missed) if found + false + missed else None
