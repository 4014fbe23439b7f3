"""Figures for a detector on labelled images, with 95 % intervals, and a word where a figure has no meaning."""

import numpy

# Resampled sets of originals behind an interval; more change its ends by less than a hundredth.
DRAWS = 1000
CONFIDENCE = 0.95

NAMES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision (PPV)",
    "negative_predictive_value": "NPV",
    "f1": "F1",
    "roc_auc": "ROC AUC",
}


def evaluate(labels, scores, detections, groups=None, seed=50):
    """Counts and figures of a set of images.

    Args:
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      detections: bool [N], the verdicts.
      groups: [N] names of the originals the images come from; None: every image is its own.
      seed: of the resampling.
    Returns:
      dict for JSON: images, groups, counts {true_positives, ...}, and for each of NAMES
      {"value", "interval" [low, high], "of" [k, n] for proportions, "note"}; what has no meaning is None and `note`
      says why. Intervals: Wilson for proportions, which takes images as independent; for F1 and ROC AUC the
      percentiles of sets resampled by original.
    """
    labels, detections = numpy.asarray(labels, bool), numpy.asarray(detections, bool)
    scores = numpy.asarray(scores, float)
    names, members = numpy.unique(numpy.asarray(range(len(labels)) if groups is None else groups), return_inverse=True)
    tp, fp, tn, fn = (
        int((labels & detections).sum()),
        int((~labels & detections).sum()),
        int((~labels & ~detections).sum()),
        int((labels & ~detections).sum()),
    )
    f1_draws, auc_draws = _resample(labels, scores, detections, len(names), members, seed)
    return {
        "images": len(labels),
        "groups": len(names),
        "counts": {"true_positives": tp, "false_positives": fp, "true_negatives": tn, "false_negatives": fn},
        "accuracy": proportion(tp + tn, len(labels), "there is no image"),
        "sensitivity": proportion(tp, tp + fn, "there is no image of the positive class"),
        "specificity": proportion(tn, tn + fp, "there is no image of another class"),
        "precision": proportion(tp, tp + fp, "no image was called ALL"),
        "negative_predictive_value": proportion(tn, tn + fn, "no image was called not ALL"),
        "f1": _f1(tp, fp + fn, f1_draws),
        "roc_auc": _roc_auc(labels, scores, auc_draws),
    }


def proportion(successes, total, otherwise):
    """A share with its Wilson interval, or None and `otherwise` as the note where `total` is 0."""
    if total == 0:
        return _figure(None, note=otherwise)
    from scipy import stats

    interval = stats.binomtest(successes, total).proportion_ci(CONFIDENCE, method="wilson")
    return _figure(successes / total, interval, of=[successes, total])


def table(figures):
    """The figures as lines of text for a terminal."""
    counts = figures["counts"]
    lines = [
        f"{figures['images']} images of {figures['groups']} originals",
        "",
        f"{'':18}{'called ALL':>14}{'called not ALL':>16}",
        f"{'ALL':18}{counts['true_positives']:>14}{counts['false_negatives']:>16}",
        f"{'not ALL':18}{counts['false_positives']:>14}{counts['true_negatives']:>16}",
        "",
        f"{'':18}{'value':>8}   {'95 % interval':17}",
    ]
    for key, name in NAMES.items():
        figure = figures[key]
        value = "-" if figure["value"] is None else f"{figure['value']:.4f}"
        interval = "{:.4f} to {:.4f}".format(*figure["interval"]) if figure["interval"] else "-"
        rest = "{} of {}".format(*figure["of"]) if figure["of"] else figure["note"] or ""
        lines.append(f"{name:18}{value:>8}   {interval:17} {rest}".rstrip())
    if figures["groups"] < figures["images"]:
        lines += ["", "Images of one original are alike: the intervals of shares (… of …) are narrower than the truth."]
    return lines


def _figure(value, interval=None, of=None, note=None):
    ends = None if interval is None else [float(interval[0]), float(interval[1])]
    return {"value": value, "interval": ends, "of": of, "note": note}


def _resample(labels, scores, detections, groups, members, seed):
    """F1 and ROC AUC of DRAWS sets of as many originals, drawn with replacement.

    Args:
      members: int [N], the number of the original of each image, below `groups`.
    Returns:
      (list of F1, list of ROC AUC), without the sets in which the figure has no meaning.
    """
    f1s, aucs = [], []
    order = numpy.argsort(scores, kind="stable")
    # Where a run of equal scores begins, in that order.
    starts = numpy.flatnonzero(numpy.diff(scores[order], prepend=-numpy.inf))
    generator = numpy.random.default_rng(seed)
    for _ in range(DRAWS if groups > 1 else 0):
        weights = numpy.bincount(generator.integers(groups, size=groups), minlength=groups)[members]
        found = weights[labels & detections].sum()
        wrong = weights[labels != detections].sum()
        if found + wrong:
            f1s.append(2 * found / (2 * found + wrong))
        positive = numpy.add.reduceat((weights * labels)[order], starts)
        negative = numpy.add.reduceat((weights * ~labels)[order], starts)
        if positive.any() and negative.any():
            # How often an image of the class outranks one of another; a tie counts half.
            outranked = numpy.cumsum(negative) - negative / 2
            aucs.append((positive * outranked).sum() / (positive.sum() * negative.sum()))
    return f1s, aucs


def _f1(found, wrong, draws):
    if found + wrong == 0:
        return _figure(None, note="there is no image of the positive class and none was called ALL")
    return _resampled(2 * found / (2 * found + wrong), draws)


def _roc_auc(labels, scores, draws):
    if labels.all() or not labels.any():
        return _figure(None, note="both classes are needed")
    from sklearn import metrics

    return _resampled(float(metrics.roc_auc_score(labels, scores)), draws)


def _resampled(value, values):
    # Sets that hold one class only say nothing; where they are many, so does the rest.
    if len(values) < DRAWS / 2:
        return _figure(value, note="too few originals for an interval")
    tail = (1 - CONFIDENCE) / 2
    return _figure(value, numpy.quantile(values, [tail, 1 - tail]))
