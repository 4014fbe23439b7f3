"""Confidence intervals for images that come in groups: those of one patient, or views of one original.

Images of a group are alike, so that they say less than as many independent ones. Proportions: Wilson's interval with
the effective sample size of Korn and Graubard, Survey Methodology 24 (1998). Everything else: percentiles of a
bootstrap over groups. docs/metrics.md has the measured coverage.
"""

import collections.abc

import numpy

CONFIDENCE = 0.95

# Bootstrap samples behind an interval; more of them change its ends by less than a hundredth.
N_BOOTSTRAP = 1000

# The correlation within groups is estimated from the groups that hold the rarer outcome, which may be very few. It is
# averaged with this correlation, which counts as one more group. With no error at all nothing else is known.
PRIOR_CORRELATION = 0.5

# Bootstrap values closer together than this differ by rounding only.
ROUNDING = 1e-9


def group_numbers(groups, count: int) -> numpy.ndarray:
    """Return the number of each image's group, int [count] from 0; `groups` None: every image is its own."""
    if groups is None:
        return numpy.arange(count)
    return numpy.unique(numpy.asarray(groups), return_inverse=True)[1].reshape(-1)


def wilson_interval(share: float, size: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided Wilson interval of a share of `size` independent images; `size` need not be whole."""
    from scipy import special

    square = float(special.ndtri((1 + confidence) / 2)) ** 2
    centre = (share + square / (2 * size)) / (1 + square / size)
    half = (square * (share * (1 - share) / size + square / (4 * size * size))) ** 0.5 / (1 + square / size)
    # Rounding must not leave the share outside.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def proportion_interval(hits, groups=None, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return the interval of the share of hits, or None if it is unknown.

    Args:
      hits: bool [N].
      groups: [N] names of the groups; None: every image is its own, which makes it Wilson's interval.
      confidence: of the two-sided interval.
    Returns:
      (low, high); None for no image, and for several images of a single group.
    """
    size = effective_size(hits, groups, confidence)
    return None if size is None else wilson_interval(float(numpy.mean(hits)), size, confidence)


def paired_difference(differences, groups=None, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return Tango's score interval of a difference of paired proportions, Statistics in Medicine 17 (1998).

    Args:
      differences: int [N], of each image 1, 0 or -1: an error more, no other answer, an error less.
      groups: [N] names of originals or patients, as in `proportion`, whose effective size is used; None: every image is
        its own.
      confidence: of the two-sided interval; its upper end is the limit of a one-sided test of non-inferiority.
    Returns:
      (low, high), or None as in `proportion`.
    """
    from scipy import special

    differences = numpy.asarray(differences, int)
    size = effective_size(differences, groups, confidence)
    if size is None:
        return None
    quantile = float(special.ndtri((1 + confidence) / 2))
    more, less = (float((differences == sign).mean()) * size for sign in (1, -1))
    return -_tango(less, more, size, quantile), _tango(more, less, size, quantile)


def _tango(more, less, size, quantile):
    """The upper limit; `more` and `less` of `size` images have an error more and less."""
    from scipy import optimize

    def excess(difference):
        # `fewer` is the likeliest share of images with an error less, if that were the difference.
        slope = (2 * size - more + less) * difference - more - less
        root = (slope**2 + 8 * size * less * difference * (1 - difference)) ** 0.5
        fewer = (root - slope) / (4 * size)
        variance = max(0.0, size * (2 * fewer + difference * (1 - difference)))
        return more - less - size * difference + quantile * variance**0.5

    value = (more - less) / size
    # At the value itself the score is 0 whatever the limit, if no answer differs.
    start, end = value + 1e-9, 1 - 1e-9
    if start >= end or excess(start) <= 0:
        return value
    return float(optimize.brentq(excess, start, end)) if excess(end) < 0 else 1.0


def effective_size(values, groups=None, confidence: float = CONFIDENCE) -> float | None:
    """Return how many independent images would say as much about the mean of `values`.

    The design effect is that of the linearised variance, with group sizes as they are, and is never below 1. The number
    of groups enters by the quantile of Student's t; of groups of unequal size only as many as equal ones would be.

    Args:
      values: float [N], one for each image.
      groups: [N] names of the groups; None: every image is its own.
      confidence: of the interval it is for.
    Returns:
      float, N for groups of one image; None for no image, and for several images of a single group.
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
    # Of one image of a group, how many images its group has on average.
    size = float((sizes**2).sum() / count)
    correlation = _correlation(values, members, len(sizes), size)
    # Groups that hold the rarer outcome carry the estimate.
    distinct, frequency = numpy.unique(values, return_counts=True)
    usual = values == distinct[frequency.argmax()]
    telling = min(len(numpy.unique(members[usual])), len(numpy.unique(members[~usual])))
    correlation = (telling * correlation + PRIOR_CORRELATION) / (telling + 1)
    quantile = (1 + confidence) / 2
    freedom = max(1.0, count / size - 1)
    few = (special.stdtrit(freedom, quantile) / special.stdtrit(count - 1, quantile)) ** 2
    return count / float((1 + (size - 1) * correlation) * few)


def _correlation(values, members, groups, size):
    """Correlation within groups, from 0 to 1, from the ratio of the variance by group to that by image."""
    rest = values - values.mean()
    alone = (rest**2).sum() * len(values) / (len(values) - 1)
    if not alone:
        return 0.0
    together = (numpy.bincount(members, rest) ** 2).sum() * groups / (groups - 1)
    return float(numpy.clip((together / alone - 1) / (size - 1), 0, 1))


def bootstrap_group_indices(
    groups, count: int, seed: int, draws: int = N_BOOTSTRAP
) -> collections.abc.Iterator[numpy.ndarray]:
    """Yield how often each image is drawn, int [count], when as many groups as there are are drawn with replacement.

    Nothing is yielded for a single group.
    """
    members = group_numbers(groups, count)
    number = int(members.max(initial=-1)) + 1
    generator = numpy.random.default_rng(seed)
    for _ in range(draws if number > 1 else 0):
        yield numpy.bincount(generator.integers(number, size=number), minlength=number)[members]


def bootstrap_interval(values, groups: int, draws: int = N_BOOTSTRAP) -> tuple[tuple[float, float] | None, str | None]:
    """Return a bootstrap interval, or None and why there is none.

    Few groups make percentiles too narrow; they are taken further out by Student's t (the expanded percentile interval
    of Hesterberg, The American Statistician 69 (2015)).

    Args:
      values: of the metric, one for each bootstrap sample in which it is defined.
      groups: how many were drawn for each sample.
      draws: how many samples were drawn.
    Returns:
      ((low, high), None), or (None, reason) if the metric is undefined in most samples or the same in all.
    """
    from scipy import special

    if groups < 2 or len(values) < draws / 2:
        return None, "too few originals for an interval"
    # All samples alike means that no error was seen, not that the metric is known exactly.
    if max(values) - min(values) < ROUNDING:
        return None, "too few errors for an interval"
    spread = (groups / (groups - 1)) ** 0.5 * special.stdtrit(groups - 1, (1 + CONFIDENCE) / 2)
    tail = float(special.ndtr(-spread))
    low, high = numpy.quantile(values, [tail, 1 - tail])
    return (float(low), float(high)), None


def roc_auc(labels, scores, weights=None):
    """Return the area under the ROC curve; ties count half.

    Args:
      labels: bool [N], both classes among those with a weight.
      scores: float [N].
      weights: [N], how often each image counts; None: once.
    """
    positive, negative = score_counts(labels, scores, weights)
    return roc_auc_of_scores(positive, negative)


def roc_auc_of_scores(positive, negative):
    """Return the area under the ROC curve of counts: numbers of images of either class by score, the highest first."""
    wrong = numpy.cumsum(negative)
    # How often an image of the class outranks one of another; a tie counts half.
    return float((positive * (wrong[-1] - wrong + negative / 2)).sum() / (positive.sum() * wrong[-1]))


def score_order(scores):
    """(Order of the scores, the highest first; where a run of equal ones begins in it)."""
    scores = numpy.asarray(scores, float)
    order = numpy.argsort(-scores, kind="stable")
    return order, numpy.flatnonzero(numpy.diff(scores[order], prepend=numpy.inf))


def score_counts(labels, scores, weights=None, order=None):
    """Numbers of images of the positive and of the other class with each score, the highest first; see `_order`."""
    labels = numpy.asarray(labels, bool)
    order, starts = order or score_order(scores)
    weights = numpy.ones(len(labels), int) if weights is None else weights
    if not len(starts):
        return numpy.zeros(0), numpy.zeros(0)
    return tuple(numpy.add.reduceat((weights * each)[order], starts) for each in (labels, ~labels))


def smallest_class_groups(labels, groups) -> int:
    """Return the number of groups of the class that has the fewest; 0 without labels.

    Args:
      labels: [N].
      groups: [N] names.
    """
    by_class: dict = {}
    for label, group in zip(labels, groups, strict=True):
        by_class.setdefault(label, set()).add(group)
    return min(map(len, by_class.values()), default=0)


def stratified_group_folds(labels, groups, count: int, seed: int) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
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
