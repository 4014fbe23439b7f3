"""Whether another arithmetic gives the same verdicts: its answers beside those of float32, image by image."""

import numpy

from Classes import Evaluation, Prediction

# A verdict with this confidence, on either side, must not turn.
CONFIDENT = 0.9


def compare(card, labels, before, after):
    """What changed.

    Args:
      card: Card.Card, whose classes and threshold make the verdicts.
      labels: the true class of each image, an index into the card's classes.
      before: float [N, classes], probabilities in float32.
      after: the same of the other arithmetic.
    Returns:
      dict for JSON: "images"; "accuracy" and "roc_auc", each [before, after], ROC AUC None where only one class is
      there; "flips" and "confident_flips", numbers of images with another verdict; "largest_difference" of a
      probability.
    Raises:
      ValueError: not one answer an image.
    """
    before, after = numpy.asarray(before, float), numpy.asarray(after, float)
    if not len(labels) == len(before) == len(after) or before.shape != after.shape:
        raise ValueError(f"{len(labels)} labels, {before.shape} and {after.shape} answers")
    truths = numpy.asarray(labels) == card.classes.index(card.positive)
    verdicts = [[Prediction.judge(row, card, CONFIDENT) for row in answers] for answers in (before, after)]
    flipped = [(old, new) for old, new in zip(*verdicts, strict=True) if old.detected != new.detected]
    return {
        "images": len(labels),
        "accuracy": [_accuracy(truths, each) for each in verdicts],
        "roc_auc": [_area(truths, answers[:, card.classes.index(card.positive)]) for answers in (before, after)],
        "flips": len(flipped),
        "confident_flips": sum(not (old.low and new.low) for old, new in flipped),
        "largest_difference": float(numpy.abs(after - before).max(initial=0)),
    }


def objections(figures, margin):
    """Why the other arithmetic is refused.

    Args:
      figures: from `compare`.
      margin: how much accuracy and ROC AUC may fall.
    Returns:
      list of sentences; empty where it is accepted.
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
        found.append(f"{turned} {verdicts} that had {CONFIDENT:g} or more behind {them}")
    return found


def words(figures):
    """The figures in one line."""
    area = "" if figures["roc_auc"][0] is None else ", ROC AUC {:.4f} -> {:.4f}".format(*figures["roc_auc"])
    return (
        "{} images: accuracy {:.4f} -> {:.4f}".format(figures["images"], *figures["accuracy"])
        + f"{area}; {figures['flips']} verdicts turn, {figures['confident_flips']} of them confident; "
        f"probabilities within {figures['largest_difference']:.3f}"
    )


def _accuracy(truths, verdicts):
    right = [verdict.detected == truth for verdict, truth in zip(verdicts, truths, strict=True)]
    return float(numpy.mean(right)) if right else 0.0


def _area(truths, scores):
    if truths.all() or not truths.any():
        return None
    return Evaluation.roc_auc(truths, scores)
