"""Compute the metrics of predictions of one of several classes, each with a 95 % interval.

Proportions (precision, recall, accuracy) have Wilson's interval with the effective sample size; everything else has the
percentiles of a bootstrap over source images or patients, see Classes.common.statistics. A metric that is undefined,
such as the recall of a class without images, is None and has a note; means leave it out.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from Classes.common import statistics, translation
from Classes.common.class_scheme import ClassScheme
from Classes.common.translation import Message
from Classes.evaluation import calibration
from Classes.evaluation.classification_metrics import Metric, make_metric, note_message, proportion_metric

# The metrics of a class, in the order in which they are shown.
CLASS_METRICS = {
    "precision": Message("Precision"),
    "recall": Message("Recall"),
    "f1": Message("F1"),
    "roc_auc": Message("ROC AUC"),
}

# The metrics of all classes together, in the order in which they are shown. Macro means weigh each class the same,
# weighted means by its images.
OVERALL_METRICS = {
    "accuracy": Message("Accuracy"),
    "macro_f1": Message("Macro-F1"),
    "macro_precision": Message("Macro precision"),
    "macro_recall": Message("Macro recall (balanced accuracy)"),
    "macro_roc_auc": Message("Macro ROC AUC (one class against the rest)"),
    "weighted_f1": Message("Weighted F1"),
    "weighted_precision": Message("Weighted precision"),
    "weighted_recall": Message("Weighted recall"),
    "weighted_roc_auc": Message("Weighted ROC AUC"),
    "kappa": Message("Cohen's kappa"),
}

_NO_IMAGES = translation.mark("no images of this class")
_UNDEFINED = {
    "precision": translation.mark("this class is never predicted"),
    "recall": _NO_IMAGES,
    "f1": translation.mark("no images and no predictions of this class"),
    "roc_auc": translation.mark("needs images of this class and of others"),
}
_PARTIAL = {
    "precision": translation.mark("mean of {count} classes; the others are never predicted"),
    "recall": translation.mark("mean of {count} classes; the others have no images"),
    "f1": translation.mark("mean of {count} classes; the others have no images and no predictions"),
    "roc_auc": translation.mark("mean of {count} classes; the others have no images"),
}


def evaluate_scheme(
    scheme: ClassScheme,
    labels: Sequence[int],
    probabilities: numpy.ndarray,
    groups: Sequence[str] | None,
    seed: int = 50,
    predicted: Any = None,
    uncalibrated: numpy.ndarray | None = None,
) -> dict[str, Any] | None:
    """Return "multiclass" of metrics.json: the metrics of the classes, and of the coarse groups.

    Args:
      scheme: classes and groups.
      labels, probabilities, groups, seed, predicted, uncalibrated: as for `evaluate_multiclass`, of the classes.
    Returns:
      result of `evaluate_multiclass` with "groups": the same of the coarse groups, whose probabilities add up, or None
      without groups. None for two classes without groups, of which one means disease.
    """
    if not has_classes(scheme):
        return None
    coarse = len(scheme.group_names) < len(scheme.names)
    names = scheme.names
    found = evaluate_multiclass(labels, probabilities, names, groups, seed, predicted, uncalibrated)
    found["groups"] = None
    if coarse:
        of = numpy.array([scheme.group_names.index(scheme.group_of(name)) for name in names])
        found["groups"] = evaluate_multiclass(
            of[numpy.asarray(labels, int)],
            scheme.group_probabilities(probabilities),
            scheme.group_names,
            groups,
            seed,
            None if predicted is None else of[numpy.asarray(predicted, int)],
            None if uncalibrated is None else scheme.group_probabilities(uncalibrated),
        )
    return found


def has_classes(scheme: ClassScheme) -> bool:
    """Return whether there is more to measure than disease or not: several classes, or groups of them."""
    return scheme.several or len(scheme.group_names) < len(scheme.names)


def predicted_classes(scheme: ClassScheme, probabilities: numpy.ndarray, detected: Any) -> numpy.ndarray:
    """Return the class that a prediction names, int [N]: the most likely one on the predicted side.

    Args:
      scheme: classes and groups.
      probabilities: float [N, classes].
      detected: bool [N], whether the disease is detected; ignored if no class means disease.
    """
    sides: list[Any] = [scheme.negative_indices, scheme.positive_indices] if scheme.positive else [None, None]
    rows = zip(probabilities, numpy.asarray(detected, bool), strict=True)
    return numpy.array([scheme.most_likely(row, sides[int(side)]) for row, side in rows], int)


def evaluate_multiclass(
    labels: Any,
    probabilities: numpy.ndarray,
    names: Sequence[str],
    groups: Sequence[str] | None,
    seed: int = 50,
    predicted: Any = None,
    uncalibrated: numpy.ndarray | None = None,
) -> dict[str, Any]:
    """Return the metrics of predictions of one of several classes, with 95 % intervals.

    Args:
      labels: int [N] columns of the true classes.
      probabilities: float [N, classes].
      names: of the classes.
      groups: [N] names of source images or patients; None: each image is its own group.
      seed: of the bootstrap.
      predicted: int [N] columns of the predicted classes; None: the most likely ones.
      uncalibrated: float [N, classes], the probabilities without the temperature, if there is one.
    Returns:
      dict for JSON: "images", "source_images", a `Metric` for each of OVERALL_METRICS, "ece", "calibration" ({"after"
      and "before": `calibration.reliability_bins` of the predicted class, "before" may be None}), "confusion" (counts
      [true][predicted]) and "classes" ({name: {"support", a `Metric` for each of CLASS_METRICS}}).
    """
    truths, count = numpy.asarray(labels, int), len(names)
    probabilities = numpy.asarray(probabilities, float).reshape(len(truths), count)
    called = probabilities.argmax(1) if predicted is None else numpy.asarray(predicted, int)
    members = statistics.group_numbers(groups, len(truths))
    confusion = numpy.bincount(truths * count + called, minlength=count * count).reshape(count, count)
    after = calibration.reliability_bins(probabilities, truths, members, called)
    before = None if uncalibrated is None else calibration.reliability_bins(uncalibrated, truths, members, called)
    bootstrapped = _bootstrap_metrics(truths, called, probabilities, members, confusion, seed)
    correct = truths == called
    classes = {}
    for number, name in enumerate(names):
        rest = {key: metrics[number] for key, metrics in bootstrapped["classes"].items()}
        classes[name] = {**_class_proportions(truths == number, called == number, members), **rest}
    return {
        "images": len(truths),
        "source_images": len(set(members.tolist())),
        "accuracy": proportion_metric(correct, members, translation.mark("no images")),
        **bootstrapped["overall"],
        "ece": after["ece"],
        "calibration": {"after": after, "before": before},
        "confusion": confusion.tolist(),
        "classes": classes,
    }


def _class_proportions(true: numpy.ndarray, chosen: numpy.ndarray, members: numpy.ndarray) -> dict[str, Any]:
    """Return support, precision and recall of a class; `true` and `chosen` say which images are of it, bool [N]."""
    return {
        "support": int(true.sum()),
        "precision": proportion_metric(true[chosen], members[chosen], _UNDEFINED["precision"]),
        "recall": proportion_metric(chosen[true], members[true], _UNDEFINED["recall"]),
    }


def _bootstrap_metrics(
    truths: numpy.ndarray,
    called: numpy.ndarray,
    probabilities: numpy.ndarray,
    members: numpy.ndarray,
    confusion: numpy.ndarray,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return {"classes": {metric: [a Metric per class]}, "overall": {metric: Metric}} of all but the proportions."""
    count, number = len(confusion), len(set(members.tolist()))
    everything = numpy.ones((1, len(truths)), int)
    orders = [statistics.score_order(column) for column in probabilities.T]
    cells = truths * count + called

    def measure(weights: numpy.ndarray) -> dict[str, numpy.ndarray]:
        """Return the metrics of samples, {metric: [samples, …]}; `weights` says how often each has an image."""
        counts = numpy.array([numpy.bincount(cells, row, count * count) for row in weights])
        areas = [
            statistics.roc_auc_of_samples(truths == label, weights, order)
            if len(truths)
            else numpy.full(len(weights), numpy.nan)
            for label, order in enumerate(orders)
        ]
        return _point_estimates(counts.reshape(-1, count, count), numpy.stack(areas, 1))

    values = measure(everything)
    draws = [measure(weights) for weights in statistics.bootstrap_group_weights(members, len(truths), seed)]
    samples = {key: numpy.concatenate([each[key] for each in draws]) if draws else None for key in values}

    def metric(key: str, column: int | None, note: str) -> Metric:
        """Return a metric with its interval: of a class, or of all classes if `column` is None."""
        place: Any = 0 if column is None else (0, column)
        if numpy.isnan(values[key][place]):
            return make_metric(None, note=note)
        drawn = samples[key]
        drawn = numpy.zeros(0) if drawn is None else drawn if column is None else drawn[:, column]
        interval, missing = statistics.bootstrap_interval(drawn[~numpy.isnan(drawn)].tolist(), number)
        return make_metric(float(values[key][place]), interval, missing)

    classes = {key: [metric(key, label, _UNDEFINED[key]) for label in range(count)] for key in ("f1", "roc_auc")}
    overall = {}
    for key in OVERALL_METRICS:
        if key == "accuracy":
            continue
        overall[key] = metric(key, None, translation.mark("needs images of at least two classes"))
        kind = key.removeprefix("macro_").removeprefix("weighted_")
        if kind != "kappa":
            _note_undefined(overall[key], kind, values[kind][0])
    return {"classes": classes, "overall": overall}


