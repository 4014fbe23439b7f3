"""Choose the decision threshold and the uncertainty band from the scores of labelled images.

The uncertainty band is the gray zone of Coste and Pouchot, International Journal of Epidemiology 32 (2003).
"""

import bisect
from typing import Any

import numpy

from Classes.common import statistics
from Classes.inference import prediction

# Default decision threshold: the argmax of two classes, as in the first version.
DEFAULT_THRESHOLD = 0.5


# Tolerance for comparing a fraction of images with a limit.
ROUNDING = 1e-9


def threshold_at_sensitivity(
    scores: numpy.ndarray,
    truths: numpy.ndarray,
    target: float,
    specificity: float = 0.0,
    confidence: float = 0.5,
    groups: Any = None,
) -> float:
    """Return the threshold that reaches a target sensitivity: 0.5, or the highest lower one that does.

    The one-sided lower confidence limit of the sensitivity has to reach the target. If the limit stays below the target
    even with every positive image detected, there are too few positive images, and the sensitivity itself is used. A
    threshold that reduces the specificity too much is not used. If no threshold reaches the target, the highest of the
    remaining ones that detect the most positive images is returned.

    Args:
      scores: float [N], probability of the positive class.
      truths: bool [N], at least one of them true.
      target: sensitivity to reach.
      specificity: minimum specificity of a threshold below 0.5.
      confidence: of the lower limit; 0.5 makes the limit the sensitivity itself.
      groups: [N] names of source images or patients; None: each image is its own group.
    Returns:
      float, at most 0.5. A higher threshold would reject images that are more likely positive than not.
    """
    groups = statistics.group_numbers(groups, len(scores))[truths]
    provable = can_prove_sensitivity(groups, target, confidence)
    best, most = DEFAULT_THRESHOLD, int(prediction.apply_threshold(scores[truths], DEFAULT_THRESHOLD).sum())
    lower = numpy.unique(scores[truths & (scores < DEFAULT_THRESHOLD)])[::-1]
    for threshold in (DEFAULT_THRESHOLD, *(_just_below(score, scores) for score in lower)):
        rejected = ~prediction.apply_threshold(scores[~truths], threshold)
        if threshold < DEFAULT_THRESHOLD and len(rejected) and rejected.mean() < specificity:
            break
        detected = prediction.apply_threshold(scores[truths], threshold)
        if detected.sum() > most:
            best, most = threshold, int(detected.sum())
        if detected.mean() >= target - ROUNDING and (
            not provable or lower_confidence_limit(detected, groups, confidence) >= target
        ):
            break
    return float(best)


def lower_confidence_limit(hits: numpy.ndarray, groups: Any, confidence: float) -> float:
    """Return the one-sided lower confidence limit of a proportion; 0 if it is unknown."""
    interval = statistics.proportion_interval(hits, groups, 2 * confidence - 1)
    return interval[0] if interval else 0.0


def can_prove_sensitivity(groups: Any, target: float, confidence: float) -> bool:
    """Return whether the lower limit of the sensitivity reaches the target if every positive image is detected."""
    return 0 < target < 1 and lower_confidence_limit(numpy.ones(len(groups), bool), groups, confidence) >= target


def bounded_uncertainty_band(
    scores: numpy.ndarray, truths: numpy.ndarray, threshold: float, fraction: float, limit: float
) -> tuple[float, float] | None:
    """Return the band of the smallest error fraction, at least `fraction`, with at most `limit` uncertain images.

    Args:
      scores, truths, threshold, fraction: as for `uncertainty_band`.
      limit: `UncertainLimit`.
    """
    counts = (int(truths.sum()), int((~truths).sum()))
    steps = numpy.unique(numpy.concatenate([numpy.arange(1, count + 1) / count for count in counts]))
    fractions = [fraction, *steps[steps > fraction].tolist()]

    def narrow(fraction: float) -> bool:
        band = uncertainty_band(scores, truths, threshold, fraction)
        return bool(prediction.in_band(scores, band).mean() <= limit + ROUNDING)

    # A larger fraction never widens the band, so a binary search finds the first one that is narrow enough.
    index = min(bisect.bisect_left(fractions, True, key=narrow), len(fractions) - 1)
    band = uncertainty_band(scores, truths, threshold, fractions[index])
    # If the classes overlap so much that only an empty band is narrow enough, use the scores nearest to the threshold.
    return band if band or not index else _band_around_threshold(scores, threshold, limit)


def _band_around_threshold(scores: numpy.ndarray, threshold: float, limit: float) -> tuple[float, float] | None:
    """Return the widest band centered on the threshold with at most a fraction `limit` of the images, or None."""
    distances = numpy.sort(numpy.abs(scores - threshold))
    count = int(limit * len(scores) + ROUNDING)
    gaps = numpy.flatnonzero(distances[1 : count + 1] > distances[:count])
    if not len(gaps):
        return None
    radius = float(distances[gaps[-1]] + distances[gaps[-1] + 1]) / 2
    return max(0.0, threshold - radius), min(1.0, threshold + radius)


def uncertainty_band(
    scores: numpy.ndarray, truths: numpy.ndarray, threshold: float, fraction: float
) -> tuple[float, float] | None:
    """Return the band outside of which at most a fraction of each class is on the wrong side.

    Args:
      scores: float [N], probability of the positive class.
      truths: bool [N], with both classes.
      threshold: the band includes it, so that no prediction between the band and the threshold is certain.
      fraction: `UncertainErrorRate`.
    Returns:
      (low, high), or None if the classes do not overlap.
    """
    positive, negative = numpy.sort(scores[truths]), numpy.sort(scores[~truths])[::-1]
    missed, false_alarms = int(fraction * len(positive) + 1e-9), int(fraction * len(negative) + 1e-9)
    if missed >= len(positive) or false_alarms >= len(negative):
        return None
    # The upper end is the lower end of the mirrored scores.
    low, high = _just_below(positive[missed], scores), 1 - _just_below(1 - negative[false_alarms], 1 - scores)
    return (min(low, threshold), max(high, threshold)) if low < high else None


def _just_below(score: float, scores: numpy.ndarray) -> float:
    """Return the middle between a score and the next lower one, so that rounding on another device changes nothing."""
    lower = scores[scores < score]
    return float((score + (lower.max() if len(lower) else 0.0)) / 2)
