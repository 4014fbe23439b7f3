"""Confidences that mean what they say, and from where on a verdict is ALL or uncertain: fitted on validation images.

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599. The uncertain band is the
grey zone of Coste and Pouchot, International Journal of Epidemiology 32 (2003).
"""

import logging
import typing

import numpy

from Classes import Evaluation

# Images of each class; with fewer, chance would choose temperature and threshold.
ENOUGH = 10

# Parts of the validation images, each judged with what the other parts chose.
PARTS = 5
BINS = 10

# Probability from which a verdict is ALL where nothing asks for another, the historic argmax of two classes.
HALF = 0.5

# A temperature e times too small or large costs as much as one nat of evidence: where all images are right, nothing
# else would keep it from 0.
PRIOR_DEVIATION = 1.0

log = logging.getLogger("Trainer")


class Choice(typing.NamedTuple):
    """What validation images choose.

    Attributes:
      temperature: the logits are divided by it.
      threshold: probability of the positive class from which the verdict is ALL.
      uncertain: (low, high): from low to below high a verdict is uncertain; None: none is.
    """

    temperature: float = 1.0
    threshold: float = HALF
    uncertain: tuple | None = None


def calibrate(configuration, manifest, logits):
    """Fit temperature, threshold and uncertain band, and say how well they do.

    Args:
      configuration: Configuration.
      manifest: Shards.Manifest.
      logits: function without arguments that returns float [N, classes] of the validation images, in the manifest's
        order: logits, or what differs from them by a constant an image, such as log-probabilities.
    Returns:
      (Choice, dict for the card: "images", "note" and, where there were enough images, "ece_before", "ece_after",
      "cross_entropy_before", "cross_entropy_after", "target_sensitivity", "same_images" and "cross_fitted").
    """
    items = manifest.splits["validation"]
    labels = numpy.array([item["label"] for item in items], int)
    about = {"images": len(items), "note": lacking(manifest)}
    if about["note"]:
        log.warning("Neither temperature nor threshold were fitted: %s.", about["note"])
        return Choice(), about
    positive = manifest.classes.index(configuration["PositiveClass"])
    target, share = configuration["TargetSensitivity"], configuration["UncertainShare"]
    logits = numpy.asarray(logits(), float)

    def chosen(rows):
        return choose(logits[rows], labels[rows], positive, target, share)

    choice = chosen(slice(None))
    before, after = tempered(logits), tempered(logits, choice.temperature)
    about |= {f"{name}_before": value for name, value in _quality(before, labels).items()}
    about |= {f"{name}_after": value for name, value in _quality(after, labels).items()}
    about |= {"target_sensitivity": target, "same_images": _judged([(choice, after, labels)], positive)}
    parts = _parts(labels, [item["group"] for item in items], configuration["RandomSeed"])
    held = [(chosen(others), rows) for others, rows in parts]
    judged = [(each, tempered(logits[rows], each.temperature), labels[rows]) for each, rows in held]
    about["cross_fitted"] = _judged(judged, positive) if judged else None
    _tell(choice, about)
    return choice, about


def lacking(manifest):
    """Why the validation images are too few to choose anything, or None."""
    labels = [item["label"] for item in manifest.splits["validation"]]
    fewest = min(labels.count(label) for label in range(len(manifest.classes)))
    if fewest >= ENOUGH:
        return None
    return f"{fewest} validation images of the rarest class where {ENOUGH} are needed"


def choose(logits, labels, positive, target, share):
    """Temperature, threshold and uncertain band of a set of images.

    Args:
      logits: float [N, classes].
      labels: int [N].
      positive: the label that means ALL.
      target: `TargetSensitivity`.
      share: `UncertainShare`.
    Returns:
      Choice.
    """
    temperature = round(fit_temperature(logits, labels), 4)
    scores, truths = tempered(logits, temperature)[:, positive], labels == positive
    threshold = reaching(scores, truths, target)
    return Choice(temperature, threshold, band(scores, truths, threshold, share))


def fit_temperature(logits, labels):
    """The temperature under which the labels are likeliest; see PRIOR_DEVIATION."""
    from scipy import optimize

    rows = numpy.arange(len(labels))

    def cost(exponent):
        return -_log_softmax(logits / numpy.exp(exponent))[rows, labels].sum() + (exponent / PRIOR_DEVIATION) ** 2 / 2

    return float(numpy.exp(optimize.minimize_scalar(cost, bounds=(-4, 4), method="bounded").x))


