"""Leakage probe: how well background color, image size and file format alone predict the class.

A network learns such a difference, scores well on validation data from the same source, and knows nothing about
blood. The probe predicts the class of each image from its nearest neighbors, which are images of other groups.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy

from Classes.common import class_scheme, statistics, translation
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset.image_records import ImageRecord

# ROC AUC (lower end of its 95 % interval) from which the probe warns, and from which Data.py stops. Slides and cameras
# always differ a little; a difference that identifies nearly all images of a class is an artifact.
WARN_AUC = 0.7
REJECT_AUC = 0.95

# Smallest number of groups per class for a meaningful result.
MIN_GROUPS = 20

FOLDS = 5
NEIGHBORS = 15
N_BOOTSTRAP = 500
# More images only cost time; records are ordered by content hash, so the first are a random sample.
MAX_IMAGES = 5000

log = logging.getLogger("Data")


def check_leakage(configuration: Configuration, records: Sequence[ImageRecord]) -> dict[str, dict[str, Any]]:
    """Probe background color, image size and file format.

    Args:
      configuration: Configuration; with AllowDatasetBias, the probe only warns.
      records: source images, ordered by SHA-256.
    Returns:
      {name: result of predict_class_from_artifacts}, for the manifest.
    Raises:
      DataError: `dataset_bias`: one of them alone predicts the class.
    """
    records = [record for record in records if record.background][:MAX_IMAGES]
    formats = sorted({record.format for record in records})
    kinds = {
        translation.mark("background colour"): [record.background for record in records],
        translation.mark("image size"): [(record.width, record.height) for record in records],
        translation.mark("file format"): [[record.format == name for name in formats] for record in records],
    }
    positive_names = class_scheme.as_names(configuration["PositiveClass"])
    positive = [record.class_name in positive_names for record in records]
    groups = [record.group for record in records]
    found = {name: predict_class_from_artifacts(rows, positive, groups) for name, rows in kinds.items()}
    for name, probe in found.items():
        low = lowest(probe)
        if low is None or low < WARN_AUC:
            continue
        what = Message("The {name} alone predicts the class (ROC AUC {auc:.3f})", name=Message(name), auc=probe["auc"])
        if low >= REJECT_AUC and not configuration["AllowDatasetBias"]:
            raise DataError(
                Message(
                    "{what}, so a model would learn it instead of the cells. Run python3 Data.py Check and take "
                    "both classes from the same sources, or continue with --set AllowDatasetBias=true",
                    what=what,
                ),
                "dataset_bias",
            )
        log.warning("Possible dataset bias: %s. Run python3 Data.py Check.", what)
    return found


def predict_class_from_artifacts(rows: Any, positive: Any, groups: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Measure how well some values of an image predict its class, on images of other groups.

    Args:
      rows: [N, F] values.
      positive: bool [N].
      groups: [N] names.
      seed: of the folds and the bootstrap.
    Returns:
      {"auc", "interval": [low, high] of 95 %, bootstrapped by group, "images": N, "note"}. Both values are None if a
      class has too few groups; the interval alone is None if all bootstrap samples have the same AUC.
    """
    rows = numpy.asarray(rows, "float64").reshape(len(positive), -1)
    positive = numpy.asarray(positive, bool)
    members = numpy.unique(numpy.asarray(groups, str), return_inverse=True)[1]
    found: dict[str, Any] = {"auc": None, "interval": None, "images": len(rows), "note": ""}
    fewest = min(len(set(members[positive])), len(set(members[~positive])))
    if fewest < MIN_GROUPS:
        few = f"needs {MIN_GROUPS} source images or patients per class, the smaller class has {fewest}"
        return {**found, "note": few}
    if (rows == rows[0]).all():
        return {**found, "auc": 0.5, "note": translation.mark("the same for all images")}
    scores = _neighbor_scores(rows, positive, members, seed)
    # With MIN_GROUPS per class, a bootstrap sample without one of them is very unlikely, but possible.
    areas = [
        statistics.roc_auc(positive, scores, weights)
        for weights in statistics.bootstrap_group_indices(members, len(rows), seed, N_BOOTSTRAP)
        if weights[positive].any() and weights[~positive].any()
    ]
    interval, note = statistics.bootstrap_interval(areas, len(set(members.tolist())), N_BOOTSTRAP)
    auc = statistics.roc_auc(positive, scores)
    return {**found, "auc": auc, "interval": interval and list(interval), "note": note or ""}


def lowest(probe: dict[str, Any]) -> float | None:
    """Return the AUC that is compared with the limits: the lower end of the interval, else the value, if any."""
    return probe["interval"][0] if probe["interval"] else probe["auc"]


def _neighbor_scores(rows: numpy.ndarray, positive: numpy.ndarray, groups: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Return the weighted fraction of positive images among the nearest ones in other folds, float64 [N]."""
    from sklearn.neighbors import KNeighborsClassifier

    deviation = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / numpy.where(deviation > 0, deviation, 1)
    scores = numpy.empty(len(rows))
    for train, test in statistics.stratified_group_folds(positive, groups, FOLDS, seed):
        model = KNeighborsClassifier(min(NEIGHBORS, len(train) // 2), weights=_inverse_distances)
        scores[test] = model.fit(rows[train], positive[train]).predict_proba(rows[test])[:, -1]
    return scores


def _inverse_distances(distances: numpy.ndarray) -> numpy.ndarray:
    return 1 / (distances + distances.mean() + 1e-9)
