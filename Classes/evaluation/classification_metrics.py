"""Compute the metrics of a detector on labeled images, with 95 % intervals, and format them for people."""

import collections.abc
import typing
from typing import Any

import numpy

from Classes.common import statistics, terminal, translation
from Classes.common.conditions import Condition
from Classes.common.translation import Message
from Classes.dataset import grouping
from Classes.inference import prediction

METRIC_NAMES = {
    "accuracy": Message("Accuracy"),
    "balanced_accuracy": Message("Balanced accuracy"),
    "sensitivity": Message("Sensitivity"),
    "specificity": Message("Specificity"),
    "precision": Message("Precision (PPV)"),
    "negative_predictive_value": Message("NPV"),
    "ppv_at_prevalence": Message("PPV at prevalence"),
    "npv_at_prevalence": Message("NPV at prevalence"),
    "f1": Message("F1"),
    "mcc": Message("MCC"),
    "roc_auc": Message("ROC AUC"),
    "pr_auc": Message("PR AUC"),
}

# Metrics shown for each fold of a cross-validation.
FOLD_METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")
FOLD_NAMES = {**{key: METRIC_NAMES[key] for key in FOLD_METRICS}, "macro_f1": Message("Macro-F1")}

# How the images of a measurement relate to the choice of the operating point: "basis" in metrics.json.
BASES = {
    "held_out": Message("Held out: neither temperature nor threshold was chosen on these images."),
    "cross_fitted": Message(
        "Cross-fitted: the temperature, threshold and uncertainty band for each image were chosen on images of other "
        "source images or patients."
    ),
    "in_sample": Message(
        "In-sample: temperature, threshold and uncertainty band were chosen on these same images, which come from too "
        "few source images or patients for cross-fitting. The metrics are optimistic."
    ),
}

# Other choices made on these images, which cross-fitting does not undo: "selected" in metrics.json.
SELECTED = {
    "epoch": Message(
        "The number of epochs was chosen on these images (Patience), so every metric is optimistic. python3 "
        "Validation.py Folds measures without that choice."
    ),
    "int8": Message(
        "The int8 model was accepted for its predictions on these images, so its metrics may be optimistic. "
        "--set Precision=f32 measures without that choice."
    ),
}

_COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")

ONE_CLASS = translation.mark("needs images of both classes")

# Metrics with a bootstrap interval, each with the note if it is undefined.
_UNDEFINED = {
    "balanced_accuracy": ONE_CLASS,
    "f1": translation.mark("no image is positive or predicted positive"),
    "mcc": translation.mark("needs images and predictions of both classes"),
    "roc_auc": ONE_CLASS,
    "pr_auc": ONE_CLASS,
}


class Metric(typing.TypedDict):
    """A metric as in metrics.json.

    Attributes:
      value: None if it is undefined.
      interval: [low, high], 95 %; None if it is unknown.
      of: [numerator, denominator] of a proportion, else None.
      note: why value or interval is None, or what it depends on.
    """

    value: float | None
    interval: list[float] | None
    of: list[int] | None
    note: str | None


def evaluate_predictions(
    labels: Any, scores: Any, detections: Any, groups: Any = None, seed: int = 50, prevalence: float = 0
) -> dict[str, Any]:
    """Return counts and metrics of a set of images.

    Args:
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      detections: bool [N], whether the prediction is the positive class.
      groups: [N] names of source images or patients; None: each image is its own group.
      seed: of the bootstrap.
      prevalence: fraction of the positive class in the intended population, for predictive values there; 0: unknown.
    Returns:
      dict for JSON: images, groups, counts {true_positives, ...} and a `Metric` for each of METRIC_NAMES (those at a
      prevalence only if it is given). Intervals: for proportions Wilson's with the effective sample size; for
      predictive values at a prevalence from the limits of sensitivity and specificity; else a bootstrap over groups.
    """
    labels, detections = numpy.asarray(labels, bool), numpy.asarray(detections, bool)
    scores = numpy.asarray(scores, float)
    members = statistics.group_numbers(groups, len(labels))
    metrics: dict[str, Metric] = confusion_metrics(labels, detections, members)
    if prevalence:
        metrics |= _predictive_values(metrics["sensitivity"], metrics["specificity"], prevalence)
    metrics |= _bootstrap_metrics(labels, scores, detections, members, seed)
    return {
        "images": len(labels),
        "groups": len(set(members.tolist())),
        "counts": dict(zip(_COUNTS, _confusion_counts(labels, detections), strict=True)),
        **{name: metrics[name] for name in METRIC_NAMES if name in metrics},
    }