def reaching(scores, truths, target):
    """The threshold that finds enough: one half, or as far below as it must be.

    Args:
      scores: float [N], probability of the positive class.
      truths: bool [N], at least one of them true.
      target: share of the positive class that has to reach the threshold.
    Returns:
      float, at most one half: higher ones would call images not ALL that are more likely ALL.
    """
    found = numpy.sort(scores[truths])[::-1]
    # Not 20 of 20 for 0.95, whose product with 20 is a little above 19.
    needed = int(numpy.ceil(target * len(found) - 1e-9))
    return HALF if needed == 0 else min(HALF, _just_below(found[needed - 1], scores))


def band(scores, truths, threshold, share):
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


def tempered(logits, temperature=1.0):
    """Probabilities of logits, or of log-probabilities, under a temperature: float [N, classes]."""
    return numpy.exp(_log_softmax(numpy.asarray(logits, float) / temperature))


def from_probabilities(probabilities):
    """Log-probabilities, which are logits but for a constant an image; float [N, classes]."""
    return numpy.log(numpy.maximum(numpy.asarray(probabilities, float), numpy.finfo("float32").tiny))


def fold(arrays, layer, temperature):
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


def reliability(probabilities, labels):
    """How often images of each confidence are right.

    Args:
      probabilities: float [N, classes].
      labels: int [N].
    Returns:
      {"ece": expected calibration error, "chance": what it would be on average were every confidence true, for so few
      images are never spread evenly, "bins": [{"confidence": mean, "accuracy", "interval" (Wilson), "images"}]} over
      BINS bins of equal width that hold images; both errors are None for no images.
    """
    probabilities, labels = numpy.asarray(probabilities, float), numpy.asarray(labels, int)
    if not len(labels):
        return {"ece": None, "chance": None, "bins": []}
    confidences, right = probabilities.max(1), probabilities.argmax(1) == labels
    numbers = numpy.minimum((confidences * BINS).astype(int), BINS - 1)

    def error(right):
        gaps = numpy.bincount(numbers, right - confidences, BINS)
        return float(numpy.abs(gaps).sum() / len(labels))

    generator = numpy.random.default_rng(0)
    chance = [error(generator.random(len(labels)) < confidences) for _ in range(Evaluation.DRAWS)]
    bins = []
    for number in numpy.unique(numbers):
        mine = numbers == number
        share = Evaluation.proportion(int(right[mine].sum()), int(mine.sum()), "")
        found = {"accuracy": share["value"], "interval": share["interval"], "images": int(mine.sum())}
        bins.append({"confidence": float(confidences[mine].mean()), **found})
    return {"ece": error(right), "chance": float(numpy.mean(chance)), "bins": bins}


def _log_softmax(values):
    from scipy import special

    return special.log_softmax(values, axis=1)


def _quality(probabilities, labels):
    likelihoods = probabilities[numpy.arange(len(labels)), labels]
    entropy = float(-numpy.log(numpy.maximum(likelihoods, numpy.finfo("float32").tiny)).mean())
    return {"ece": reliability(probabilities, labels)["ece"], "cross_entropy": entropy}


def _judged(parts, positive):
    """What choices are worth on images.

    Args:
      parts: list of (Choice, probabilities [N, classes] under its temperature, labels [N]).
    """
    probabilities = numpy.concatenate([each for _, each, _ in parts])
    labels = numpy.concatenate([each for _, _, each in parts])
    detected = numpy.concatenate([each[:, positive] >= choice.threshold for choice, each, _ in parts])
    uncertain = numpy.concatenate([_within(each[:, positive], choice.uncertain) for choice, each, _ in parts])
    truths = labels == positive
    figures = Evaluation.shares(truths, detected)
    return {
        **_quality(probabilities, labels),
        **{name: figures[name] for name in ("accuracy", "sensitivity", "specificity")},
        **Evaluation.certain(truths, detected, uncertain),
    }


def _within(scores, limits):
    return (scores >= limits[0]) & (scores < limits[1]) if limits else numpy.zeros(len(scores), bool)


def _parts(labels, groups, seed):
    """[(rows of the other parts, rows of a part)], no group in two of them; [] where groups are too few for that."""
    from sklearn import model_selection

    company = [{group for group, each in zip(groups, labels, strict=True) if each == label} for label in set(labels)]
    count = min(PARTS, *map(len, company))
    if count < 2:
        return []
    splitter = model_selection.StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    parts = list(splitter.split(labels, labels, groups))
    return parts if all(set(labels[others]) == set(labels) for others, _ in parts) else []


def _tell(choice, about):
    log.info(
        "Temperature %g from %d validation images: expected calibration error %.4f before, %.4f after.",
        choice.temperature,
        about["images"],
        about["ece_before"],
        about["ece_after"],
    )
    limits = "from {:.3f} to {:.3f}".format(*choice.uncertain) if choice.uncertain else "nowhere"
    log.info("ALL from a probability of %.3f, uncertain %s.", choice.threshold, limits)
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