def _note_undefined(mean: Metric, kind: str, of_classes: numpy.ndarray) -> None:
    """Add to the note of a mean over the classes if the metric of some classes is undefined."""
    defined = int((~numpy.isnan(of_classes)).sum())
    if mean["value"] is not None and 0 < defined < len(of_classes):
        partial = Message(_PARTIAL[kind], count=defined)
        mean["note"] = translation.join("; ", [partial, note_message(mean["note"])]) if mean["note"] else partial


def _point_estimates(confusion: numpy.ndarray, areas: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """Return the metrics of samples: per class float [samples, classes], of all classes float [samples].

    Args:
      confusion: counts [samples, true, predicted].
      areas: float [samples, classes].
    """
    hits = numpy.diagonal(confusion, axis1=1, axis2=2)
    support, called = confusion.sum(2), confusion.sum(1)
    values = {
        "precision": _divide(hits, called),
        "recall": _divide(hits, support),
        "f1": _divide(2 * hits, support + called),
        "roc_auc": areas,
    }
    for key in ("precision", "recall", "f1", "roc_auc"):
        values[f"macro_{key}"] = _mean(values[key], numpy.ones(support.shape))
        values[f"weighted_{key}"] = _mean(values[key], support)
    total = confusion.sum((1, 2))
    chance = _divide((support * called).sum(1), total**2)
    # Agreement beyond chance (Cohen 1960); undefined if chance alone agrees always.
    values["kappa"] = _divide(_divide(hits.sum(1), total) - chance, 1 - chance)
    return values


def _divide(numerator: numpy.ndarray, denominator: numpy.ndarray) -> numpy.ndarray:
    """Return the quotient, NaN where the denominator is 0."""
    known = denominator > 0
    return numpy.where(known, numerator / numpy.where(known, denominator, 1), numpy.nan)


def _mean(values: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
    """Return the weighted mean over the last axis of the values that are not NaN."""
    weights = numpy.where(numpy.isnan(values), 0, weights)
    return _divide((numpy.nan_to_num(values) * weights).sum(-1), weights.sum(-1))