def evaluate_by_patient(
    labels: Any,
    scores: Any,
    groups: collections.abc.Sequence[str],
    threshold: Any,
    seed: int = 50,
    prevalence: float = 0,
) -> dict[str, Any] | None:
    """Return the metrics per patient; the score of a patient is the mean score of the images.

    Args:
      labels, scores, seed, prevalence: as for `evaluate_predictions`.
      groups: [N]; patients are groups named "patient ...".
      threshold: a patient is positive if the score is at least this; a number, or [N] with one value per patient.
    Returns:
      as `evaluate_predictions`, where "images" counts patients, and "mixed": the number of patients that were left out
      because they have images of both classes. None if no group is a patient.
    """
    by_patient: dict[str, list[tuple[bool, float, float]]] = {}
    thresholds = numpy.broadcast_to(threshold, len(labels))
    for label, score, limit, group in zip(labels, scores, thresholds, groups, strict=True):
        if str(group).startswith(grouping.PATIENT):
            by_patient.setdefault(group, []).append((bool(label), score, limit))
    if not by_patient:
        return None
    pure = [images for images in by_patient.values() if len({label for label, _, _ in images}) == 1]
    truths = [images[0][0] for images in pure]
    means = numpy.array([numpy.mean([score for _, score, _ in images]) for images in pure])
    detections = prediction.apply_threshold(means, [images[0][2] for images in pure])
    metrics = evaluate_predictions(truths, means, detections, None, seed, prevalence)
    return {**metrics, "mixed": len(by_patient) - len(pure)}


def confusion_metrics(labels: numpy.ndarray, detections: numpy.ndarray, groups: Any = None) -> dict[str, Metric]:
    """Return the metrics of `evaluate_predictions` that are proportions; labels and detections are arrays."""
    groups = statistics.group_numbers(groups, len(labels))
    correct = labels == detections

    def among(selected: numpy.ndarray, note: str) -> Metric:
        return proportion_metric(correct[selected], groups[selected], note)

    return {
        "accuracy": proportion_metric(correct, groups, translation.mark("no images")),
        "sensitivity": among(labels, "no images of the positive class"),
        "specificity": among(~labels, "no images of another class"),
        "precision": among(detections, "no image is predicted positive"),
        "negative_predictive_value": among(~detections, "no image is predicted negative"),
    }


def selective_metrics(labels: Any, detections: Any, uncertain: Any, groups: Any = None) -> dict[str, Metric]:
    """Return the fraction of uncertain predictions and the accuracy of the others.

    Args:
      labels, detections, groups: as for `evaluate_predictions`.
      uncertain: bool [N].
    Returns:
      {"uncertain", "accuracy_of_rest"}, proportions with intervals.
    """
    labels, detections, uncertain = (numpy.asarray(each, bool) for each in (labels, detections, uncertain))
    groups, rest = statistics.group_numbers(groups, len(labels)), ~uncertain
    accuracy = proportion_metric(
        (labels == detections)[rest], groups[rest], translation.mark("every prediction is uncertain")
    )
    return {"uncertain": proportion_metric(uncertain, groups, "no images"), "accuracy_of_rest": accuracy}


def proportion_metric(hits: numpy.ndarray, groups: Any, note: str) -> Metric:
    """Return the proportion of hits, bool [N], with its interval; without images, the value is None with this note."""
    if not len(hits):
        return make_metric(None, note=note)
    interval = statistics.proportion_interval(hits, groups)
    missing = None if interval else translation.mark("a single source image or patient has no interval")
    return make_metric(float(numpy.mean(hits)), interval, missing, [int(numpy.sum(hits)), len(hits)])


