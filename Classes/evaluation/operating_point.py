"""Temperature scaling, decision threshold and uncertainty band, fitted on validation images and cross-fitted.

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599. The uncertain band is the
grey zone of Coste and Pouchot, International Journal of Epidemiology 32 (2003).
"""

import bisect
import logging
import typing

import numpy

from Classes.common import statistics
from Classes.evaluation import classification_metrics
from Classes.inference import prediction

# Images of each class; with fewer, chance would choose temperature and threshold.
MIN_PER_CLASS = 10

# Parts of the validation images, each judged with what the other parts chose.
N_FOLDS = 5
N_BINS = 10

# Probability from which a verdict is ALL where nothing asks for another, the historic argmax of two classes.
DEFAULT_THRESHOLD = 0.5

# Of a share that is a fraction of images.
ROUNDING = 1e-9

# A temperature e times too small or large costs as much as one nat of evidence: where all images are right, nothing
# else would keep it from 0.
PRIOR_DEVIATION = 1.0

log = logging.getLogger("Trainer")


class OperatingPoint(typing.NamedTuple):
    """What validation images choose.

    Attributes:
      temperature: the logits are divided by it.
      threshold: probability of the positive class from which the verdict is ALL.
      uncertain: (low, high): from low to below high a verdict is uncertain; None: none is.
    """

    temperature: float = 1.0
    threshold: float = DEFAULT_THRESHOLD
    uncertain: tuple | None = None


class SelectionRules(typing.NamedTuple):
    """What an operating point has to keep to; configuration keys.

    Attributes:
      target: `TargetSensitivity`.
      share: `UncertainShare`.
      specificity: `MinimumSpecificity`.
      limit: `UncertainLimit`.
      confidence: `TargetConfidence`.
    """

    target: float = 0.95
    share: float = 0.02
    specificity: float = 0.9
    limit: float = 0.2
    confidence: float = 0.8


class JudgedPredictions(typing.NamedTuple):
    """Predictions for images by a choice that other images made.

    Attributes:
      probabilities: float [N, classes].
      thresholds: float [N], the one each image was judged with.
      detected, uncertain: bool [N].
    """

    probabilities: numpy.ndarray
    thresholds: numpy.ndarray
    detected: numpy.ndarray
    uncertain: numpy.ndarray


def selection_rules(configuration):
    """Return the Rules of a configuration."""
    keys = ("TargetSensitivity", "UncertainShare", "MinimumSpecificity", "UncertainLimit", "TargetConfidence")
    return SelectionRules(*(configuration[key] for key in keys))


def calibrate(configuration, manifest, logits):
    """Fit temperature, threshold and uncertainty band, and measure them.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest.
      logits: function without arguments that returns float [N, classes] of the validation images, in the manifest's
        order: logits, or what differs from them by a constant an image, such as log-probabilities.
    Returns:
      (Choice, dict for the card: "images", "note" and, if there were enough images, "rules", "seed", "warnings" (see
      `shortcomings`), "ece_before", "ece_after", "cross_entropy_before", "cross_entropy_after", "target_sensitivity",
      "same_images", measured on the images that chose, and "cross_fitted", on images that did not).
    """
    items = manifest.splits["validation"]
    labels = numpy.array([item["label"] for item in items], int)
    groups = [item["group"] for item in items]
    about = {"images": len(items), "note": too_few_images(manifest)}
    if about["note"]:
        log.warning("Neither temperature nor threshold were fitted: %s.", about["note"])
        return OperatingPoint(), about
    positive, seed = manifest.classes.index(configuration["PositiveClass"]), configuration["RandomSeed"]
    keep = selection_rules(configuration)
    logits = numpy.asarray(logits(), float)
    choice = fit_operating_point(logits, labels, positive, *keep, groups=groups)
    before, after = softmax_at_temperature(logits), softmax_at_temperature(logits, choice.temperature)
    about |= {"rules": keep._asdict(), "seed": seed}
    about["warnings"] = selection_warnings(choice, after[:, positive], labels == positive, keep, groups)
    about |= {f"{name}_before": value for name, value in _calibration_error(before, labels).items()}
    about |= {f"{name}_after": value for name, value in _calibration_error(after, labels).items()}
    same = judge_predictions(choice, logits, positive)
    other = cross_fit(logits, labels, groups, positive, keep, seed)
    about |= {"target_sensitivity": keep.target, "same_images": _measured(same, labels, groups, positive)}
    about["cross_fitted"] = other and _measured(other, labels, groups, positive)
    _log_choice(choice, about)
    return choice, about


