"""Compute the metrics of a validation run from its predictions: per image, per patient, and cross-fitted."""

from typing import Any

import numpy

from Classes.common.config import Configuration
from Classes.dataset import grouping
from Classes.evaluation import calibration, classification_metrics, operating_point
from Classes.inference import model_card, prediction


def all_metrics(configuration: Configuration, card: model_card.ModelCard, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of all rows, cross-fitted if an operating point was chosen and there are enough groups.

    Returns:
      dict for JSON: result of `_metrics`, "basis" (a key of classification_metrics.BASES), "selected" (keys of
      classification_metrics.SELECTED) and, if the basis is cross_fitted, "in_sample": the metrics of the deployed
      operating point on the images on which it was chosen.
    """
    chosen = bool(card.calibration) and not (card.calibration or {}).get("note")
    probabilities = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
    detected, uncertain = (numpy.array([row[key] for row in rows], bool) for key in ("detected", "uncertain"))
    deployed = operating_point.ThresholdedPredictions(
        probabilities, numpy.full(len(rows), card.threshold), detected, uncertain
    )
    measured = _metrics(configuration, card, rows, deployed)
    selected = ["epoch"] * bool(card.training.get("patience"))
    selected += ["int8"] * any(row["precision"] == "int8" for row in rows)
    cross_fitted = _cross_fit(configuration, card, rows, probabilities) if rows and chosen else None
    if cross_fitted is None:
        return {**measured, "basis": "in_sample" if chosen else "held_out", "selected": selected}
    for row, *values in zip(rows, cross_fitted.detected.tolist(), cross_fitted.uncertain.tolist(), strict=True):
        row["cross_fitted"] = dict(zip(("detected", "uncertain"), values, strict=True))
    basis = {"basis": "cross_fitted", "selected": selected, "in_sample": measured}
    return {**_metrics(configuration, card, rows, cross_fitted), **basis}


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
    """Return the metrics per image, "patients" with those per patient, and "certainty"."""
    labels, groups = [row["label"] in card.positive for row in rows], [row["group"] for row in rows]
    seed, prevalence = configuration["RandomSeed"], configuration["Prevalence"]
    # A temperature does not change the order of scores, so the areas are those of the deployed model.
    scores = [prediction.positive_score(card, row) for row in rows]
    images = classification_metrics.evaluate_predictions(labels, scores, predictions.detected, groups, seed, prevalence)
    positive = card.scheme.positive_probability(predictions.probabilities) if rows else numpy.zeros(0)
    # Copies can merge the groups of two patients, whose results are counted separately.
    names = [f"{grouping.PATIENT}{row['patient']}" if row.get("patient") else row["group"] for row in rows]
    patients = classification_metrics.evaluate_by_patient(
        labels, positive, names, predictions.thresholds, seed, prevalence
    )
    return {**images, "patients": patients, "certainty": _certainty(card, rows, predictions)}


def _certainty(
    card: model_card.ModelCard, rows: list[dict[str, Any]], predictions: operating_point.ThresholdedPredictions
) -> dict[str, Any]:
    """Return the calibration of the confidences and the effect of the uncertainty band: dict for JSON."""
    labels = [card.classes.index(row["label"]) for row in rows]
    truths, groups = [row["label"] in card.positive for row in rows], [row["group"] for row in rows]
    before = None
    if rows and card.calibration:
        served = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
        plain = calibration.softmax_at_temperature(calibration.log_probabilities(served), 1 / card.temperature)
        before = calibration.reliability_bins(plain, labels, groups)
    return {
        "after": calibration.reliability_bins(predictions.probabilities, labels, groups),
        "before": before,
        **classification_metrics.selective_metrics(truths, predictions.detected, predictions.uncertain, groups),
    }
