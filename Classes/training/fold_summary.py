"""What a cross-validation measures: the metrics of each fold, of all folds pooled, and what color alone reaches."""

from collections.abc import Sequence
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import class_scheme, provenance
from Classes.common.class_scheme import ClassScheme
from Classes.common.config import Configuration
from Classes.dataset import grouping, tfrecords
from Classes.dataset.manifest_rows import ManifestRows
from Classes.evaluation import (
    classification_metrics,
    color_baseline,
    histogram_store,
    multiclass_metrics,
    threshold_selection,
)
from Classes.inference import prediction

# A fold: row numbers of all other folds, and of the fold itself.
Fold = tuple[numpy.ndarray, numpy.ndarray]


def summarize(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    items: ManifestRows,
    folds: Sequence[Fold],
    predictions: Sequence[tuple[numpy.ndarray, numpy.ndarray]],
) -> dict[str, Any]:
    """Return the content of folds.json.

    Args:
      configuration: Configuration.
      manifest: of the data set.
      items: images of the manifest, which the row numbers count.
      folds: the folds.
      predictions: (rows, probabilities) of each fold.
    """
    scheme = class_scheme.from_configuration(configuration, manifest.classes)
    measured = [_measure_fold(configuration, scheme, items, *each) for each in predictions]
    rows, probabilities = (numpy.concatenate(each) for each in zip(*predictions, strict=True))
    labels, groups = [items[row]["label"] for row in rows], [items[row]["group"] for row in rows]
    called = _predicted_classes(scheme, probabilities)
    keys = [key for key in classification_metrics.FOLD_NAMES if key in measured[0]]
    values = {key: [fold[key]["value"] for fold in measured if fold[key]["value"] is not None] for key in keys}
    found = {
        "notice": Helpers.DISCLAIMER,
        "network": configuration["Network"],
        "manifest_sha256": manifest.sha256,
        "synthetic": manifest.synthetic,
        "threshold": threshold_selection.DEFAULT_THRESHOLD,
        "created": provenance.utc_now_iso(),
        "folds": measured,
        "mean": {key: float(numpy.mean(each)) if each else None for key, each in values.items()},
        "spread": {key: float(numpy.std(each, ddof=1)) if len(each) > 1 else None for key, each in values.items()},
    }
    seed = configuration["RandomSeed"]
    multiclass = multiclass_metrics.evaluate_scheme(scheme, labels, probabilities, groups, seed, called)
    found["together"] = {"accuracy": multiclass["accuracy"]} if multiclass and not scheme.positive else None
    if scheme.positive:
        found["together"] = _measure_detection(configuration, scheme, labels, groups, probabilities)
    by_color = _predict_from_color(configuration, items, folds, [rows for rows, _ in predictions], len(scheme.names))
    found["color_baseline"] = color_baseline.compare(scheme, labels, groups, by_color, called, None)
    return {**found, "multiclass": multiclass} if multiclass else found


def _measure_fold(
    configuration: Configuration,
    scheme: ClassScheme,
    items: Sequence[dict[str, Any]],
    rows: numpy.ndarray,
    probabilities: numpy.ndarray,
) -> dict[str, Any]:
    """Return the metrics of one fold; with several classes, also "macro_f1"."""
    labels, groups = [items[row]["label"] for row in rows], [items[row]["group"] for row in rows]
    found: dict[str, Any] = {}
    if scheme.several:
        each = multiclass_metrics.evaluate_multiclass(
            labels,
            probabilities,
            scheme.names,
            groups,
            configuration["RandomSeed"],
            _predicted_classes(scheme, probabilities),
        )
        found = {"accuracy": each["accuracy"], "macro_f1": each["macro_f1"]}
    if scheme.positive:
        found |= _measure_detection(configuration, scheme, labels, groups, probabilities)
    return found


def _measure_detection(
    configuration: Configuration,
    scheme: ClassScheme,
    labels: Sequence[int],
    groups: Sequence[str],
    probabilities: numpy.ndarray,
) -> dict[str, Any]:
    """Return the metrics of disease or not."""
    scores = scheme.positive_probability(probabilities)
    detected = prediction.apply_threshold(scores, threshold_selection.DEFAULT_THRESHOLD)
    rest = groups, configuration["RandomSeed"], configuration["Prevalence"]
    return classification_metrics.evaluate_predictions(scheme.are_positive(labels).tolist(), scores, detected, *rest)


def _predicted_classes(scheme: ClassScheme, probabilities: numpy.ndarray) -> numpy.ndarray:
    detected = numpy.zeros(len(probabilities), bool)
    if scheme.positive:
        scores = scheme.positive_probability(probabilities)
        detected = prediction.apply_threshold(scores, threshold_selection.DEFAULT_THRESHOLD)
    return multiclass_metrics.predicted_classes(scheme, probabilities, detected)


def _predict_from_color(
    configuration: Configuration,
    items: ManifestRows,
    folds: Sequence[Fold],
    evaluated: Sequence[numpy.ndarray],
    classes: int,
) -> numpy.ndarray | None:
    """Return what color alone predicts in the same folds, float [N, classes]; None if a fold lacks a second class."""
    histograms = histogram_store.read_histograms(
        configuration, lambda record: not grouping.is_augmented_view(record.filename)
    )
    is_source = numpy.array([not grouping.is_augmented_view(item["file"]) for item in items])
    hashes, labels = items.hashes(), items.labels()
    found = []
    for (others, _), rows in zip(folds, evaluated, strict=True):
        train = color_baseline.select_training(others[is_source[others]])
        found.append(color_baseline.predict_from_color(histograms, hashes[train], labels[train], hashes[rows], classes))
    known = [each for each in found if each is not None]
    return numpy.concatenate(known) if len(known) == len(found) else None
