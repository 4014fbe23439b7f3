"""The fraction of blasts among white cells, with an interval for both sources of error: the sample and the classifier.

A classifier that calls 3 % of the normal cells blasts finds blasts in every film. Rogan & Gladen, American Journal of
Epidemiology 107 (1978) 71-76, correct the observed fraction for that. Lang & Reiczigel, Preventive Veterinary Medicine
113 (2014) 13-22, give its interval when sensitivity and specificity are estimates themselves.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from Classes.common import wilson

# Below this sum, a classifier hardly tells blasts from other cells, and the correction would multiply chance by four.
MINIMUM_INFORMATION = 0.25


@dataclasses.dataclass(frozen=True)
class MeasuredRate:
    """A sensitivity or specificity as it was measured.

    Attributes:
      value: 0 to 1.
      size: number of independent images it was measured on (the effective size, if images belong together).
    """

    value: float
    size: float


@dataclasses.dataclass(frozen=True)
class BlastFraction:
    """Blasts among white cells, 0 to 1.

    Attributes:
      blasts, cells: numbers of cells; `cells` is the denominator.
      observed: blasts / cells.
      observed_interval: Wilson's 95 % interval of it, which assumes a classifier without errors.
      corrected: estimate of the true fraction; None if the errors of the classifier are unknown or too large.
      corrected_interval: its 95 % interval; None as above.
    """

    blasts: int
    cells: int
    observed: float
    observed_interval: tuple[float, float]
    corrected: float | None = None
    corrected_interval: tuple[float, float] | None = None


def estimate_blast_fraction(
    blasts: int, cells: int, sensitivity: MeasuredRate | None = None, specificity: MeasuredRate | None = None
) -> BlastFraction:
    """Return the fraction of blasts, as observed and corrected for the errors of the classifier.

    Args:
      blasts: number of cells that the classifier calls blasts.
      cells: number of cells in the denominator, at least 1.
      sensitivity, specificity: of the classifier, per cell; None if they were never measured.
    Raises:
      ValueError: no cells, or more blasts than cells.
    """
    if not 0 <= blasts <= cells or not cells:
        raise ValueError(f"{blasts} blasts among {cells} cells")
    observed = blasts / cells
    interval = wilson.wilson_interval(observed, cells)
    if sensitivity is None or specificity is None or _information(sensitivity, specificity) < MINIMUM_INFORMATION:
        return BlastFraction(blasts, cells, observed, interval)
    corrected = (observed + specificity.value - 1) / _information(sensitivity, specificity)
    low, high = lang_reiczigel_interval(observed, cells, sensitivity, specificity)
    corrected = min(1.0, max(0.0, corrected))
    # The interval is centered on a shrunken estimate, so without blasts it could end below the estimate.
    return BlastFraction(blasts, cells, observed, interval, corrected, (min(low, corrected), max(high, corrected)))


def lang_reiczigel_interval(
    observed: float, cells: int, sensitivity: MeasuredRate, specificity: MeasuredRate
) -> tuple[float, float]:
    """Return Lang and Reiczigel's 95 % interval of a prevalence, equations 6, 7, 16 and 17 of their paper.

    Args:
      observed: apparent prevalence, 0 to 1.
      cells: number of cells it was observed on.
      sensitivity, specificity: of the classifier, with sum above 1.
    Returns:
      (low, high), cut to 0 and 1.
    """
    quantile = statistics.NormalDist().inv_cdf((1 + wilson.CONFIDENCE) / 2)
    size = cells + quantile**2
    apparent = (cells * observed + quantile**2 / 2) / size
    true_positive, false_negative_variance = _shrunken(sensitivity)
    true_negative, false_positive_variance = _shrunken(specificity)
    information = true_positive + true_negative - 1
    center = (apparent + true_negative - 1) / information
    shift = 2 * quantile**2 * (center * false_negative_variance - (1 - center) * false_positive_variance)
    variance = (
        apparent * (1 - apparent) / size
        + center**2 * false_negative_variance
        + (1 - center) ** 2 * false_positive_variance
    ) / information**2
    half = quantile * variance**0.5
    low, high = (min(1.0, max(0.0, center + shift + sign * half)) for sign in (-1, 1))
    return low, high


def _shrunken(rate: MeasuredRate) -> tuple[float, float]:
    """Return a rate with one success and one failure added, and its variance; 20 of 20 does not mean "never wrong"."""
    value = (rate.value * rate.size + 1) / (rate.size + 2)
    return value, value * (1 - value) / (rate.size + 2)


def _information(sensitivity: MeasuredRate, specificity: MeasuredRate) -> float:
    """Return Youden's index: 0 for a classifier that guesses, 1 for one without errors."""
    return sensitivity.value + specificity.value - 1


def measured_rate(metric: dict[str, Any] | None) -> MeasuredRate | None:
    """Return a proportion of metrics.json with its effective size; None if it has no value or no interval."""
    if not metric or metric.get("value") is None or not metric.get("interval"):
        return None
    return MeasuredRate(metric["value"], effective_size(metric["value"], metric["interval"]))


def effective_size(value: float, interval: Sequence[float]) -> float:
    """Return the number of independent images for which Wilson's 95 % interval of a proportion is this wide.

    Half of its width is z sqrt(p (1 - p) / n + z^2 / 4 n^2) / (1 + z^2 / n), which is solved for n.
    """
    z = statistics.NormalDist().inv_cdf((1 + wilson.CONFIDENCE) / 2)
    half = (interval[1] - interval[0]) / 2
    linear = 2 * half**2 * z**2 - z**2 * value * (1 - value)
    constant = half**2 * z**4 - z**4 / 4
    return (-linear + math.sqrt(linear**2 - 4 * half**2 * constant)) / (2 * half**2)
