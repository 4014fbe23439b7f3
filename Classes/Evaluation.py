"""Figures for a detector on labelled images, with 95 % intervals, and a word where a figure has no meaning."""

import numpy

from Classes import Groups

# Resampled sets of originals behind an interval; more change its ends by less than a hundredth.
DRAWS = 1000
CONFIDENCE = 0.95

NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision (PPV)",
    "negative_predictive_value": "NPV",
    "ppv_at_prevalence": "PPV at prevalence",
    "npv_at_prevalence": "NPV at prevalence",
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
}

# What is shown of each fold of a cross-validation.
OF_A_FOLD = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")

ONE_CLASS = "both classes are needed"


def evaluate(labels, scores, detections, groups=None, seed=50, prevalence=0):
    """Counts and figures of a set of images.

    Args:
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      detections: bool [N], the verdicts.
      groups: [N] names of the originals or patients the images come from; None: every image is its own.
      seed: of the resampling.
      prevalence: share of the positive class where the model is used, for predictive values there; 0: not stated.
    Returns:
      dict for JSON: images, groups, counts {true_positives, ...}, and for each of NAMES (those at a prevalence only
      where one is stated) {"value", "interval" [low, high], "of" [k, n] for proportions, "note"}; what has no meaning
      is None and `note` says why. Intervals: Wilson for proportions, which takes images as independent; what the
      Wilson limits of sensitivity and specificity allow at most for predictive values at a prevalence; for the rest
      the percentiles of sets resampled by original or patient.
    """
    labels, detections = numpy.asarray(labels, bool), numpy.asarray(detections, bool)
    scores = numpy.asarray(scores, float)
    names, members = numpy.unique(numpy.asarray(range(len(labels)) if groups is None else groups), return_inverse=True)
    counts = _counts(labels, detections)
    figures = shares(labels, detections)
    if prevalence:
        figures |= _at_prevalence(figures["sensitivity"], figures["specificity"], prevalence)
    draws = _resample(labels, scores, detections, len(names), members, seed)
    for name, value in _points(labels, scores, detections).items():
        figures[name] = _figure(None, note=value) if isinstance(value, str) else _resampled(value, draws[name])
    counted = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    return {
        "images": len(labels),
        "groups": len(names),
        "counts": dict(zip(counted, counts, strict=True)),
        **{name: figures[name] for name in NAMES if name in figures},
    }


def by_patient(labels, scores, groups, threshold, seed=50, prevalence=0):
    """The figures over patients instead of images: a patient's score is the mean over the images.

    Args:
      labels, scores, groups, seed, prevalence: as for `evaluate`, for images; patients are groups named "patient …".
      threshold: score from which a patient is called ALL.
    Returns:
      what `evaluate` returns, "images" being patients, with "mixed", the number of patients left out because they have
      images of both classes; None where no group is a patient.
    """
    rows = {}
    for label, score, group in zip(labels, scores, groups, strict=True):
        if str(group).startswith(Groups.PATIENT):
            rows.setdefault(group, []).append((bool(label), score))
    if not rows:
        return None
    pure = [images for images in rows.values() if len({label for label, _ in images}) == 1]
    truths = [images[0][0] for images in pure]
    means = numpy.array([numpy.mean([score for _, score in images]) for images in pure])
    detections = means.astype("float32") >= numpy.float32(threshold)
    return {**evaluate(truths, means, detections, None, seed, prevalence), "mixed": len(rows) - len(pure)}


def shares(labels, detections):
    """Those figures of `evaluate` that are shares; its arguments as arrays."""
    tp, fp, tn, fn = _counts(labels, detections)
    return {
        "accuracy": proportion(tp + tn, len(labels), "there is no image"),
        "sensitivity": proportion(tp, tp + fn, "there is no image of the positive class"),
        "specificity": proportion(tn, tn + fp, "there is no image of another class"),
        "precision": proportion(tp, tp + fp, "no image was called ALL"),
        "negative_predictive_value": proportion(tn, tn + fn, "no image was called not ALL"),
    }


