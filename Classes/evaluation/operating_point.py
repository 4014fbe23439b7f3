"""Choose the decision threshold and the uncertainty band on validation images, and cross-fit them.

Start with `choose_operating_point`.
"""

import collections.abc
import logging
import typing
from typing import Any

import numpy

from Classes.common import class_scheme, conditions, statistics, translation
from Classes.common.class_scheme import ClassScheme, sum_columns
from Classes.common.conditions import Condition
from Classes.common.config import Configuration
from Classes.common.translation import Message
from Classes.dataset import tfrecords
from Classes.evaluation import calibration, classification_metrics, threshold_selection
from Classes.inference import prediction

# Images per class. With fewer, temperature and threshold would depend on chance.
MIN_PER_CLASS = 10

# Folds of the validation images for cross-fitting.
N_FOLDS = 5


# {code: text} of `selection_warnings`.
WARNINGS = {
    "sensitivity_not_reached": translation.mark(
        "TargetSensitivity={target:g} cannot be reached with MinimumSpecificity={specificity:g}: the sensitivity is "
        "{sensitivity:.3f} at a threshold of {threshold:.3f}, with a lower limit of {limit:.3f}. Check the labels of "
        "the missed {condition} images, or change one of the two keys."
    ),
    "too_few_positives": translation.mark(
        "{images} {condition} images of {groups} source images or patients are too few to prove a sensitivity of "
        "{target:g}: it is {sensitivity:.3f} at a threshold of {threshold:.3f}, with a lower limit of {limit:.3f}. Add "
        "validation images of {condition}."
    ),
    "specificity_below_minimum": translation.mark(
        "The specificity is {specificity:.3f} at a threshold of {threshold:.3f}, below MinimumSpecificity={minimum:g}. "
        "Check the labels, or train longer or on more images."
    ),
    "band_narrowed": translation.mark(
        "UncertainErrorRate={share:g} would make {before:.0%} of the predictions uncertain, so the band was narrowed "
        "to {after:.0%} (UncertainLimit={limit:g}). Outside of the band, {wrong_positive:.1%} of the {condition} "
        "images and {wrong_negative:.1%} of the other images are wrong."
    ),
}

# Labels that mean the condition.
Labels = collections.abc.Sequence[int]

log = logging.getLogger("Trainer")


class OperatingPoint(typing.NamedTuple):
    """What is chosen on validation images.

    Attributes:
      temperature: divisor of the logits.
      threshold: an image is positive if the probability of the positive classes is at least this.
      uncertain: (low, high): a prediction is uncertain from low to below high; None: no prediction is uncertain.
    """

    temperature: float = 1.0
    threshold: float = threshold_selection.DEFAULT_THRESHOLD
    uncertain: tuple[float, float] | None = None


class SelectionRules(typing.NamedTuple):
    """Constraints of an operating point. The model card stores them under these names.

    Attributes:
      target: `TargetSensitivity`.
      share: `UncertainErrorRate`.
      specificity: `MinimumSpecificity`.
      limit: `UncertainLimit`.
      confidence: `TargetConfidence`.
    """

    target: float = 0.95
    share: float = 0.02
    specificity: float = 0.9
    limit: float = 0.2
    confidence: float = 0.8


class ThresholdedPredictions(typing.NamedTuple):
    """Predictions of images, each at the operating point that applies to it.

    Attributes:
      probabilities: float [N, classes].
      thresholds: float [N].
      detected, uncertain: bool [N].
    """

    probabilities: numpy.ndarray
    thresholds: numpy.ndarray
    detected: numpy.ndarray
    uncertain: numpy.ndarray


def selection_rules(configuration: Configuration) -> SelectionRules:
    """Return the selection rules of a configuration."""
    keys = ("TargetSensitivity", "UncertainErrorRate", "MinimumSpecificity", "UncertainLimit", "TargetConfidence")
    return SelectionRules(*(configuration[key] for key in keys))