def cross_fit(logits, labels, groups, positive, rules, seed):
    """Judge each image with what images of other groups choose.

    Args:
      logits: float [N, classes].
      labels: int [N].
      groups: [N] names.
      positive: the label that means ALL.
      rules: Rules.
      seed: of the parts.
    Returns:
      Judged; None if a class has too few groups.
    """
    logits, labels = numpy.asarray(logits, float), numpy.asarray(labels, int)
    parts = _group_folds(labels, groups, seed) if len(labels) else []
    if not parts:
        return None
    found = JudgedPredictions(numpy.empty(logits.shape), numpy.empty(len(labels)), *numpy.zeros((2, len(labels)), bool))
    for others, rows in parts:
        choice = fit_operating_point(
            logits[others], labels[others], positive, *rules, groups=[groups[row] for row in others]
        )
        for whole, part in zip(found, judge_predictions(choice, logits[rows], positive), strict=True):
            whole[rows] = part
    return found


def judge_predictions(choice, logits, positive):
    """Return what a Choice makes of logits, as Judged."""
    probabilities = softmax_at_temperature(logits, choice.temperature)
    scores, threshold = probabilities[:, positive], choice.threshold
    detected = prediction.apply_threshold(scores, threshold)
    thresholds = numpy.full(len(scores), threshold)
    return JudgedPredictions(probabilities, thresholds, detected, prediction.in_band(scores, choice.uncertain))


def too_few_images(manifest):
    """Why the validation images are too few to choose anything, or None."""
    labels = [item["label"] for item in manifest.splits["validation"]]
    fewest = min(labels.count(label) for label in range(len(manifest.classes)))
    if fewest >= MIN_PER_CLASS:
        return None
    return f"{fewest} validation images of the rarest class where {MIN_PER_CLASS} are needed"


def fit_operating_point(
    logits, labels, positive, target, share, specificity=0.9, limit=0.2, confidence=0.8, groups=None
):
    """Return the temperature, threshold and uncertainty band of a set of images.

    Args:
      logits: float [N, classes].
      labels: int [N].
      positive: the label that means ALL.
      target, share, specificity, limit, confidence: see Rules.
      groups: [N] names of originals or patients; None: every image is its own.
    Returns:
      Choice.
    """
    temperature = round(fit_temperature(logits, labels), 4)
    scores, truths = softmax_at_temperature(logits, temperature)[:, positive], labels == positive
    threshold = threshold_at_sensitivity(scores, truths, target, specificity, confidence, groups)
    return OperatingPoint(temperature, threshold, bounded_uncertainty_band(scores, truths, threshold, share, limit))


def fit_temperature(logits, labels):
    """The temperature under which the labels are likeliest; see PRIOR_DEVIATION."""
    from scipy import optimize

    rows = numpy.arange(len(labels))

    def cost(exponent):
        return -_log_softmax(logits / numpy.exp(exponent))[rows, labels].sum() + (exponent / PRIOR_DEVIATION) ** 2 / 2

    return float(numpy.exp(optimize.minimize_scalar(cost, bounds=(-4, 4), method="bounded").x))


