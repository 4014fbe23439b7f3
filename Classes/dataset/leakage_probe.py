"""Leakage probe: how well background color, image size and file format alone predict the class.

A network learns such a difference, scores well on validation data from the same source, and knows nothing about
blood. The probe predicts the class of each image from its nearest neighbors, which are images of other groups.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from Classes.common import class_scheme, statistics, translation
from Classes.common.config import Configuration
from Classes.common.errors import DataError, escape_control_chars
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

_NO_POSITIVE = Message("no class means disease (PositiveClass)")
_CONSTANT = Message("the same for all images")
_FEW_PER_CLASS = translation.mark("needs {least} source images or patients per class, the smaller class has {fewest}")
_FEW_PER_SIDE = translation.mark(
    "needs {least} source images or patients of this class and of the others, the smaller side has {fewest}"
)

log = logging.getLogger("Data")


def check_leakage(configuration: Configuration, records: Sequence[ImageRecord]) -> dict[str, dict[str, Any]]:
    """Probe background color, image size and file format.

    Args:
      configuration: Configuration; with AllowDatasetBias, the probe only warns.
      records: source images, ordered by SHA-256.
    Returns:
      result of `probe_artifacts`, for the manifest.
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
    found = probe_artifacts(configuration, kinds, [record.class_name for record in records], [r.group for r in records])
    for name, probe in found.items():
        predictable = predictable_classes(probe, WARN_AUC)
        if not predictable:
            continue
        what = Message("The {name} alone predicts the class ({found})", name=Message(name), found=describe(predictable))
        if (lowest(predictable[0][1]) or 0) >= REJECT_AUC and not configuration["AllowDatasetBias"]:
            raise DataError(
                Message(
                    "{what}, so a model would learn it instead of the cells. Run python3 Data.py Check and take "
                    "all classes from the same sources, or continue with --set AllowDatasetBias=true",
                    what=what,
                ),
                "dataset_bias",
            )
        log.warning("Possible dataset bias: %s. Run python3 Data.py Check.", what)
    return found