def choose_operating_point(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    compute_logits: collections.abc.Callable[[], numpy.ndarray],
) -> tuple[OperatingPoint, dict[str, Any]]:
    """Choose temperature, threshold and uncertainty band on the validation images, and measure them.

    Args:
      configuration: Configuration.
      manifest: lists the validation images.
      compute_logits: returns float [N, classes] of the validation images in the manifest's order: logits, or values
        that differ from logits by a constant per image. Only called if there are enough images.
    Returns:
      (operating point, dict for the model card): "images", "note" (why nothing was chosen, or None) and, if there are
      enough images, "rules", "seed", "warnings" (see `selection_warnings`), "ece_before", "ece_after",
      "cross_entropy_before", "cross_entropy_after", "target_sensitivity", "same_images" (metrics on the images used for
      the choice) and "cross_fitted" (metrics on images not used for the choice, or None).
    """
    items = manifest.splits["validation"]
    labels = numpy.array([item["label"] for item in items], int)
    groups = [item["group"] for item in items]
    scheme = class_scheme.from_configuration(configuration, manifest.classes)
    details: dict[str, Any] = {"images": len(items), "note": too_few_images(scheme, manifest)}
    if details["note"]:
        log.warning("Temperature and threshold were not fitted: %s.", details["note"])
        return OperatingPoint(), details
    positive = scheme.positive_indices
    seed = configuration["RandomSeed"]
    rules = selection_rules(configuration)
    logits = numpy.asarray(compute_logits(), float)
    if not positive:
        return _fit_temperature_only(logits, labels, details)
    chosen = fit_operating_point(logits, labels, positive, rules, groups)
    before = calibration.softmax_at_temperature(logits)
    after = calibration.softmax_at_temperature(logits, chosen.temperature)
    details |= {"rules": rules._asdict(), "seed": seed}
    scores, truths = sum_columns(after, positive), numpy.isin(labels, positive)
    details["warnings"] = selection_warnings(chosen, scores, truths, rules, groups, configuration.condition)
    for name, probabilities in (("before", before), ("after", after)):
        errors = calibration.calibration_errors(probabilities, labels)
        details |= {f"{key}_{name}": value for key, value in errors.items()}
    in_sample = apply_operating_point(chosen, logits, positive)
    cross_fitted = cross_fit(logits, labels, groups, positive, rules, seed)
    details["target_sensitivity"] = rules.target
    details["same_images"] = _measure(in_sample, labels, groups, positive)
    details["cross_fitted"] = cross_fitted and _measure(cross_fitted, labels, groups, positive)
    _log_choice(chosen, details, configuration.condition)
    return chosen, details


def _fit_temperature_only(
    logits: numpy.ndarray, labels: numpy.ndarray, details: dict[str, Any]
) -> tuple[OperatingPoint, dict[str, Any]]:
    """Return what `choose_operating_point` returns for a model without a positive class."""
    temperature = round(calibration.fit_temperature(logits, labels), 4)
    for name, divisor in (("before", 1.0), ("after", temperature)):
        probabilities = calibration.softmax_at_temperature(logits, divisor)
        errors = calibration.calibration_errors(probabilities, labels)
        details |= {f"{key}_{name}": value for key, value in errors.items()}
    log.info(
        "Temperature %g: calibration error %.4f, before %.4f.", temperature, details["ece_after"], details["ece_before"]
    )
    return OperatingPoint(temperature), details


def cross_fit(
    logits: Any, labels: Any, groups: collections.abc.Sequence[str], positive: Labels, rules: SelectionRules, seed: int
) -> ThresholdedPredictions | None:
    """Classify each image at an operating point that is chosen on images of other groups.

    Args:
      logits: float [N, classes].
      labels: int [N].
      groups: [N] names of source images or patients.
      positive: the labels that mean the condition; their probabilities are added.
      rules: constraints of the operating point.
      seed: of the folds.
    Returns:
      the predictions; None if a class has too few groups.
    """
    logits, labels = numpy.asarray(logits, float), numpy.asarray(labels, int)
    # A rare class among several must not prevent the folds; both sides have to be in each.
    sides = labels if logits.shape[-1] == 2 else numpy.isin(labels, positive).astype(int)
    folds = group_folds(sides, groups, seed) if len(labels) else []
    if not folds:
        return None
    result = ThresholdedPredictions(
        numpy.empty(logits.shape), numpy.empty(len(labels)), *numpy.zeros((2, len(labels)), bool)
    )
    for others, rows in folds:
        chosen = fit_operating_point(logits[others], labels[others], positive, rules, [groups[row] for row in others])
        for whole, part in zip(result, apply_operating_point(chosen, logits[rows], positive), strict=True):
            whole[rows] = part
    return result