def threshold_at_sensitivity(scores, truths, target, specificity=0.0, confidence=0.5, groups=None):
    """Return the threshold that reaches a target sensitivity: one half, or as far below as it must and may be.

    The one-sided lower confidence limit of the sensitivity has to reach it. If even all images of the class found
    would not lift that to the target, there are too few of them, and the sensitivity itself counts. A threshold that
    costs too much specificity is not taken; of those that are left it is the highest that finds as many.

    Args:
      scores: float [N], probability of the positive class.
      truths: bool [N], at least one of them true.
      target: sensitivity to reach.
      specificity: what must be left of it; below that no threshold is lowered any further.
      confidence: of the lower limit; 0.5 makes it the sensitivity itself.
      groups: [N] names of originals or patients; None: every image is its own.
    Returns:
      float, at most one half: higher ones would call images not ALL that are more likely ALL.
    """
    groups = statistics.group_numbers(groups, len(scores))
    mine = groups[truths]
    enough = max_provable_sensitivity(mine, target, confidence)
    best, most = DEFAULT_THRESHOLD, int(prediction.apply_threshold(scores[truths], DEFAULT_THRESHOLD).sum())
    lower = numpy.unique(scores[truths & (scores < DEFAULT_THRESHOLD)])[::-1]
    for threshold in (DEFAULT_THRESHOLD, *(_just_below(score, scores) for score in lower)):
        spared = ~prediction.apply_threshold(scores[~truths], threshold)
        if threshold < DEFAULT_THRESHOLD and len(spared) and spared.mean() < specificity:
            break
        found = prediction.apply_threshold(scores[truths], threshold)
        if found.sum() > most:
            best, most = threshold, int(found.sum())
        if found.mean() >= target - ROUNDING and (
            not enough or lower_confidence_limit(found, mine, confidence) >= target
        ):
            break
    return float(best)


def lower_confidence_limit(hits, groups, confidence):
    """Return the one-sided lower confidence limit of a share; 0 if it is unknown."""
    interval = statistics.proportion_interval(hits, groups, 2 * confidence - 1)
    return interval[0] if interval else 0.0


def max_provable_sensitivity(groups, target, confidence):
    """Whether images of these groups, all found, would have a lower limit of the sensitivity at the target."""
    return 0 < target < 1 and lower_confidence_limit(numpy.ones(len(groups), bool), groups, confidence) >= target


def selection_warnings(choice, scores, truths, rules, groups=None):
    """Return what a choice could not reach.

    Args:
      choice: Choice.
      scores, truths, groups: as for `reaching`, under the choice's temperature; both classes.
      rules: Rules.
    Returns:
      list of {"code", "text"}, empty if all is well; the codes are sensitivity_not_reached, too_few_positives,
      specificity_below_minimum and band_narrowed.
    """
    found = prediction.apply_threshold(scores, choice.threshold)
    groups = statistics.group_numbers(groups, len(scores))[truths]
    texts = {
        **_missed(choice, found[truths], groups, rules),
        **_alarms(choice, 1 - found[~truths].mean(), rules),
        **_narrowed(choice, scores, truths, rules),
    }
    return [{"code": code, "text": text} for code, text in texts.items()]


def _missed(choice, found, groups, rules):
    """{code: text} if the sensitivity falls short."""
    sensitivity, least = found.mean(), lower_confidence_limit(found, groups, rules.confidence)
    told = f"{sensitivity:.3f} at a threshold of {choice.threshold:.3f}, its lower limit {least:.3f}"
    if sensitivity < rules.target - ROUNDING or (
        max_provable_sensitivity(groups, rules.target, rules.confidence) > (least >= rules.target)
    ):
        text = (
            f"TargetSensitivity={rules.target:g} cannot be reached with MinimumSpecificity={rules.specificity:g}: the "
            f"sensitivity is {told}. Check the labels of the ALL images it misses, or change one of the two keys."
        )
        return {"sensitivity_not_reached": text}
    if rules.target and least < rules.target:
        text = (
            f"{len(found)} ALL images of {len(numpy.unique(groups))} originals or patients are too few to show a "
            f"sensitivity of {rules.target:g}: it is {told}. Add validation images of ALL."
        )
        return {"too_few_positives": text}
    return {}


def _alarms(choice, specificity, rules):
    """{code: text} if the specificity falls short, which no lower threshold did."""
    if specificity >= rules.specificity - ROUNDING:
        return {}
    text = (
        f"The specificity is {specificity:.3f} at a threshold of {choice.threshold:.3f}, below "
        f"MinimumSpecificity={rules.specificity:g}. Check the labels, or train longer or on more images."
    )
    return {"specificity_below_minimum": text}


