"""The leak probe: how well what is no cell (background colour, image size, file) tells the classes apart by itself.

A network that sees such a difference learns it, scores well in every validation on the same data, and knows nothing
about blood. So the class is guessed from it alone, from the nearest other images, never those of the same group.
"""

import logging

import numpy

from Classes.common import statistics
from Classes.common.errors import DataError

# From which area under the ROC curve (lower end of its 95 % interval) a difference is told, and refused. Slides and
# cameras always differ a little; what tells nearly all images of a class apart is no accident.
WARN_AUC = 0.7
REJECT_AUC = 0.95

# Fewer originals or patients of a class than this say nothing.
MIN_GROUPS = 20

FOLDS = 5
NEIGHBOURS = 15
N_BOOTSTRAP = 500
# More images than this only cost time; they are taken in the order of their contents, so the choice is fair.
MAX_IMAGES = 5000

log = logging.getLogger("Data")


def check_leakage(configuration, items):
    """Probe what Data.py knows of its images anyway.

    Args:
      configuration: Configuration; with AllowDatasetBias a difference is told, not refused.
      items: list of Data.ImageRecord.
    Returns:
      {name: `predict`'s answer}, for the manifest.
    Raises:
      DataError: background, size or format alone tell the classes apart.
    """
    items = [item for item in items if item.background][:MAX_IMAGES]
    formats = sorted({item.format for item in items})
    kinds = {
        "background colour": [item.background for item in items],
        "image size": [(item.width, item.height) for item in items],
        "file format": [[item.format == name for name in formats] for item in items],
    }
    positive = [item.class_name == configuration["PositiveClass"] for item in items]
    found = {
        name: predict_class_from_artifacts(rows, positive, [item.group for item in items])
        for name, rows in kinds.items()
    }
    for name, each in found.items():
        low = lowest(each)
        if low is None or low < WARN_AUC:
            continue
        words = f"the {name} alone tells the classes apart (ROC AUC {each['auc']:.3f}, 1 is perfect)"
        if low >= REJECT_AUC and not configuration["AllowDatasetBias"]:
            raise DataError(
                f"{words}: a model would learn that instead of cells; see python3 Data.py Check, take both classes "
                "from the same sources, or go on all the same with --set AllowDatasetBias=true"
            )
        log.warning("A possible leak: %s; see python3 Data.py Check.", words)
    return found


def predict_class_from_artifacts(rows, positive, groups, seed=0):
    """How well some figures of an image tell its class, on images of other groups.

    Args:
      rows: [N, F] figures.
      positive: bool [N].
      groups: N texts.
      seed: of the folds and the resampling.
    Returns:
      {"auc": value, "interval": [low, high] of 95 %, resampled by group, "images", "note"}; value and interval are
      None if a class has too few groups, the interval alone if no resampled set changes the value.
    """
    rows = numpy.asarray(rows, "float64").reshape(len(positive), -1)
    positive = numpy.asarray(positive, bool)
    _, groups = numpy.unique(numpy.asarray(groups, str), return_inverse=True)
    found = {"auc": None, "interval": None, "images": len(rows), "note": ""}
    fewest = min(len(set(groups[positive])), len(set(groups[~positive])))
    if fewest < MIN_GROUPS:
        return {**found, "note": f"needs {MIN_GROUPS} originals or patients a class, the smaller has {fewest}"}
    if (rows == rows[0]).all():
        return {**found, "auc": 0.5, "note": "the same for all images"}
    scores = _scores(rows, positive, groups, seed)
    # FEWEST groups a class make a sample without one of them next to impossible, but not quite.
    areas = [
        statistics.roc_auc(positive, scores, weights)
        for weights in statistics.bootstrap_group_indices(groups, len(rows), seed, N_BOOTSTRAP)
        if weights[positive].any() and weights[~positive].any()
    ]
    interval, note = statistics.bootstrap_interval(areas, len(set(groups.tolist())), N_BOOTSTRAP)
    auc = statistics.roc_auc(positive, scores)
    return {**found, "auc": auc, "interval": interval and list(interval), "note": note or ""}


def lowest(found):
    """Return the AUC that a leak is judged by: the lower end of the interval, else the value; None if unknown."""
    return found["interval"][0] if found["interval"] else found["auc"]


def _scores(rows, positive, groups, seed):
    """float64 [N]: of every image, the share of positive ones among its nearest of other folds."""
    from sklearn.neighbors import KNeighborsClassifier

    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / numpy.where(spread > 0, spread, 1)
    scores = numpy.empty(len(rows))
    for train, test in statistics.stratified_group_folds(positive, groups, FOLDS, seed):
        model = KNeighborsClassifier(min(NEIGHBOURS, len(train) // 2), weights=_weights)
        scores[test] = model.fit(rows[train], positive[train]).predict_proba(rows[test])[:, -1]
    return scores


def _weights(distances):
    """Nearer ones count more; equal ones alike."""
    return 1 / (distances + distances.mean() + 1e-9)