def format_table(metrics: dict[str, Any], condition: Condition, unit: str = "images") -> list[str]:
    """Return counts and metrics as lines of text for a terminal.

    Args:
      metrics: from `evaluate_predictions`.
      condition: what is detected.
      unit: what was counted.
    """
    counts = metrics["counts"]
    title = Message("{count} patients", count=metrics["images"])
    if unit == "images":
        title = Message(
            "{count} images of {groups} source images or patients", count=metrics["images"], groups=metrics["groups"]
        )
    heads: list[tuple[str, ...]] = [("", Message("value"), Message("95 % interval"), "")]
    rows = [tuple(map(terminal.shown, row)) for row in [*heads, *metric_rows(metrics)]]
    yes = terminal.shown(Message("predicted {condition}", condition=condition.name))
    no = terminal.shown(Message("predicted not {condition}", condition=condition.name))
    positive = terminal.shown(condition.name)
    negative = terminal.shown(Message("not {condition}", condition=condition.name))
    width = max(18, len(negative) + 1, *(len(row[0]) + 1 for row in rows))
    left, right = max(14, len(yes) + 1), max(19, len(no) + 2)
    lines = [
        terminal.shown(title),
        "",
        f"{'':{width}}{yes:>{left}}{no:>{right}}",
        f"{positive:{width}}{counts['true_positives']:>{left}}{counts['false_negatives']:>{right}}",
        f"{negative:{width}}{counts['false_positives']:>{left}}{counts['true_negatives']:>{right}}",
        "",
    ]
    lines += [f"{name:{width}}{value:>8}   {interval:17} {details}".rstrip() for name, value, interval, details in rows]
    if metrics["groups"] < metrics["images"]:
        lines += ["", Message("The intervals account for similar images of one source image or patient.")]
    return lines


def describe_basis(metrics: dict[str, Any]) -> list[str]:
    """Return sentences about the choices that were made on the measured images; `metrics` is as in metrics.json."""
    basis: list[str] = [BASES[metrics["basis"]]] if metrics.get("basis") else []
    return basis + [SELECTED[name] for name in metrics.get("selected", ())]


def metric_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the rows of a table for people: (name, value, interval, details) of each metric in METRIC_NAMES order."""
    return [(name, *format_metric(metrics[key])) for key, name in METRIC_NAMES.items() if key in metrics]


def fold_head(folds: dict[str, Any]) -> tuple[str, ...]:
    """Return the head of `fold_rows`."""
    return (Message("fold"), *(name for key, name in FOLD_NAMES.items() if key in folds["mean"]))


def fold_rows(folds: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of a table for people: (name, value of each metric) per fold, and mean and spread.

    Args:
      folds: as in folds.json; "mean" says which metrics there are.
    """
    keys = [key for key in FOLD_NAMES if key in folds["mean"]]
    values = {str(number): {key: fold[key]["value"] for key in keys} for number, fold in enumerate(folds["folds"], 1)}
    values |= {Message("mean"): folds["mean"], Message("spread"): folds["spread"]}
    return [(name, *(format_value(each[key]) for key in keys)) for name, each in values.items()]


def format_metric(metric: Metric) -> tuple[str, str, str]:
    """Return value, interval and details of a metric as text."""
    interval: str = "-"
    if metric["interval"]:
        low, high = metric["interval"]
        interval = Message("{low:.4f} to {high:.4f}", low=low, high=high)
    details = []
    if metric["of"]:
        details.append(Message("{count} of {total}", count=metric["of"][0], total=metric["of"][1]))
    if metric["note"]:
        details.append(note_message(metric["note"]))
    return format_value(metric["value"]), interval, translation.join("; ", details)


def note_message(note: str) -> Message:
    """Return the note of a metric as a Message; one that was read from a file has lost its values."""
    return note if isinstance(note, Message) else Message(note)


def format_value(value: float | None) -> str:
    """Return a metric's value with four decimals, or a dash if it is undefined."""
    return "-" if value is None else f"{value:.4f}"


def make_metric(
    value: float | None,
    interval: collections.abc.Sequence[float | None] | None = None,
    note: str | None = None,
    of: list[int] | None = None,
) -> Metric:
    """Return a metric as in metrics.json."""
    ends = None if interval is None else [float(typing.cast(float, end)) for end in interval]
    return {"value": value, "interval": ends, "of": of, "note": note}