def _narrowed(choice, scores, truths, rules):
    """{code: text} if the band would have held too many images."""
    wanted = uncertainty_band(scores, truths, choice.threshold, rules.share)
    if wanted is None or wanted == choice.uncertain:
        return {}
    before, after = (prediction.in_band(scores, each) for each in (wanted, choice.uncertain))
    wrong = (prediction.apply_threshold(scores, choice.threshold) != truths) & ~after
    text = (
        f"UncertainShare={rules.share:g} would make {before.mean():.0%} of the predictions uncertain, so the band was "
        f"narrowed to {after.mean():.0%} (UncertainLimit={rules.limit:g}). Beyond it {wrong[truths].mean():.1%} of ALL "
        f"and {wrong[~truths].mean():.1%} of the other images are wrong."
    )
    return {"band_narrowed": text}


def bounded_uncertainty_band(scores, truths, threshold, share, limit):
    """Return the band of the smallest share, from `share` up, that makes at most `limit` of the images uncertain.

    Args:
      scores, truths, threshold, share: as for `band`.
      limit: `UncertainLimit`.
    """
    counts = (int(truths.sum()), int((~truths).sum()))
    steps = numpy.unique(numpy.concatenate([numpy.arange(1, count + 1) / count for count in counts]))
    shares = [share, *steps[steps > share].tolist()]

    def narrow(share):
        return prediction.in_band(scores, uncertainty_band(scores, truths, threshold, share)).mean() <= limit + ROUNDING

    # A larger share never makes the band wider, so the first that fits is found by halving.
    place = min(bisect.bisect_left(shares, True, key=narrow), len(shares) - 1)
    found = uncertainty_band(scores, truths, threshold, shares[place])
    # If the classes overlap so much that only no band at all would fit, it holds what is nearest to the threshold.
    return found if found or not place else _around(scores, threshold, limit)


def _around(scores, threshold, limit):
    """The widest band with the threshold in its middle that holds at most `limit` of the images, or None."""
    distances = numpy.sort(numpy.abs(scores - threshold))
    count = int(limit * len(scores) + ROUNDING)
    gaps = numpy.flatnonzero(distances[1 : count + 1] > distances[:count])
    if not len(gaps):
        return None
    reach = float(distances[gaps[-1]] + distances[gaps[-1] + 1]) / 2
    return max(0.0, threshold - reach), min(1.0, threshold + reach)


def uncertainty_band(scores, truths, threshold, share):
    """Where a verdict is uncertain: beyond it lies at most a share of either class on the wrong side.

    Args:
      scores, truths: as for `reaching`, both classes among them.
      threshold: the band reaches it, so that there is nothing uncertain among what is certain.
      share: `UncertainShare`.
    Returns:
      (low, high), or None where the classes lie apart.
    """
    positive, negative = numpy.sort(scores[truths]), numpy.sort(scores[~truths])[::-1]
    spared, called = int(share * len(positive) + 1e-9), int(share * len(negative) + 1e-9)
    if spared >= len(positive) or called >= len(negative):
        return None
    # The same seen from above, where a score of just above one is no harm.
    low, high = _just_below(positive[spared], scores), 1 - _just_below(1 - negative[called], 1 - scores)
    return (min(low, threshold), max(high, threshold)) if low < high else None


def _just_below(score, scores):
    """Half-way to the next lower score, so that arithmetic of another device moves no image across."""
    lower = scores[scores < score]
    return float((score + (lower.max() if len(lower) else 0.0)) / 2)


def softmax_at_temperature(logits, temperature=1.0):
    """Probabilities of logits, or of log-probabilities, under a temperature: float [N, classes]."""
    return numpy.exp(_log_softmax(numpy.asarray(logits, float) / temperature))


def log_probabilities(probabilities):
    """Log-probabilities, which are logits but for a constant an image; float [N, classes]."""
    return numpy.log(numpy.maximum(numpy.asarray(probabilities, float), numpy.finfo("float32").tiny))