def apply_operating_point(point: OperatingPoint, logits: numpy.ndarray, positive: Labels) -> ThresholdedPredictions:
    """Classify logits, float [N, classes], at an operating point; `positive` are the labels of the condition."""
    probabilities = calibration.softmax_at_temperature(logits, point.temperature)
    scores = sum_columns(probabilities, positive)
    detected = prediction.apply_threshold(scores, point.threshold)
    thresholds = numpy.full(len(scores), point.threshold)
    return ThresholdedPredictions(probabilities, thresholds, detected, prediction.in_band(scores, point.uncertain))


def too_few_images(scheme: ClassScheme, manifest: tfrecords.Manifest) -> str | None:
    """Return why the validation images are too few to choose an operating point, or None.

    A rare class is not a reason if there are several on its side, because the threshold separates the sides.
    """
    labels = [item["label"] for item in manifest.splits["validation"]]
    if scheme.positive and len(scheme.names) > 2:
        detected = sum(label in scheme.positive_indices for label in labels)
        fewest, which = min(detected, len(labels) - detected), "smaller side"
    else:
        fewest, which = min(labels.count(label) for label in range(len(manifest.classes))), "smallest class"
    if fewest >= MIN_PER_CLASS:
        return None
    return f"the {which} has {fewest} validation images, {MIN_PER_CLASS} are needed"


def fit_operating_point(
    logits: numpy.ndarray,
    labels: numpy.ndarray,
    positive: Labels,
    rules: SelectionRules,
    groups: collections.abc.Sequence[str] | None = None,
) -> OperatingPoint:
    """Return the operating point of a set of images; the arguments are as for `cross_fit`."""
    temperature = round(calibration.fit_temperature(logits, labels), 4)
    if not positive:
        return OperatingPoint(temperature)
    scores = sum_columns(calibration.softmax_at_temperature(logits, temperature), positive)
    truths = numpy.isin(labels, positive)
    threshold = threshold_selection.threshold_at_sensitivity(
        scores, truths, rules.target, rules.specificity, rules.confidence, groups
    )
    band = threshold_selection.bounded_uncertainty_band(scores, truths, threshold, rules.share, rules.limit)
    return OperatingPoint(temperature, threshold, band)


def selection_warnings(
    point: OperatingPoint,
    scores: numpy.ndarray,
    truths: numpy.ndarray,
    rules: SelectionRules,
    groups: Any = None,
    condition: Condition = conditions.ALL,
) -> list[dict[str, Any]]:
    """Return which rules an operating point does not satisfy.

    Args:
      point: operating point.
      scores: float [N], probability of the positive class at the operating point's temperature.
      truths: bool [N], with both classes.
      rules: constraints.
      groups: [N] names of source images or patients; None: each image is its own group.
      condition: what is detected.
    Returns:
      list of {"code", "text", "values"}: a key of WARNINGS, its text, and the values in the text.
    """
    detected = prediction.apply_threshold(scores, point.threshold)
    groups = statistics.group_numbers(groups, len(scores))[truths]
    found = {
        **_sensitivity_warning(point, detected[truths], groups, rules),
        **_specificity_warning(point, 1 - detected[~truths].mean(), rules),
        **_band_warning(point, scores, truths, rules),
    }
    return [
        {"code": code, "text": str(Message(WARNINGS[code], condition=condition.name, **values)), "values": values}
        for code, values in found.items()
    ]


def warning_message(entry: dict[str, Any], condition: Condition) -> str:
    """Return the text of an entry of `selection_warnings`, as a Message if it has values.

    Model cards of earlier versions have the text only.
    """
    template = WARNINGS.get(entry["code"])
    return (
        Message(template, condition=condition.name, **entry["values"])
        if template and "values" in entry
        else entry["text"]
    )