def certain(labels, detections, uncertain):
    """How many verdicts are uncertain, and how good the others are.

    Args:
      labels, detections: as for `evaluate`.
      uncertain: bool [N].
    Returns:
      {"uncertain": share of all, "accuracy_of_rest": share of the others that is right}, figures with Wilson intervals.
    """
    labels, detections, uncertain = (numpy.asarray(each, bool) for each in (labels, detections, uncertain))
    rest = ~uncertain
    return {
        "uncertain": proportion(int(uncertain.sum()), len(labels), "there is no image"),
        "accuracy_of_rest": proportion(
            int((labels == detections)[rest].sum()), int(rest.sum()), "every verdict is uncertain"
        ),
    }


def proportion(successes, total, otherwise):
    """A share with its Wilson interval, or None and `otherwise` as the note where `total` is 0."""
    if total == 0:
        return _figure(None, note=otherwise)
    from scipy import stats

    interval = stats.binomtest(successes, total).proportion_ci(CONFIDENCE, method="wilson")
    return _figure(successes / total, interval, of=[successes, total])


def table(figures, what="images"):
    """The figures as lines of text for a terminal.

    Args:
      figures: from `evaluate`.
      what: the name of what was counted.
    """
    counts = figures["counts"]
    lines = [
        f"{figures['images']} {what}" + (f" of {figures['groups']} originals or patients" * (what == "images")),
        "",
        f"{'':18}{'called ALL':>14}{'called not ALL':>16}",
        f"{'ALL':18}{counts['true_positives']:>14}{counts['false_negatives']:>16}",
        f"{'not ALL':18}{counts['false_positives']:>14}{counts['true_negatives']:>16}",
        "",
        f"{'':18}{'value':>8}   {'95 % interval':17}",
    ]
    lines += ["{:18}{:>8}   {:17} {}".format(name, *words(figure)).rstrip() for name, figure in named(figures)]
    if figures["groups"] < figures["images"]:
        lines += ["", "Images of one original are alike: the intervals of shares (… of …) are narrower than the truth."]
    return lines


def named(figures):
    """(name for people, figure) of those NAMES that were measured."""
    return [(name, figures[key]) for key, name in NAMES.items() if key in figures]


def words(figure):
    """A figure as three texts: value, interval, and what else there is to say."""
    value = "-" if figure["value"] is None else f"{figure['value']:.4f}"
    interval = "{:.4f} to {:.4f}".format(*figure["interval"]) if figure["interval"] else "-"
    return value, interval, "{} of {}".format(*figure["of"]) if figure["of"] else figure["note"] or ""


def _figure(value, interval=None, of=None, note=None):
    ends = None if interval is None else [float(interval[0]), float(interval[1])]
    return {"value": value, "interval": ends, "of": of, "note": note}


def _counts(labels, detections, weights=None):
    """True positives, false positives, true negatives, false negatives; each image counts `weights` times."""
    weights = numpy.ones(len(labels), int) if weights is None else weights
    cells = labels & detections, ~labels & detections, ~labels & ~detections, labels & ~detections
    return [int(weights[cell].sum()) for cell in cells]


def _at_prevalence(sensitivity, specificity, prevalence):
    """Predictive values by Bayes' rule, for a share of the positive class other than that of the images."""
    note = f"where {prevalence:g} of all are ALL"
    if sensitivity["value"] is None or specificity["value"] is None:
        missing = _figure(None, note=ONE_CLASS)
        return {"ppv_at_prevalence": missing, "npv_at_prevalence": missing}

    def predictive(right, wrong, share):
        return right * share / (right * share + wrong * (1 - share)) if right or wrong else None

    # Both grow with sensitivity and specificity, so that the two lower limits give the lower one; at least 95 %.
    points = [
        (sensitivity["value"], specificity["value"]),
        *zip(sensitivity["interval"], specificity["interval"], strict=True),
    ]
    values = {
        "ppv_at_prevalence": [predictive(found, 1 - spared, prevalence) for found, spared in points],
        "npv_at_prevalence": [predictive(spared, 1 - found, 1 - prevalence) for found, spared in points],
    }
    return {
        name: _figure(value, ends, note=note) if value is not None else _figure(None, note="there is no such verdict")
        for name, (value, *ends) in values.items()
    }