def fold_temperature(arrays, layer, temperature):
    """A network's values with the temperature within its last layer.

    Args:
      arrays: {variable name: array}.
      layer: name of the last layer.
      temperature: float.
    Returns:
      {variable name: array}.
    """
    names = (f"{layer}/weights", f"{layer}/biases")
    return {**arrays, **{name: (arrays[name] / temperature).astype("float32") for name in names}}


def reliability_bins(probabilities, labels, groups=None):
    """How often images of each confidence are right.

    Args:
      probabilities: float [N, classes].
      labels: int [N].
      groups: [N] names of originals or patients; None: every image is its own.
    Returns:
      {"ece": expected calibration error, "chance": what it would be on average were every confidence true, for so few
      images are never spread evenly, "bins": [{"confidence": mean, "accuracy", "interval", "images"}]} over
      BINS bins of equal width that hold images; both errors are None for no images.
    """
    probabilities, labels = numpy.asarray(probabilities, float), numpy.asarray(labels, int)
    if not len(labels):
        return {"ece": None, "chance": None, "bins": []}
    confidences, right = probabilities.max(1), probabilities.argmax(1) == labels
    numbers = numpy.minimum((confidences * N_BINS).astype(int), N_BINS - 1)

    def error(right):
        gaps = numpy.bincount(numbers, right - confidences, N_BINS)
        return float(numpy.abs(gaps).sum() / len(labels))

    members, generator = statistics.group_numbers(groups, len(labels)), numpy.random.default_rng(0)
    chance = [error(generator.random(len(labels)) < confidences) for _ in range(statistics.N_BOOTSTRAP)]
    bins = []
    for number in numpy.unique(numbers):
        mine = numbers == number
        share = classification_metrics.proportion_metric(right[mine], members[mine], "")
        found = {"accuracy": share["value"], "interval": share["interval"], "images": int(mine.sum())}
        bins.append({"confidence": float(confidences[mine].mean()), **found})
    return {"ece": error(right), "chance": float(numpy.mean(chance)), "bins": bins}


def _log_softmax(values):
    from scipy import special

    return special.log_softmax(values, axis=1)


def _calibration_error(probabilities, labels):
    likelihoods = probabilities[numpy.arange(len(labels)), labels]
    entropy = float(-numpy.log(numpy.maximum(likelihoods, numpy.finfo("float32").tiny)).mean())
    return {"ece": reliability_bins(probabilities, labels)["ece"], "cross_entropy": entropy}


def _measured(found, labels, groups, positive):
    """The metrics of a Judged, for the card."""
    truths = labels == positive
    figures = classification_metrics.confusion_metrics(truths, found.detected, groups)
    return {
        **_calibration_error(found.probabilities, labels),
        **{name: figures[name] for name in ("accuracy", "sensitivity", "specificity")},
        **classification_metrics.selective_metrics(truths, found.detected, found.uncertain, groups),
    }


def _group_folds(labels, groups, seed):
    """[(rows of the other parts, rows of a part)], no group in two of them; [] where groups are too few for that."""
    count = min(N_FOLDS, statistics.smallest_class_groups(labels, groups))
    parts = statistics.stratified_group_folds(labels, groups, count, seed) if count > 1 else []
    return parts if all(set(labels[others]) == set(labels) for others, _ in parts) else []


def _log_choice(choice, about):
    log.info(
        "Temperature %g from %d validation images: expected calibration error %.4f before, %.4f after.",
        choice.temperature,
        about["images"],
        about["ece_before"],
        about["ece_after"],
    )
    limits = "from {:.3f} to {:.3f}".format(*choice.uncertain) if choice.uncertain else "nowhere"
    log.info("ALL from a probability of %.3f, uncertain %s.", choice.threshold, limits)
    for each in about["warnings"]:
        log.warning("%s", each["text"])
    if about["cross_fitted"]:
        honest = about["cross_fitted"]
        log.info(
            "The same images chose these; where others choose, sensitivity is %.4f, specificity %.4f, expected "
            "calibration error %.4f, and %.1f %% are uncertain.",
            honest["sensitivity"]["value"],
            honest["specificity"]["value"],
            honest["ece"],
            100 * honest["uncertain"]["value"],
        )
