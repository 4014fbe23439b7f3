"""Compute the metrics of a validation run from its predictions: per image, per patient, and cross-fitted."""

from collections.abc import Sequence
from typing import Any

import numpy

from Classes.common.class_scheme import ClassScheme
from Classes.common.config import Configuration
from Classes.dataset import grouping
from Classes.evaluation import calibration, classification_metrics, multiclass_metrics, operating_point
from Classes.inference import model_card, prediction


def all_metrics(configuration: Configuration, card: model_card.ModelCard, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of all rows, cross-fitted if an operating point was chosen and there are enough groups.

    Returns:
      dict for JSON: result of `_metrics`, "basis" (a key of classification_metrics.BASES), "selected" (keys of
      classification_metrics.SELECTED) and, if the basis is cross_fitted, "in_sample": the metrics of the deployed
      operating point on the images on which it was chosen. With several classes or groups, rows get the name of the
      class as "predicted".
    """
    chosen = bool(card.calibration) and not (card.calibration or {}).get("note")
    probabilities = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
    detected, uncertain = (numpy.array([row[key] for row in rows], bool) for key in ("detected", "uncertain"))
    deployed = operating_point.ThresholdedPredictions(
        probabilities, numpy.full(len(rows), card.threshold), detected, uncertain
    )
    _name_classes(card, rows, deployed)
    measured = _metrics(configuration, card, rows, deployed)
    selected = ["epoch"] * bool(card.training.get("patience"))
    selected += ["int8"] * any(row["precision"] == "int8" for row in rows)
    cross_fitted = _cross_fit(configuration, card, rows, probabilities) if rows and chosen else None
    if cross_fitted is None:
        return {**measured, "basis": "in_sample" if chosen else "held_out", "selected": selected}
    for row, *values in zip(rows, cross_fitted.detected.tolist(), cross_fitted.uncertain.tolist(), strict=True):
        row["cross_fitted"] = dict(zip(("detected", "uncertain"), values, strict=True))
    _name_classes(card, [row["cross_fitted"] for row in rows], cross_fitted)
    basis = {"basis": "cross_fitted", "selected": selected, "in_sample": measured}
    return {**_metrics(configuration, card, rows, cross_fitted), **basis}


def predicted_classes(card: model_card.ModelCard, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Return the class that is predicted for each row of `all_metrics`, at the operating point that it measures."""
    scheme = card.scheme
    if not multiclass_metrics.has_classes(scheme):
        negative, positive = *scheme.negative_indices, *scheme.positive_indices
        return [positive if row.get("cross_fitted", row)["detected"] else negative for row in rows]
    return [card.classes.index(row.get("cross_fitted", row)["predicted"]) for row in rows]


def event_scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the metrics for TensorBoard, {name: value}, without those that are undefined.

    Args:
      metrics: as in metrics.json.
    """
    found = {name: metrics[name] for name in classification_metrics.METRIC_NAMES if name in metrics}
    multiclass = metrics.get("multiclass") or {}
    for prefix, each in (("classes", multiclass), ("groups", multiclass.get("groups") or {})):
        found |= {f"{prefix}/{name}": each[name] for name in multiclass_metrics.OVERALL_METRICS if name in each}
        found |= {f"{prefix}/F1 of {name}": row["f1"] for name, row in each.get("classes", {}).items()}
    baseline = metrics.get("color_baseline") or {}
    found |= {"color_baseline/accuracy": baseline["accuracy"]} if baseline.get("accuracy") else {}
    if baseline.get("multiclass"):
        found["color_baseline/accuracy of classes"] = baseline["multiclass"]["accuracy"]
    return {name: metric["value"] for name, metric in found.items() if metric["value"] is not None}


def _name_classes(
    card: model_card.ModelCard, rows: Sequence[dict[str, Any]], predictions: operating_point.ThresholdedPredictions
) -> None:
    """Write the predicted class of several into each row."""
    if multiclass_metrics.has_classes(card.scheme):
        called = multiclass_metrics.predicted_classes(card.scheme, predictions.probabilities, predictions.detected)
        for row, label in zip(rows, called.tolist(), strict=True):
            row["predicted"] = card.classes[label]


def _cross_fit(
    configuration: Configuration, card: model_card.ModelCard, rows: list[dict[str, Any]], probabilities: numpy.ndarray
) -> operating_point.ThresholdedPredictions | None:
    """Return the predictions at operating points chosen on other groups; None if there are too few groups."""
    fitted = card.calibration or {}
    rules = fitted.get("rules") or operating_point.selection_rules(configuration)._asdict()
    # The graph has divided the logits by the temperature already.
    logits = calibration.log_probabilities(probabilities) * card.temperature
    return operating_point.cross_fit(
        logits,
        [card.classes.index(row["label"]) for row in rows],
        [row["group"] for row in rows],
        card.scheme.positive_indices,
        operating_point.SelectionRules(**rules),
        fitted.get("seed", configuration["RandomSeed"]),
    )


def _metrics(
    configuration: Configuration,
    card: model_card.ModelCard,
    rows: list[dict[str, Any]],
    predictions: operating_point.ThresholdedPredictions,
) -> dict[str, Any]:
    """Return the metrics per image, "patients" with those per patient, "certainty", and "multiclass" if there is more.

    If no class means disease, "images", "groups" and "accuracy" are about the classes.
    """
    multiclass = _multiclass(configuration, card, rows, predictions)
    if multiclass and not card.positive:
        counts = {"images": multiclass["images"], "groups": multiclass["source_images"]}
        certainty = {**multiclass["calibration"], "uncertain": None, "accuracy_of_rest": None}
        rest = {"accuracy": multiclass["accuracy"], "patients": None, "certainty": certainty}
        return {**counts, **rest, "multiclass": multiclass}
    labels, groups = [row["label"] in card.positive for row in rows], [row["group"] for row in rows]
    seed, prevalence = configuration["RandomSeed"], configuration["Prevalence"]
    # A temperature does not change the order of scores, so the deployed model has the same areas.
    scores = [prediction.positive_score(card, row) for row in rows]
    images = classification_metrics.evaluate_predictions(labels, scores, predictions.detected, groups, seed, prevalence)
    positive = card.scheme.positive_probability(predictions.probabilities) if rows else numpy.zeros(0)
    # Copies can merge the groups of two patients, whose results are counted separately.
    names = [f"{grouping.PATIENT}{row['patient']}" if row.get("patient") else row["group"] for row in rows]
    patients = classification_metrics.evaluate_by_patient(
        labels, positive, names, predictions.thresholds, seed, prevalence
    )
    measured = {**images, "patients": patients, "certainty": _certainty(card, rows, predictions)}
    return {**measured, "multiclass": multiclass} if multiclass else measured


def _multiclass(
    configuration: Configuration,
    card: model_card.ModelCard,
    rows: list[dict[str, Any]],
    predictions: operating_point.ThresholdedPredictions,
) -> dict[str, Any] | None:
    """Return the metrics of the classes and their groups; None for two classes without groups."""
    return multiclass_metrics.evaluate_scheme(
        card.scheme,
        [card.classes.index(row["label"]) for row in rows],
        predictions.probabilities.reshape(len(rows), len(card.classes)),
        [row["group"] for row in rows],
        configuration["RandomSeed"],
        multiclass_metrics.predicted_classes(card.scheme, predictions.probabilities, predictions.detected),
        _without_temperature(card, rows),
    )


def _without_temperature(card: model_card.ModelCard, rows: list[dict[str, Any]]) -> numpy.ndarray | None:
    """Return the probabilities without the temperature, float [N, classes]; None if none was fitted."""
    if not rows or not card.calibration:
        return None
    served = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
    return calibration.softmax_at_temperature(calibration.log_probabilities(served), 1 / card.temperature)


def _certainty(
    card: model_card.ModelCard, rows: list[dict[str, Any]], predictions: operating_point.ThresholdedPredictions
) -> dict[str, Any]:
    """Return the calibration of the confidences and the effect of the uncertainty band: dict for JSON.

    With several classes, this is the confidence of disease or not; "multiclass" has the confidence of the class.
    """
    labels = [card.classes.index(row["label"]) for row in rows]
    truths, groups = [row["label"] in card.positive for row in rows], [row["group"] for row in rows]
    plain, probabilities = _without_temperature(card, rows), predictions.probabilities
    if len(card.classes) > 2 and rows:
        labels = [int(each) for each in truths]
        probabilities = _two_sides(card.scheme, probabilities)
        plain = None if plain is None else _two_sides(card.scheme, plain)
    return {
        "after": calibration.reliability_bins(probabilities, labels, groups),
        "before": None if plain is None else calibration.reliability_bins(plain, labels, groups),
        **classification_metrics.selective_metrics(truths, predictions.detected, predictions.uncertain, groups),
    }


def _two_sides(scheme: ClassScheme, probabilities: numpy.ndarray) -> numpy.ndarray:
    """Return the probabilities of no disease and of disease, float [N, 2]."""
    return numpy.stack([scheme.side_probability(probabilities, side) for side in (False, True)], 1)