def probe_artifacts(
    configuration: Configuration, kinds: Mapping[str, Any], class_names: Sequence[str], groups: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Measure how well each kind of values predicts the class.

    Args:
      configuration: Configuration.
      kinds: {name: [N, F] values of the images}.
      class_names, groups: [N].
    Returns:
      {name: result of `predict_class_from_artifacts` for `PositiveClass`}; with more than two classes, it has also
      "classes", {class: the same for this class}.
    """
    wanted = class_scheme.configured_positive(configuration)
    positive = [name in wanted for name in class_names]
    found = {}
    for kind, rows in kinds.items():
        found[kind] = predict_class_from_artifacts(rows, positive, groups)
        if not wanted:
            found[kind]["note"] = _NO_POSITIVE
        if len(set(class_names)) > 2:
            classes = predict_each_class_from_artifacts(rows, class_names, groups)
            # One positive class against the rest has one result.
            classes |= {name: dict(found[kind]) for name in wanted if len(wanted) == 1 and name in classes}
            found[kind]["classes"] = classes
    return found


def predictable_classes(probe: Mapping[str, Any], limit: float) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (class, its probe) of what is predicted at least as well as a limit, the best first.

    Args:
      probe: of `probe_artifacts`; the class is "" for `PositiveClass` against the rest.
      limit: ROC AUC, which `lowest` has to reach.
    """
    each = {"": probe, **probe.get("classes", {})}
    found = [(name, one) for name, one in each.items() if (lowest(one) or 0) >= limit]
    # If one class is positive, its name says more.
    if any(name and all(one[key] == probe[key] for key in ("auc", "interval")) for name, one in found):
        found = [(name, one) for name, one in found if name]
    return sorted(found, key=lambda one: -(lowest(one[1]) or 0))


def describe(predictable: Sequence[tuple[str, Mapping[str, Any]]]) -> Message:
    """Return classes of `predictable_classes` as a text with the area of each."""
    return translation.join(
        ", ",
        [
            Message("{name}: ROC AUC {auc:.3f}", name=escape_control_chars(name), auc=probe["auc"])
            if name
            else Message("ROC AUC {auc:.3f}", auc=probe["auc"])
            for name, probe in predictable
        ],
    )


def interval_text(probe: Mapping[str, Any]) -> Message:
    """Return the 95 % interval of a probe, or why there is none."""
    if not probe["interval"]:
        # In an audit that was read from its file, the note is plain text; audits of earlier versions have no note.
        note = probe.get("note") or ""
        return note if isinstance(note, Message) else Message(note)
    low, high = probe["interval"]
    return Message("{low:.3f} to {high:.3f}", low=low, high=high)


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
    rows = _table(rows, len(positive))
    positive = numpy.asarray(positive, bool)
    members = numpy.unique(numpy.asarray(groups, str), return_inverse=True)[1]
    found: dict[str, Any] = {"auc": None, "interval": None, "images": len(rows), "note": ""}
    fewest = _fewest_groups(positive, members)
    if fewest < MIN_GROUPS:
        return {**found, "note": Message(_FEW_PER_CLASS, least=MIN_GROUPS, fewest=fewest)}
    if (rows == rows[0]).all():
        return {**found, "auc": 0.5, "note": _CONSTANT}
    scores = _neighbor_scores(rows, positive, members, seed)
    return {**found, **_measure(positive, scores, members, seed)}


def predict_each_class_from_artifacts(
    rows: Any, class_names: Sequence[str], groups: Sequence[str], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Measure how well some values of an image tell each class from all others, on images of other groups.

    Args:
      rows, groups, seed: as for `predict_class_from_artifacts`.
      class_names: [N].
    Returns:
      {class: as the result of `predict_class_from_artifacts`}; the value of a class with too few groups is None.
    """
    rows, members = _table(rows, len(class_names)), numpy.unique(numpy.asarray(groups, str), return_inverse=True)[1]
    names, labels = numpy.unique(numpy.asarray(class_names, str), return_inverse=True)
    sizes = {label: _fewest_groups(labels == label, members) for label in range(len(names))}
    probed = [label for label, size in sizes.items() if size >= MIN_GROUPS]
    # Images of rare classes are only the others of a class.
    strata = numpy.where(numpy.isin(labels, probed), labels, -1)
    constant = bool(len(rows)) and bool((rows == rows[0]).all())
    scores = _class_scores(rows, strata, members, seed) if probed and not constant else {}
    found: dict[str, dict[str, Any]] = {}
    for label, name in enumerate(names.tolist()):
        found[name] = {"auc": None, "interval": None, "images": int((labels == label).sum()), "note": ""}
        if label not in probed:
            found[name]["note"] = Message(_FEW_PER_SIDE, least=MIN_GROUPS, fewest=sizes[label])
        elif constant:
            found[name] |= {"auc": 0.5, "note": _CONSTANT}
        else:
            found[name] |= _measure(labels == label, scores[label], members, seed)
    return found


def _table(rows: Any, count: int) -> numpy.ndarray:
    return numpy.asarray(rows, "float64").reshape(count, -1)


def _fewest_groups(positive: numpy.ndarray, members: numpy.ndarray) -> int:
    return min(len(set(members[positive])), len(set(members[~positive])))


def _measure(positive: numpy.ndarray, scores: numpy.ndarray, members: numpy.ndarray, seed: int) -> dict[str, Any]:
    """Return {"auc", "interval", "note"} of scores."""
    order = statistics.score_order(scores)
    drawn = statistics.bootstrap_group_weights(members, len(scores), seed, N_BOOTSTRAP)
    areas = numpy.concatenate([statistics.roc_auc_of_samples(positive, weights, order) for weights in drawn])
    # With MIN_GROUPS per class, a bootstrap sample without one of them is very unlikely, but possible.
    areas = areas[~numpy.isnan(areas)]
    interval, note = statistics.bootstrap_interval(areas.tolist(), len(set(members.tolist())), N_BOOTSTRAP)
    auc = statistics.roc_auc(positive, scores)
    return {"auc": auc, "interval": interval and list(interval), "note": Message(note) if note else ""}


def lowest(probe: Mapping[str, Any]) -> float | None:
    """Return the AUC that is compared with the limits: the lower end of the interval, else the value, if any."""
    return probe["interval"][0] if probe["interval"] else probe["auc"]


def _neighbor_scores(rows: numpy.ndarray, positive: numpy.ndarray, groups: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Return the weighted fraction of positive images among the nearest ones in other folds, float64 [N]."""
    return _class_scores(rows, positive, groups, seed)[True]


def _class_scores(
    rows: numpy.ndarray, labels: numpy.ndarray, groups: numpy.ndarray, seed: int
) -> dict[Any, numpy.ndarray]:
    """Return the weighted fraction of each class among the nearest images in other folds, {label: float64 [N]}."""
    from sklearn.neighbors import KNeighborsClassifier

    deviation = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / numpy.where(deviation > 0, deviation, 1)
    scores = {label: numpy.zeros(len(rows)) for label in numpy.unique(labels).tolist()}
    for train, test in statistics.stratified_group_folds(_strata(labels), groups, FOLDS, seed):
        model = KNeighborsClassifier(min(NEIGHBORS, len(train) // 2), weights=_inverse_distances)
        fractions = model.fit(rows[train], labels[train]).predict_proba(rows[test])
        for label, column in zip(model.classes_.tolist(), fractions.T, strict=True):
            scores[label][test] = column
    return scores


def _strata(labels: numpy.ndarray) -> numpy.ndarray:
    """Return the labels by which the folds are stratified: one with fewer images than folds joins the largest."""
    values, counts = numpy.unique(labels, return_counts=True)
    rare = values[counts < FOLDS]
    return numpy.where(numpy.isin(labels, rare), values[counts.argmax()], labels) if len(rare) else labels


def _inverse_distances(distances: numpy.ndarray) -> numpy.ndarray:
    return 1 / (distances + distances.mean() + 1e-9)