def _points(labels, scores, detections):
    """Value, or the reason why there is none, of every figure whose interval is resampled."""
    from sklearn import metrics

    both = labels.any() and not labels.all()
    positive = labels.any() or detections.any()
    told = both and detections.any() and not detections.all()
    return {
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, detections) if both else ONE_CLASS,
        "f1": metrics.f1_score(labels, detections) if positive else "no image is of the positive class or called ALL",
        "mcc": metrics.matthews_corrcoef(labels, detections) if told else "both classes and both verdicts are needed",
        "roc_auc": metrics.roc_auc_score(labels, scores) if both else ONE_CLASS,
        "pr_auc": metrics.average_precision_score(labels, scores) if both else ONE_CLASS,
    }


def _resample(labels, scores, detections, groups, members, seed):
    """The figures of `_points` for DRAWS sets of as many originals, drawn with replacement.

    Args:
      members: int [N], the number of the original of each image, below `groups`.
    Returns:
      {name: list of values}, without the sets in which the figure has no meaning.
    """
    found = {name: [] for name in ("balanced_accuracy", "f1", "mcc", "roc_auc", "pr_auc")}
    order = numpy.argsort(-scores, kind="stable")
    # Where a run of equal scores begins, in that order.
    starts = numpy.flatnonzero(numpy.diff(scores[order], prepend=numpy.inf))
    generator = numpy.random.default_rng(seed)
    for _ in range(DRAWS if groups > 1 else 0):
        weights = numpy.bincount(generator.integers(groups, size=groups), minlength=groups)[members]
        values = _verdict_figures(*_counts(labels, detections, weights))
        positive = numpy.add.reduceat((weights * labels)[order], starts)
        negative = numpy.add.reduceat((weights * ~labels)[order], starts)
        if positive.any() and negative.any():
            values |= _ranking_figures(positive, negative)
        for name, value in values.items():
            found[name].append(value)
    return found


def _verdict_figures(tp, fp, tn, fn):
    values = {}
    if tp + fn and tn + fp:
        values["balanced_accuracy"] = (tp / (tp + fn) + tn / (tn + fp)) / 2
        if tp + fp and tn + fn:
            values["mcc"] = (tp * tn - fp * fn) / ((tp + fn) * (tn + fp)) ** 0.5 / ((tp + fp) * (tn + fn)) ** 0.5
    if tp + fp + fn:
        values["f1"] = 2 * tp / (2 * tp + fp + fn)
    return values


def _ranking_figures(positive, negative):
    """ROC AUC and average precision.

    Args:
      positive, negative: numbers of images of either class with each score, the highest first.
    """
    found, wrong = numpy.cumsum(positive), numpy.cumsum(negative)
    # How often an image of the class outranks one of another; a tie counts half.
    outranked = wrong[-1] - wrong + negative / 2
    # A threshold above all that was drawn calls nothing, and finds nothing.
    precision = found / numpy.maximum(found + wrong, 1)
    return {
        "roc_auc": (positive * outranked).sum() / (found[-1] * wrong[-1]),
        "pr_auc": (positive * precision).sum() / found[-1],
    }


def _resampled(value, values):
    value = float(value)
    # Sets that hold one class only say nothing; where they are many, so does the rest.
    if len(values) < DRAWS / 2:
        return _figure(value, note="too few originals for an interval")
    if min(values) == max(values):
        return _figure(value, note="too few errors for an interval")
    tail = (1 - CONFIDENCE) / 2
    return _figure(value, numpy.quantile(values, [tail, 1 - tail]))
