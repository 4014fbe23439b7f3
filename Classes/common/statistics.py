"""Compute confidence intervals for images in groups, such as images of one patient or views of one source image.

Images of one group resemble each other, so they carry less information than the same number of independent images.
Proportions get Wilson's interval with the effective sample size of Korn and Graubard, Survey Methodology 24 (1998).
Other metrics get percentiles of a bootstrap over groups. docs/metrics.md reports the measured coverage.
"""

import collections.abc
import itertools
from typing import Any

import numpy

from Classes.common.translation import mark
from Classes.common.wilson import CONFIDENCE, wilson_interval

# Number of bootstrap samples. More samples change the ends of an interval by less than 0.01.
N_BOOTSTRAP = 1000

# Bootstrap samples that are in memory at the same time, where that is faster than one after the other.
CHUNK = 100

# The correlation within groups is estimated from the few groups that contain the rarer outcome. This prior counts as
# one more group. Without any error, the prior is all that is known.
PRIOR_CORRELATION = 0.5

# Bootstrap values closer together than this differ by rounding only.
ROUNDING = 1e-9


def group_numbers(groups: collections.abc.Iterable | None, count: int) -> numpy.ndarray:
    """Return the number of each image's group, int [count] from 0; with None, each image is its own group."""
    if groups is None:
        return numpy.arange(count)
    return numpy.unique(numpy.asarray(groups), return_inverse=True)[1].reshape(-1)


