"""Compare the predictions of an int8 model with those of float32, and decide whether the int8 model is accepted."""

import math
from typing import Any

import numpy

from Classes.common import statistics, translation
from Classes.common.translation import Message
from Classes.inference import model_card, prediction

# A prediction with this confidence, in either precision, must not change.
CONFIDENT_PROBABILITY = 0.9

# The 97.5 % quantile of the normal distribution.
Z = 1.959964


def compare_predictions(
    card: model_card.ModelCard, labels: Any, before: Any, after: Any, groups: Any = None
) -> dict[str, Any]:
    """Compare the predictions of two models image by image.

    Args:
      card: model card with the classes and the threshold.
      labels: int [N], index of the true class in the card's classes.
      before: float [N, classes], probabilities in float32.
      after: float [N, classes], probabilities in int8.
      groups: [N] names of source images or patients; None: each image is its own group.
    Returns:
      dict for JSON: "images"; "accuracy" and "roc_auc", each [before, after], with ROC AUC None if a class is missing;
      "group_accuracy", [before, after], only of a model with groups; "class_accuracy", [before, after], only of a model
      that detects something and has more than two classes;
      "error_difference", the increase of the error rate, and its paired 95 % interval "error_interval" or None;
      "flips" and "confident_flips", numbers of changed predictions; "largest_difference" of a probability.
    Raises:
      ValueError: the numbers of labels and probabilities differ.
    """
    before, after = numpy.asarray(before, float), numpy.asarray(after, float)
    if not len(labels) == len(before) == len(after) or before.shape != after.shape:
        raise ValueError(f"{len(labels)} labels, {before.shape} and {after.shape} probabilities")
    truths, (old, new) = _truths(card, labels), (_decisions(card, rows) for rows in (before, after))
    wrong = [numpy.array([decision for decision, _ in rows], truths.dtype) != truths for rows in (old, new)]
    differences = wrong[1].astype(int) - wrong[0]
    interval = statistics.paired_difference(differences, groups)
    flips = [pair for pair in zip(old, new, strict=True) if pair[0][0] != pair[1][0]]
    grouped: dict[str, list[float]] = {}
    if len(labels) and card.scheme.groups:
        grouped["group_accuracy"] = _group_accuracy(card, labels, before, after)
    if len(labels) and card.positive and card.scheme.several:
        # Beside disease or not, the classes on one side must not be mixed up more often.
        grouped["class_accuracy"] = [float((each.argmax(axis=1) == labels).mean()) for each in (before, after)]
    return {
        "images": len(labels),
        **grouped,
        "accuracy": [float((~each).mean()) if len(each) else 0.0 for each in wrong],
        "roc_auc": [_roc_auc(card, truths, each) for each in (before, after)],
        "error_difference": float(differences.mean()) if len(labels) else None,
        "error_interval": interval and list(interval),
        "flips": len(flips),
        "confident_flips": sum(not (low_before and low_after) for (_, low_before), (_, low_after) in flips),
        "largest_difference": float(numpy.abs(after - before).max(initial=0)),
    }


def rejection_reasons(comparison: dict[str, Any], margin: float, proof: bool = False) -> list[str]:
    """Return why the int8 model is rejected; empty if it is accepted.

    Args:
      comparison: from `compare_predictions`.
      margin: how much accuracy and ROC AUC may decrease.
      proof: `QuantizeProof`; also reject a model that is not proven non-inferior.
    """
    if not comparison["images"]:
        return [Message("there are no validation images for a comparison")]
    reasons: list[str] = []
    kinds = (
        ("accuracy", translation.mark("accuracy")),
        ("class_accuracy", translation.mark("accuracy of the classes")),
        ("group_accuracy", translation.mark("accuracy of the groups")),
        ("roc_auc", "ROC AUC"),
    )
    for key, name in kinds:
        before, after = comparison.get(key, (None, None))
        # Rounded, because 0.96 - 0.955 is slightly more than 0.005.
        if before is not None and round(before - after, 9) > margin:
            reasons.append(
                Message(
                    "{name} falls from {before:.4f} to {after:.4f}, by more than {margin:g}",
                    name=Message(name),
                    before=before,
                    after=after,
                    margin=margin,
                )
            )
    if comparison["confident_flips"]:
        changed = comparison["confident_flips"]
        reasons.append(
            Message(
                "{count} predictions with a confidence of {confidence:g} or more change class",
                count=changed,
                confidence=CONFIDENT_PROBABILITY,
            )
        )
    if proof and not is_non_inferior(comparison, margin):
        reasons.append(missing_proof(comparison, margin))
    return reasons


