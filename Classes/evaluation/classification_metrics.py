"""Metrics of a detector on labelled images, with 95 % intervals, and a reason if a metric is undefined."""

import numpy

from Classes.common import statistics
from Classes.dataset import grouping
from Classes.inference import prediction

METRIC_NAMES = {
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
FOLD_METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")

# On what images the metrics of an operating point were measured: "basis" in metrics.json.
BASES = {
    "held_out": "Held out: neither a temperature nor a threshold was chosen on these images.",
    "cross_fitted": (
        "Cross-fitted: each image is judged with the temperature, threshold and uncertainty band that images of other "
        "originals or patients choose."
    ),
    "in_sample": (
        "In-sample: temperature, threshold and uncertainty band were chosen on these very images, which have too few "
        "originals or patients for cross-fitting; the metrics are optimistic."
    ),
}

# What else was chosen on them, which no cross-fitting undoes: "selected" in metrics.json.
SELECTED = {
    "epoch": (
        "The number of epochs was chosen on these images (Patience), so every metric is optimistic; python3 "
        "Validation.py Folds measures without that choice."
    ),
    "int8": (
        "The int8 form was accepted by its predictions for these images, so its metrics may be optimistic; "
        "--set Precision=f32 measures without that choice."
    ),
}

ONE_CLASS = "both classes are needed"


def evaluate_predictions(labels, scores, detections, groups=None, seed=50, prevalence=0):
    """Return counts and metrics of a set of images.

    Args:
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      detections: bool [N], the verdicts.
      groups: [N] names of the originals or patients the images come from; None: every image is its own.
      seed: of the resampling.
      prevalence: share of the positive class where the model is used, for predictive values there; 0: not stated.
    Returns:
      dict for JSON: images, groups, counts {true_positives, ...}, and for each of NAMES (those at a prevalence only
      if one is stated) {"value", "interval" [low, high], "of" [k, n] for proportions, "note"}; an undefined value or
      interval is None and `note` says why. Intervals are those of Intervals: Wilson with the effective sample size for
      proportions; what the limits of sensitivity and specificity allow for predictive values at a prevalence; the
      bootstrap over groups for the rest.
    """
    labels, detections = numpy.asarray(labels, bool), numpy.asarray(detections, bool)
    scores = numpy.asarray(scores, float)
    members = statistics.group_numbers(groups, len(labels))
    figures = confusion_metrics(labels, detections, members)
    if prevalence:
        figures |= _at_prevalence(figures["sensitivity"], figures["specificity"], prevalence)
    figures |= _percentile_interval(labels, scores, detections, members, seed)
    counted = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    return {
        "images": len(labels),
        "groups": len(set(members.tolist())),
        "counts": dict(zip(counted, _counts(labels, detections), strict=True)),
        **{name: figures[name] for name in METRIC_NAMES if name in figures},
    }


def evaluate_by_patient(labels, scores, groups, threshold, seed=50, prevalence=0):
    """Return the metrics over patients instead of images: a patient's score is the mean over the images.

    Args:
      labels, scores, groups, seed, prevalence: as for `evaluate`, for images; patients are groups named "patient …".
      threshold: score from which a patient is called ALL; or one for each image, the same for those of a patient.
    Returns:
      what `evaluate` returns, "images" being patients, with "mixed", the number of patients left out because they have
      images of both classes; None where no group is a patient.
    """
    rows = {}
    thresholds = numpy.broadcast_to(threshold, len(labels))
    for label, score, limit, group in zip(labels, scores, thresholds, groups, strict=True):
        if str(group).startswith(grouping.PATIENT):
            rows.setdefault(group, []).append((bool(label), score, limit))
    if not rows:
        return None
    pure = [images for images in rows.values() if len({image[0] for image in images}) == 1]
    truths = [images[0][0] for images in pure]
    means = numpy.array([numpy.mean([image[1] for image in images]) for images in pure])
    detections = prediction.apply_threshold(means, [images[0][2] for images in pure])
    return {**evaluate_predictions(truths, means, detections, None, seed, prevalence), "mixed": len(rows) - len(pure)}


def confusion_metrics(labels, detections, groups=None):
    """Return those metrics of `evaluate` that are proportions; its arguments, labels and detections as arrays."""
    groups = statistics.group_numbers(groups, len(labels))

    def among(which, hits, otherwise):
        return proportion_metric(hits[which], groups[which], otherwise)

    right = labels == detections
    return {
        "accuracy": proportion_metric(right, groups, "there is no image"),
        "sensitivity": among(labels, right, "there is no image of the positive class"),
        "specificity": among(~labels, right, "there is no image of another class"),
        "precision": among(detections, right, "no image was called ALL"),
        "negative_predictive_value": among(~detections, right, "no image was called not ALL"),
    }


def selective_metrics(labels, detections, uncertain, groups=None):
    """Return how many predictions are uncertain, and how good the others are.

    Args:
      labels, detections, groups: as for `evaluate`.
      uncertain: bool [N].
    Returns:
      {"uncertain": share of all, "accuracy_of_rest": share of the others that is right}, proportions with intervals.
    """
    labels, detections, uncertain = (numpy.asarray(each, bool) for each in (labels, detections, uncertain))
    groups, rest = statistics.group_numbers(groups, len(labels)), ~uncertain
    return {
        "uncertain": proportion_metric(uncertain, groups, "there is no image"),
        "accuracy_of_rest": proportion_metric((labels == detections)[rest], groups[rest], "every verdict is uncertain"),
    }


def proportion_metric(hits, groups, otherwise):
    """Return the share of hits with its interval, or None and `otherwise` as the note if there is no image.

    Args:
      hits: bool [N].
      groups: [N] names of the groups; None: every image is its own.
      otherwise: text.
    """
    if not len(hits):
        return _metric(None, note=otherwise)
    interval = statistics.proportion_interval(hits, groups)
    note = None if interval else "one original or patient has no interval"
    return _metric(float(numpy.mean(hits)), interval, note, [int(numpy.sum(hits)), len(hits)])


def format_table(figures, what="images"):
    """Return the metrics as lines of text for a terminal.

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
    lines += [
        "{:18}{:>8}   {:17} {}".format(name, *format_metric(figure)).rstrip() for name, figure in iter_metrics(figures)
    ]
    if figures["groups"] < figures["images"]:
        lines += ["", "The intervals allow for the likeness of images of one original or patient."]
    return lines


def describe_basis(figures):
    """Return sentences that say what was chosen on the images that were measured.

    Args:
      figures: what metrics.json holds.
    """
    known = [BASES[figures["basis"]]] if figures.get("basis") else []
    return known + [SELECTED[name] for name in figures.get("selected", ())]


def iter_metrics(figures):
    """(name for people, figure) of those NAMES that were measured."""
    return [(name, figures[key]) for key, name in METRIC_NAMES.items() if key in figures]


def format_metric(figure):
    """A figure as three texts: value, interval, and what else there is to say."""
    value = "-" if figure["value"] is None else f"{figure['value']:.4f}"
    interval = "{:.4f} to {:.4f}".format(*figure["interval"]) if figure["interval"] else "-"
    counted = "{} of {}".format(*figure["of"]) if figure["of"] else ""
    return value, interval, "; ".join(part for part in (counted, figure["note"]) if part)


def _metric(value, interval=None, note=None, of=None):
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
        missing = _metric(None, note=ONE_CLASS)
        return {"ppv_at_prevalence": missing, "npv_at_prevalence": missing}

    def predictive(right, wrong, share):
        return right * share / (right * share + wrong * (1 - share)) if right or wrong else None

    # Both grow with sensitivity and specificity, so that the two lower limits give the lower one; at least 95 %.
    points = [(sensitivity["value"], specificity["value"])]
    if sensitivity["interval"] and specificity["interval"]:
        points += zip(sensitivity["interval"], specificity["interval"], strict=True)
    values = {
        "ppv_at_prevalence": [predictive(found, 1 - spared, prevalence) for found, spared in points],
        "npv_at_prevalence": [predictive(spared, 1 - found, 1 - prevalence) for found, spared in points],
    }
    missing = _metric(None, note="there is no such verdict")
    return {
        name: missing if value is None else _metric(value, ends or None, note)
        for name, (value, *ends) in values.items()
    }


def _percentile_interval(labels, scores, detections, members, seed):
    """The metrics whose interval is a bootstrap, by name."""
    values = _metrics(labels, detections, *statistics.score_counts(labels, scores))
    draws, groups = {name: [] for name in _UNDEFINED}, len(set(members.tolist()))
    order = statistics.score_order(scores)
    for weights in statistics.bootstrap_group_indices(members, len(labels), seed):
        for name, value in _metrics(
            labels, detections, *statistics.score_counts(labels, scores, weights, order), weights
        ).items():
            draws[name].append(value)
    found = {name: _metric(None, note=why) for name, why in _UNDEFINED.items()}
    for name, value in values.items():
        found[name] = _metric(value, *statistics.bootstrap_interval(draws[name], groups))
    return found


_UNDEFINED = {
    "balanced_accuracy": ONE_CLASS,
    "f1": "no image is of the positive class or called ALL",
    "mcc": "both classes and both verdicts are needed",
    "roc_auc": ONE_CLASS,
    "pr_auc": ONE_CLASS,
}


def _metrics(labels, detections, positive, negative, weights=None):
    """Those of _UNDEFINED that are defined for images that count `weights` times; the ranking is `_ranked`'s."""
    tp, fp, tn, fn = _counts(labels, detections, weights)
    values = {}
    if tp + fn and tn + fp:
        values["balanced_accuracy"] = (tp / (tp + fn) + tn / (tn + fp)) / 2
        if tp + fp and tn + fn:
            values["mcc"] = (tp * tn - fp * fn) / ((tp + fn) * (tn + fp)) ** 0.5 / ((tp + fp) * (tn + fn)) ** 0.5
        values["roc_auc"] = statistics.roc_auc_of_counts(positive, negative)
        found = numpy.cumsum(positive)
        # A threshold above all that was drawn calls nothing, and finds nothing.
        precision = found / numpy.maximum(found + numpy.cumsum(negative), 1)
        values["pr_auc"] = float((positive * precision).sum() / found[-1])
    if tp + fp + fn:
        values["f1"] = 2 * tp / (2 * tp + fp + fn)
    return values