def _confusion_counts(
    labels: numpy.ndarray, detections: numpy.ndarray, weights: numpy.ndarray | None = None
) -> list[int]:
    """Return the counts in the order of _COUNTS; each image counts `weights` times, or once."""
    weights = numpy.ones(len(labels), int) if weights is None else weights
    cells = labels & detections, ~labels & detections, ~labels & ~detections, labels & ~detections
    return [int(weights[cell].sum()) for cell in cells]


def _predictive_values(sensitivity: Metric, specificity: Metric, prevalence: float) -> dict[str, Metric]:
    """Return the predictive values at a prevalence other than that of the images, by Bayes' rule."""
    names = ("ppv_at_prevalence", "npv_at_prevalence")
    if sensitivity["value"] is None or specificity["value"] is None:
        return {name: make_metric(None, note=ONE_CLASS) for name in names}

    def predictive_value(correct: float, wrong: float, fraction: float) -> float | None:
        return correct * fraction / (correct * fraction + wrong * (1 - fraction)) if correct or wrong else None

    # Both values increase with sensitivity and specificity, so the lower limits of those give the lower limits of
    # these, with a confidence of at least 95 %.
    points = [(sensitivity["value"], specificity["value"])]
    if sensitivity["interval"] and specificity["interval"]:
        points += zip(sensitivity["interval"], specificity["interval"], strict=True)
    positive = [predictive_value(detected, 1 - rejected, prevalence) for detected, rejected in points]
    negative = [predictive_value(rejected, 1 - detected, 1 - prevalence) for detected, rejected in points]
    missing = make_metric(None, note=translation.mark("no such prediction"))
    note = f"if {prevalence:g} of all are positive"
    return {
        name: missing if value is None else make_metric(value, ends or None, note)
        for name, (value, *ends) in zip(names, (positive, negative), strict=True)
    }


def _bootstrap_metrics(
    labels: numpy.ndarray, scores: numpy.ndarray, detections: numpy.ndarray, members: numpy.ndarray, seed: int
) -> dict[str, Metric]:
    """Return the metrics of _UNDEFINED with bootstrap intervals."""
    values = _point_estimates(labels, detections, *statistics.score_counts(labels, scores))
    groups, order = len(set(members.tolist())), statistics.score_order(scores)
    draws: dict[str, list[float]] = {name: [] for name in _UNDEFINED}
    for weights in statistics.bootstrap_group_indices(members, len(labels), seed):
        counts = statistics.score_counts(labels, scores, weights, order)
        for name, value in _point_estimates(labels, detections, *counts, weights).items():
            draws[name].append(value)
    metrics = {name: make_metric(None, note=note) for name, note in _UNDEFINED.items()}
    for name, value in values.items():
        metrics[name] = make_metric(value, *statistics.bootstrap_interval(draws[name], groups))
    return metrics


def _point_estimates(
    labels: numpy.ndarray,
    detections: numpy.ndarray,
    positive: numpy.ndarray,
    negative: numpy.ndarray,
    weights: numpy.ndarray | None = None,
) -> dict[str, float]:
    """Return the metrics of _UNDEFINED that are defined for images that count `weights` times.

    `positive` and `negative` are from `statistics.score_counts`.
    """
    tp, fp, tn, fn = _confusion_counts(labels, detections, weights)
    values = {}
    if tp + fn and tn + fp:
        values["balanced_accuracy"] = (tp / (tp + fn) + tn / (tn + fp)) / 2
        if tp + fp and tn + fn:
            values["mcc"] = (tp * tn - fp * fn) / ((tp + fn) * (tn + fp)) ** 0.5 / ((tp + fp) * (tn + fn)) ** 0.5
        values["roc_auc"] = statistics.roc_auc_of_counts(positive, negative)
        detected = numpy.cumsum(positive)
        # Above the highest score of a sample, nothing is detected.
        precision = detected / numpy.maximum(detected + numpy.cumsum(negative), 1)
        values["pr_auc"] = float((positive * precision).sum() / detected[-1])
    if tp + fp + fn:
        values["f1"] = 2 * tp / (2 * tp + fp + fn)
    return values