def is_non_inferior(comparison: dict[str, Any], margin: float) -> bool:
    """Return whether a paired test (one-sided, 2.5 %) proves that the error rate rises by at most the margin."""
    return bool(comparison["error_interval"]) and comparison["error_interval"][1] <= margin


def is_hopeless(comparison: dict[str, Any], margin: float) -> bool:
    """Return whether no int8 model of any kind can be proven non-inferior on these images.

    Args:
      comparison: from `compare_predictions` of the float32 probabilities with themselves. If they have no error, an
        int8 model can only be worse than this.
      margin: how much the error rate may rise.
    """
    return comparison["accuracy"][0] == 1 and not is_non_inferior(comparison, margin)


def images_needed(margin: float) -> int | None:
    """Return how many images in different groups prove non-inferiority if no prediction changes; None: impossible."""
    # Tango's upper limit without a difference is z² / (n + z²).
    return math.ceil(Z**2 * (1 - margin) / margin) if margin else None


def missing_proof(comparison: dict[str, Any], margin: float) -> str:
    """Return a sentence about a comparison that does not prove non-inferiority."""
    interval, least = comparison["error_interval"], images_needed(margin)
    text = Message(
        "{count} validation images do not prove that the error rate in int8 rises by at most {margin:g}: it "
        "has no interval",
        count=comparison["images"],
        margin=margin,
    )
    if interval:
        text = Message(
            "{count} validation images do not prove that the error rate in int8 rises by at most {margin:g}: it may "
            "rise by up to {limit:.4f} (95 % interval)",
            count=comparison["images"],
            margin=margin,
            limit=interval[1],
        )
    if least is None:
        return text
    return Message(
        "{text}; at least {count} images of different source images or patients are needed", text=text, count=least
    )


def format_comparison(comparison: dict[str, Any]) -> str:
    """Return a comparison as one line."""
    parts = ["{} images: accuracy {:.4f} -> {:.4f}".format(comparison["images"], *comparison["accuracy"])]
    if "class_accuracy" in comparison:
        parts.append("accuracy of the classes {:.4f} -> {:.4f}".format(*comparison["class_accuracy"]))
    if "group_accuracy" in comparison:
        parts.append("accuracy of the groups {:.4f} -> {:.4f}".format(*comparison["group_accuracy"]))
    if comparison["roc_auc"][0] is not None:
        parts.append("ROC AUC {:.4f} -> {:.4f}".format(*comparison["roc_auc"]))
    if comparison["error_interval"]:
        low, high = comparison["error_interval"]
        parts.append(f"error rate {comparison['error_difference']:+.4f} ({low:+.4f} to {high:+.4f})")
    parts.append(f"{comparison['flips']} predictions change, {comparison['confident_flips']} of them confident")
    return ", ".join([*parts, f"probabilities differ by up to {comparison['largest_difference']:.3f}"])


def _truths(card: model_card.ModelCard, labels: Any) -> numpy.ndarray:
    """Return whether each image is positive, bool [N]; of a model of cell types the labels themselves, int [N]."""
    labels = numpy.asarray(labels, int)
    return card.scheme.are_positive(labels) if card.positive else labels


def _decisions(card: model_card.ModelCard, rows: numpy.ndarray) -> list[tuple[int, bool]]:
    """Return (what `_truths` is compared with, whether the confidence is low) of probabilities, float [N, classes]."""
    if not card.positive:
        return [(int(row.argmax()), float(row.max()) < CONFIDENT_PROBABILITY) for row in rows]
    made = (prediction.make_prediction(row, card, CONFIDENT_PROBABILITY) for row in rows)
    return [(bool(each.detected), each.low_confidence) for each in made]


def _group_accuracy(card: model_card.ModelCard, labels: Any, *rows: numpy.ndarray) -> list[float]:
    """Return the fraction of images whose most likely group is right, for each set of probabilities."""
    names = list(card.scheme.group_names)
    truths = numpy.array([names.index(card.scheme.group_of(card.classes[label])) for label in labels], int)
    return [float((card.scheme.group_probabilities(each).argmax(axis=1) == truths).mean()) for each in rows]


def _roc_auc(card: model_card.ModelCard, truths: numpy.ndarray, rows: numpy.ndarray) -> float | None:
    if not card.positive or not truths.any() or truths.all():
        return None
    return statistics.roc_auc(truths, card.scheme.positive_probability(rows))
