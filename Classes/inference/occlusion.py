"""Occlusion maps (Zeiler and Fergus, arXiv:1311.2901): how much a class loses if a part of the image is hidden.

They need no layer with a fine grid, so they also work for networks of small images, whose last layer has 2 x 2 places.
"""

from collections.abc import Callable

import numpy

# Places of a map in each direction, and the side of the hidden square in places.
PLACES, HIDDEN = 8, 2

# Probabilities are kept away from 0 and 1 by this, so that their log odds are finite; bf16 has no finer steps at 1.
_SMALLEST = 1e-4


def occlusion_map(
    classify: Callable[[numpy.ndarray], numpy.ndarray], image: numpy.ndarray, index: int
) -> numpy.ndarray:
    """Return how much each place of an image counts for a class.

    A square of the image's median color moves over the image. A place counts as much as the log odds of the class fall,
    on average, if the square covers it.

    Args:
      classify: returns float32 [classes] for an image.
      image: uint8 [S, S, 3].
      index: the class.
    Returns:
      float32 [PLACES, PLACES]; positive where the image speaks for the class.
    """
    before = _log_odds(classify(image)[index])
    edges = numpy.linspace(0, len(image), PLACES + 1).round().astype(int)
    color = numpy.median(image, axis=(0, 1)).astype("uint8")
    total, count = numpy.zeros((2, PLACES, PLACES), "float32")
    # The square also begins before the image, so that each place is covered equally often.
    for row in range(1 - HIDDEN, PLACES):
        for column in range(1 - HIDDEN, PLACES):
            places = tuple(slice(max(start, 0), min(start + HIDDEN, PLACES)) for start in (row, column))
            hidden = image.copy()
            hidden[tuple(slice(edges[each.start], edges[each.stop]) for each in places)] = color
            total[places] += before - _log_odds(classify(hidden)[index])
            count[places] += 1
    return total / count


def _log_odds(probability: float) -> float:
    bounded = min(max(float(probability), _SMALLEST), 1 - _SMALLEST)
    return float(numpy.log(bounded / (1 - bounded)))
