"""Wilson's interval of a proportion, from the standard library only: the client has no numpy."""

import statistics

CONFIDENCE = 0.95


def wilson_interval(proportion: float, size: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided Wilson interval of a proportion of `size` independent images, not necessarily an integer."""
    square = statistics.NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    center = (proportion + square / (2 * size)) / (1 + square / size)
    half = (square * (proportion * (1 - proportion) / size + square / (4 * size * size))) ** 0.5 / (1 + square / size)
    # Rounding must not leave the proportion outside of its interval.
    return max(0.0, min(center - half, proportion)), min(1.0, max(center + half, proportion))
