"""Whether another arithmetic gives the same verdicts: its answers beside those of float32, image by image."""

import math

import numpy

from Classes.common import statistics
from Classes.inference import prediction

# A verdict with this confidence, on either side, must not turn.
CONFIDENT_PROBABILITY = 0.9

# The 97.5 % quantile of the normal distribution.
Z = 1.959964


def compare_predictions(card, labels, before, after, groups=None):
    """What changed.

    Args:
      card: model_card.ModelCard, whose classes and threshold make the verdicts.
      labels: the true class of each image, an index into the card's classes.
      before: float [N, classes], probabilities in float32.
      after: the same of the other arithmetic.
      groups: [N] names of originals or patients; None: every image is its own.
    Returns:
      dict for JSON: "images"; "accuracy" and "roc_auc", each [before, after], ROC AUC None where only one class is
      there; "error_difference", by how much the error rate rises, and "error_interval", its 95 % interval (paired, see
      statistics.paired_difference), None if it is unknown; "flips" and "confident_flips", numbers of images with another
      verdict; "largest_difference" of a probability.
    Raises:
      ValueError: not one answer an image.
    """
    before, after = numpy.asarray(before, float), numpy.asarray(after, float)
    if not len(labels) == len(before) == len(after) or before.shape != after.shape:
        raise ValueError(f"{len(labels)} labels, {before.shape} and {after.shape} answers")
    truths = numpy.asarray(labels) == card.classes.index(card.positive)
    verdicts = [
        [prediction.make_prediction(row, card, CONFIDENT_PROBABILITY) for row in answers] for answers in (before, after)
    ]
    wrong = [numpy.array([each.detected for each in verdict], bool) != truths for verdict in verdicts]
    differences = wrong[1].astype(int) - wrong[0]
    interval = statistics.paired_difference(differences, groups)
    flipped = [(old, new) for old, new in zip(*verdicts, strict=True) if old.detected != new.detected]
    return {
        "images": len(labels),
        "accuracy": [_accuracy(truths, each) for each in verdicts],
        "roc_auc": [_roc_auc(truths, answers[:, card.classes.index(card.positive)]) for answers in (before, after)],
        "error_difference": float(differences.mean()) if len(labels) else None,
        "error_interval": interval and list(interval),
        "flips": len(flipped),
        "confident_flips": sum(not (old.low and new.low) for old, new in flipped),
        "largest_difference": float(numpy.abs(after - before).max(initial=0)),
    }


def rejection_reasons(figures, margin, proof=False):
    """Why the other arithmetic is refused.

    Args:
      figures: from `compare`.
      margin: how much accuracy and ROC AUC may fall.
      proof: `QuantizeProof`; also refuse what is not `shown`.
    Returns:
      list of sentences; empty if it is accepted.
    """
    if not figures["images"]:
        return ["there is no validation image to compare on"]
    found = []
    for key, name in (("accuracy", "accuracy"), ("roc_auc", "ROC AUC")):
        before, after = figures[key]
        # Rounded, since 0.96 - 0.955 is a little more than 0.005.
        if before is not None and round(before - after, 9) > margin:
            found.append(f"{name} falls from {before:.4f} to {after:.4f}, where {margin:g} is allowed")
    turned = figures["confident_flips"]
    if turned:
        verdicts, them = ("verdict turns", "it") if turned == 1 else ("verdicts turn", "them")
        found.append(f"{turned} {verdicts} that had {CONFIDENT_PROBABILITY:g} or more behind {them}")
    if proof and not shown(figures, margin):
        found.append(doubt(figures, margin))
    return found


def shown(figures, margin):
    """Whether a paired test of non-inferiority (one-sided, 2.5 %) shows that the error rate stays in the margin."""
    return bool(figures["error_interval"]) and figures["error_interval"][1] <= margin


def needed(margin):
    """How many images of different originals or patients show it if no verdict differs; None: no number does."""
    # Tango's upper limit without a difference is z² / (n + z²).
    return math.ceil(Z**2 * (1 - margin) / margin) if margin else None


def doubt(figures, margin):
    """Say what a comparison that is not `shown` leaves open."""
    limit = "is unknown" if not figures["error_interval"] else f"may rise by up to {figures['error_interval'][1]:.4f}"
    least = needed(margin)
    more = "" if least is None else f"; at least {least} images of different originals or patients are needed"
    return (
        f"{figures['images']} validation images do not show that the error rate in int8 rises by at most {margin:g}: "
        f"it {limit} (95 % interval){more}"
    )


def format_comparison(figures):
    """The figures in one line."""
    area = "" if figures["roc_auc"][0] is None else ", ROC AUC {:.4f} -> {:.4f}".format(*figures["roc_auc"])
    return (
        "{} images: accuracy {:.4f} -> {:.4f}".format(figures["images"], *figures["accuracy"])
        + f"{area}; {_rise(figures)}{figures['flips']} verdicts turn, {figures['confident_flips']} of them confident; "
        f"probabilities within {figures['largest_difference']:.3f}"
    )


def _rise(figures):
    """The change of the error rate in words."""
    if not figures["error_interval"]:
        return ""
    return "error rate {:+.4f} ({:+.4f} to {:+.4f}); ".format(figures["error_difference"], *figures["error_interval"])


def _accuracy(truths, verdicts):
    right = [verdict.detected == truth for verdict, truth in zip(verdicts, truths, strict=True)]
    return float(numpy.mean(right)) if right else 0.0


def _roc_auc(truths, scores):
    if truths.all() or not truths.any():
        return None
    return statistics.roc_auc(truths, scores)