def proportion_interval(
    hits: Any, groups: collections.abc.Iterable | None = None, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return the two-sided interval of the proportion of hits, or None if it is unknown.

    Args:
      hits: bool [N].
      groups: [N] group names. With None, each image is its own group and the result is Wilson's interval.
      confidence: confidence level.
    Returns:
      (low, high); None without images and for several images of a single group.
    """
    size = effective_size(hits, groups, confidence)
    return None if size is None else wilson_interval(float(numpy.mean(hits)), size, confidence)


def paired_difference(
    differences: Any, groups: collections.abc.Iterable | None = None, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return Tango's score interval of a difference of paired proportions, Statistics in Medicine 17 (1998).

    Args:
      differences: int [N], per image 1 for an additional error, 0 for the same outcome, -1 for one error fewer.
      groups: [N] group names, used for the effective sample size. With None, each image is its own group.
      confidence: confidence level; the upper end is the limit of a one-sided test of non-inferiority.
    Returns:
      (low, high), or None as for `proportion_interval`.
    """
    from scipy import special

    differences = numpy.asarray(differences, int)
    size = effective_size(differences, groups, confidence)
    if size is None:
        return None
    quantile = float(special.ndtri((1 + confidence) / 2))
    more, less = (float((differences == sign).mean()) * size for sign in (1, -1))
    return -_tango_upper_limit(less, more, size, quantile), _tango_upper_limit(more, less, size, quantile)


def _tango_upper_limit(more: float, less: float, size: float, quantile: float) -> float:
    """Return the upper limit if `more` and `less` of `size` images have an additional error and one error fewer."""
    from scipy import optimize

    def excess(difference: float) -> float:
        """Return the score statistic of this difference above its quantile; 0 at the limit."""
        # `fewer` is the maximum-likelihood fraction of images with one error fewer for this difference.
        slope = (2 * size - more + less) * difference - more - less
        root = (slope**2 + 8 * size * less * difference * (1 - difference)) ** 0.5
        fewer = (root - slope) / (4 * size)
        variance = max(0.0, size * (2 * fewer + difference * (1 - difference)))
        return more - less - size * difference + quantile * variance**0.5

    value = (more - less) / size
    # If no outcome differs, the score at the value itself is 0 for every limit.
    start, end = value + 1e-9, 1 - 1e-9
    if start >= end or excess(start) <= 0:
        return value
    return float(optimize.brentq(excess, start, end)) if excess(end) < 0 else 1.0


def effective_size(
    values: Any, groups: collections.abc.Iterable | None = None, confidence: float = CONFIDENCE
) -> float | None:
    """Return how many independent images determine the mean of `values` as precisely as these images.

    The design effect is that of the linearized variance with the actual group sizes, at least 1. The number of groups
    enters through the quantile of Student's t; groups of unequal size count as fewer groups of equal size.

    Args:
      values: float [N].
      groups: [N] group names. With None, each image is its own group.
      confidence: confidence level of the interval.
    Returns:
      N for groups of one image; None without images and for several images of a single group.
    """
    from scipy import special

    values = numpy.asarray(values, float)
    count = len(values)
    members = group_numbers(groups, count)
    sizes = numpy.bincount(members)
    if count == 0 or (len(sizes) == 1 and count > 1):
        return None
    if len(sizes) == count:
        return float(count)
    # The mean size of an image's group.
    size = float((sizes**2).sum() / count)
    correlation = _intraclass_correlation(values, members, len(sizes), size)
    # The estimate depends on the groups that contain the rarer outcome.
    distinct, frequency = numpy.unique(values, return_counts=True)
    usual = values == distinct[frequency.argmax()]
    informative = min(len(numpy.unique(members[usual])), len(numpy.unique(members[~usual])))
    correlation = (informative * correlation + PRIOR_CORRELATION) / (informative + 1)
    quantile = (1 + confidence) / 2
    freedom = max(1.0, count / size - 1)
    few_groups = (special.stdtrit(freedom, quantile) / special.stdtrit(count - 1, quantile)) ** 2
    return count / float((1 + (size - 1) * correlation) * few_groups)


def _intraclass_correlation(values: numpy.ndarray, members: numpy.ndarray, groups: int, size: float) -> float:
    """Return the correlation within groups, 0 to 1, from the ratio of the variance by group to that by image."""
    residuals = values - values.mean()
    by_image = (residuals**2).sum() * len(values) / (len(values) - 1)
    if not by_image:
        return 0.0
    by_group = (numpy.bincount(members, residuals) ** 2).sum() * groups / (groups - 1)
    return float(numpy.clip((by_group / by_image - 1) / (size - 1), 0, 1))


def bootstrap_group_indices(
    groups: collections.abc.Iterable | None, count: int, seed: int, draws: int = N_BOOTSTRAP
) -> collections.abc.Iterator[numpy.ndarray]:
    """Yield how often each image is in a bootstrap sample of groups, int [count]; nothing for a single group."""
    members = group_numbers(groups, count)
    number = int(members.max(initial=-1)) + 1
    generator = numpy.random.default_rng(seed)
    for _ in range(draws if number > 1 else 0):
        yield numpy.bincount(generator.integers(number, size=number), minlength=number)[members]


def bootstrap_group_weights(
    groups: collections.abc.Iterable | None, count: int, seed: int, draws: int = N_BOOTSTRAP
) -> collections.abc.Iterator[numpy.ndarray]:
    """Yield the samples of `bootstrap_group_indices`, some at a time: int [samples, count]."""
    samples = bootstrap_group_indices(groups, count, seed, draws)
    while chunk := list(itertools.islice(samples, CHUNK)):
        yield numpy.array(chunk)


def bootstrap_interval(
    values: collections.abc.Sequence[float], groups: int, draws: int = N_BOOTSTRAP
) -> tuple[tuple[float, float] | None, str | None]:
    """Return a bootstrap interval, or None and the reason why there is none.

    With few groups, percentiles are too narrow. Student's t moves them outwards (the expanded percentile interval of
    Hesterberg, The American Statistician 69 (2015)).

    Args:
      values: the metric in each bootstrap sample in which it is defined.
      groups: number of groups in each sample.
      draws: number of samples.
    Returns:
      ((low, high), None), or (None, reason) if the metric is undefined in most samples or equal in all of them.
    """
    from scipy import special

    if groups < 2 or len(values) < draws / 2:
        return None, mark("too few source images or patients for an interval")
    # Equal values in all samples mean that no error was observed, not that the metric is known exactly.
    if max(values) - min(values) < ROUNDING:
        return None, mark("too few errors for an interval")
    deviation = (groups / (groups - 1)) ** 0.5 * special.stdtrit(groups - 1, (1 + CONFIDENCE) / 2)
    tail = float(special.ndtr(-deviation))
    low, high = numpy.quantile(values, [tail, 1 - tail])
    return (float(low), float(high)), None


def roc_auc(labels: Any, scores: Any, weights: numpy.ndarray | None = None) -> float:
    """Return the area under the ROC curve; ties count half.

    Args:
      labels: bool [N], with both classes among the images of a positive weight.
      scores: float [N].
      weights: [N], how often each image counts; None: once.
    """
    return roc_auc_of_counts(*score_counts(labels, scores, weights))


def roc_auc_of_counts(positive: numpy.ndarray, negative: numpy.ndarray) -> float:
    """Return the area under the ROC curve from the image counts of both classes by descending score."""
    below = numpy.cumsum(negative)
    # How often a positive image ranks above a negative one; a tie counts half.
    return float((positive * (below[-1] - below + negative / 2)).sum() / (positive.sum() * below[-1]))


def roc_auc_of_samples(
    labels: Any, weights: numpy.ndarray, order: tuple[numpy.ndarray, numpy.ndarray]
) -> numpy.ndarray:
    """Return `roc_auc` of several samples, float [samples]; NaN for a sample without one of the classes.

    Args:
      labels: bool [N], N > 0.
      weights: int [samples, N], how often each image counts.
      order: result of `score_order` of the scores.
    """
    ranking, starts = order
    counts, is_positive = weights[:, ranking], numpy.asarray(labels, bool)[ranking]
    positive = numpy.add.reduceat(counts * is_positive, starts, axis=1)
    negative = numpy.add.reduceat(counts * ~is_positive, starts, axis=1)
    below = numpy.cumsum(negative, axis=1)
    pairs = positive.sum(1) * below[:, -1]
    # As in roc_auc_of_counts.
    ordered = (positive * (below[:, -1:] - below + negative / 2)).sum(1)
    return numpy.where(pairs > 0, ordered / numpy.maximum(pairs, 1), numpy.nan)


def score_order(scores: Any) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the indices of the scores in descending order, and where each run of equal scores starts in it."""
    scores = numpy.asarray(scores, float)
    order = numpy.argsort(-scores, kind="stable")
    return order, numpy.flatnonzero(numpy.diff(scores[order], prepend=numpy.inf))


def score_counts(
    labels: Any,
    scores: Any,
    weights: numpy.ndarray | None = None,
    order: tuple[numpy.ndarray, numpy.ndarray] | None = None,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return how many positive and negative images have each distinct score, in descending order.

    Args:
      labels: bool [N].
      scores: float [N].
      weights: [N], how often each image counts; None: once.
      order: result of `score_order`, if it is known.
    """
    labels = numpy.asarray(labels, bool)
    ranking, starts = order or score_order(scores)
    weights = numpy.ones(len(labels), int) if weights is None else weights
    if not len(starts):
        return numpy.zeros(0), numpy.zeros(0)
    positive, negative = (numpy.add.reduceat((weights * each)[ranking], starts) for each in (labels, ~labels))
    return positive, negative


def smallest_class_groups(labels: collections.abc.Iterable, groups: collections.abc.Iterable) -> int:
    """Return the number of groups of the class that has the fewest; 0 without labels.

    Args:
      labels: [N].
      groups: [N] names.
    """
    by_class: dict = {}
    for label, group in zip(labels, groups, strict=True):
        by_class.setdefault(label, set()).add(group)
    return min(map(len, by_class.values()), default=0)


def stratified_group_folds(
    labels: Any, groups: Any, count: int, seed: int
) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Return folds with similar class fractions; no group is in two of them.

    Args:
      labels: [N].
      groups: [N] names.
      count: number of folds, at most `smallest_class_groups`.
      seed: of the shuffling.
    Returns:
      list of (int indices of all other folds, int indices of the fold), each in ascending order.
    """
    from sklearn import model_selection

    splitter = model_selection.StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))