def _sensitivity_warning(
    point: OperatingPoint, detected: numpy.ndarray, groups: numpy.ndarray, rules: SelectionRules
) -> dict[str, dict[str, float]]:
    sensitivity, limit = detected.mean(), threshold_selection.lower_confidence_limit(detected, groups, rules.confidence)
    values = {"target": rules.target, "sensitivity": float(sensitivity), "limit": float(limit)}
    values["threshold"] = point.threshold
    if sensitivity < rules.target - threshold_selection.ROUNDING or (
        threshold_selection.can_prove_sensitivity(groups, rules.target, rules.confidence) and limit < rules.target
    ):
        return {"sensitivity_not_reached": {**values, "specificity": rules.specificity}}
    if rules.target and limit < rules.target:
        return {"too_few_positives": {**values, "images": len(detected), "groups": len(numpy.unique(groups))}}
    return {}


def _specificity_warning(
    point: OperatingPoint, specificity: float, rules: SelectionRules
) -> dict[str, dict[str, float]]:
    if specificity >= rules.specificity - threshold_selection.ROUNDING:
        return {}
    values = {"specificity": float(specificity), "threshold": point.threshold, "minimum": rules.specificity}
    return {"specificity_below_minimum": values}


def _band_warning(
    point: OperatingPoint, scores: numpy.ndarray, truths: numpy.ndarray, rules: SelectionRules
) -> dict[str, dict[str, float]]:
    wanted = threshold_selection.uncertainty_band(scores, truths, point.threshold, rules.share)
    if wanted is None or wanted == point.uncertain:
        return {}
    before, after = (prediction.in_band(scores, band) for band in (wanted, point.uncertain))
    wrong = (prediction.apply_threshold(scores, point.threshold) != truths) & ~after
    values = {
        "share": rules.share,
        "before": float(before.mean()),
        "after": float(after.mean()),
        "limit": rules.limit,
        "wrong_positive": float(wrong[truths].mean()),
        "wrong_negative": float(wrong[~truths].mean()),
    }
    return {"band_narrowed": values}


def _measure(
    predictions: ThresholdedPredictions, labels: numpy.ndarray, groups: collections.abc.Sequence[str], positive: Labels
) -> dict[str, Any]:
    """Return the metrics of predictions for the model card."""
    truths = numpy.isin(labels, positive)
    metrics = classification_metrics.confusion_metrics(truths, predictions.detected, groups)
    return {
        **calibration.calibration_errors(predictions.probabilities, labels),
        **{name: metrics[name] for name in ("accuracy", "sensitivity", "specificity")},
        **classification_metrics.selective_metrics(truths, predictions.detected, predictions.uncertain, groups),
    }


def group_folds(
    labels: numpy.ndarray, groups: collections.abc.Sequence[str], seed: int
) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Return [(rows of the other folds, rows of the fold)] with disjoint groups; [] if a class has too few groups."""
    count = min(N_FOLDS, statistics.smallest_class_groups(labels, groups))
    folds = statistics.stratified_group_folds(labels, groups, count, seed) if count > 1 else []
    return folds if all(set(labels[others]) == set(labels) for others, _ in folds) else []


def _log_choice(point: OperatingPoint, details: dict[str, Any], condition: Condition) -> None:
    log.info(
        "Temperature %g, fitted on %d validation images: expected calibration error %.4f before, %.4f after.",
        point.temperature,
        details["images"],
        details["ece_before"],
        details["ece_after"],
    )
    band = "from {:.3f} to {:.3f}".format(*point.uncertain) if point.uncertain else "none"
    log.info("Threshold of %s %.3f, uncertainty band %s.", condition.short, point.threshold, band)
    for warning in details["warnings"]:
        log.warning("%s", warning_message(warning, condition))
    if details["cross_fitted"]:
        metrics = details["cross_fitted"]
        log.info(
            "Cross-fitted: sensitivity %.4f, specificity %.4f, expected calibration error %.4f, %.1f %% uncertain.",
            metrics["sensitivity"]["value"],
            metrics["specificity"]["value"],
            metrics["ece"],
            100 * metrics["uncertain"]["value"],
        )
