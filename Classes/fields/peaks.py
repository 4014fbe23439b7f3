"""From the network's output to cells: the peaks of a heat map, and which of them are one cell."""

from typing import NamedTuple

import numpy

WHITE, RED = 0, 1

# Two centers nearer than this share of their mean diameter are one cell; touching cells are about one diameter apart.
SAME_CELL = 0.45


class Peaks(NamedTuple):
    """Cells of one kind in pixels of the network's input.

    Attributes:
      centers: float64 [N, 2], x and y: a slide can have more pixels than float32 tells apart.
      sizes: float32 [N, 2], width and height.
      scores: float32 [N], 0 to 1.
    """

    centers: numpy.ndarray
    sizes: numpy.ndarray
    scores: numpy.ndarray


def find_peaks(output: numpy.ndarray, kind: int, threshold: float, stride: int, size_unit: float) -> Peaks:
    """Return the cells of a kind.

    Args:
      output: float32 [h, w, 6], see finder_card.FinderCard.output.
      kind: WHITE or RED.
      threshold: least score.
      stride, size_unit: see FinderCard.
    """
    scores = 1 / (1 + numpy.exp(-output[..., kind].clip(-30, 30)))
    highest = _neighborhood_maximum(scores)
    rows, columns = numpy.nonzero((scores == highest) & (scores >= threshold))
    values = output[rows, columns]
    sizes = numpy.exp(values[:, 2:4].clip(-4, 4)) * size_unit
    centers = (numpy.stack([columns, rows], 1) + 0.5 + values[:, 4:6].clip(-1, 1).astype("float64")) * stride
    return merge_duplicates(Peaks(centers, sizes.astype("float32"), scores[rows, columns]))


def near_pairs(centers: numpy.ndarray, radius: float) -> numpy.ndarray:
    """Return int [P, 2]: the pairs of points, the lower index first, that are at most `radius` apart.

    Without SciPy, which a small device does not have. The points are compared in order of x with those that follow, so
    the time depends on how many lie in a strip as wide as the radius.

    Args:
      centers: float [N, 2].
    """
    order = numpy.argsort(centers[:, 0], kind="stable")
    points = centers[order]
    found = []
    for step in range(1, len(points)):
        difference = points[step:] - points[:-step]
        if not (difference[:, 0] <= radius).any():
            break
        near = numpy.flatnonzero(numpy.hypot(difference[:, 0], difference[:, 1]) <= radius)
        found.append(numpy.stack([order[near], order[near + step]], axis=1))
    pairs = numpy.concatenate(found) if found else numpy.empty((0, 2), int)
    return numpy.sort(pairs, axis=1)


def _neighborhood_maximum(values: numpy.ndarray) -> numpy.ndarray:
    """Return float32 [H, W]: the maximum of each value and its eight neighbors; values are positive."""
    padded = numpy.pad(values, 1)
    rows = numpy.maximum(numpy.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return numpy.maximum(numpy.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def merge_duplicates(peaks: Peaks) -> Peaks:
    """Return the peaks without those that are the same cell as a higher one; the highest come first."""
    order = numpy.lexsort((peaks.centers[:, 0], peaks.centers[:, 1], -peaks.scores))
    peaks = Peaks(*(values[order] for values in peaks))
    if len(order) < 2:
        return peaks
    diameters = peaks.sizes.mean(axis=1)
    pairs = near_pairs(peaks.centers, SAME_CELL * float(diameters.max()))
    pairs = pairs[numpy.lexsort((pairs[:, 1], pairs[:, 0]))]
    kept = numpy.ones(len(order), bool)
    for first, second in pairs:
        distance = numpy.hypot(*(peaks.centers[first] - peaks.centers[second]))
        if kept[first] and distance < SAME_CELL * (diameters[first] + diameters[second]) / 2:
            kept[second] = False
    return Peaks(*(values[kept] for values in peaks))
