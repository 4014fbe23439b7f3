"""Cross-validation: every original is judged once, by a last layer that saw neither it nor anything of its group."""

import logging
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import atomic_files, provenance, statistics
from Classes.common.errors import ConfigurationError
from Classes.dataset import grouping, tfrecords
from Classes.evaluation import calibration, classification_metrics, operating_point
from Classes.inference import prediction
from Classes.networks import pretrained_weights, registry
from Classes.training import feature_extraction, train, trainers

log = logging.getLogger("Validation")


def cross_validate(configuration, count):
    """Train the last layer `count` times, each time on all groups but those of one fold, and measure it on that fold.

    Both splits are put together; views are trained on and not measured, as ever. Each training has all its `Epochs`:
    an early stop (`Patience`) would choose with the very images that are measured. Writes folds.json to `LogDirEval`,
    for the report.

    Args:
      configuration: Configuration.
      count: how many folds.
    Returns:
      exit code 0.
    Raises:
      ConfigurationError: the configuration trains more than the last layer, or there are too few groups.
      ALLError: of the data or the weights.
    """
    manifest = tfrecords.load_manifest_for_training(configuration)
    network = registry.get_network(configuration)
    if not network.HAS_GLOBAL_POOL:
        raise ConfigurationError(f"Folds trains the last layer on kept features; {configuration['Network']} has none")
    scopes, blocks = train.trainable_blocks(configuration)
    if blocks != network.BLOCKS[-1:]:
        raise ConfigurationError(
            f"Folds trains the last layer on kept features, the configuration trains {scopes}, which would be {count} "
            f"whole trainings; set TrainableScopes={network.BLOCKS[-1]} and give pretrained weights"
        )
    items = [item for split in tfrecords.SPLITS for item in manifest.splits[split]]
    labels = numpy.array([item["label"] for item in items], "int64")
    parts = stratified_group_folds(labels, [item["group"] for item in items], count, configuration["RandomSeed"])
    folder = configuration.path("LogDirEval")
    with atomic_files.folder_lock(folder):
        log.info(Helpers.DISCLAIMER)
        features = _features(configuration, manifest)
        measured = numpy.array([not grouping.is_augmented_view(item["file"]) for item in items])
        judged = []
        for number, (others, rows) in enumerate(Helpers.progress(parts, desc="Folds", unit="fold"), 1):
            rows = rows[measured[rows]]
            probabilities = _train_fold(configuration, features, labels, others, rows)
            judged.append((rows, probabilities))
            log.info("Fold %d of %d: %d originals judged.", number, count, len(rows))
        found = _summarize(configuration, manifest, items, judged)
        print("", *format_table(found), "", sep="\n")
        atomic_files.write_json(folder / "folds.json", atomic_files.with_checksum(found))
    log.info("Wrote %s", folder / "folds.json")
    log.info("Next: python3 Validation.py, which puts them into the report")
    return 0


def stratified_group_folds(labels, groups, count, seed):
    """Folds with about the same share of every class, no group in two of them.

    Args:
      labels: int [N].
      groups: [N] names.
      count: how many folds.
      seed: of the shuffling.
    Returns:
      list of (rows of all other folds, rows of the fold), each fold's rows in ascending order.
    Raises:
      ConfigurationError: a class has fewer groups than there are folds.
    """
    most = statistics.smallest_class_groups(labels, groups)
    if not 2 <= count <= most:
        raise ConfigurationError(
            f"{count} folds: from 2 to {most} are possible, as many as the rarest class has groups"
        )
    return statistics.stratified_group_folds(labels, groups, count, seed)


def format_table(folds: dict[str, Any]) -> list[str]:
    """Return the metrics of each fold and of all folds pooled as lines of text; `folds` is as in folds.json."""
    names = [classification_metrics.METRIC_NAMES[key] for key in classification_metrics.FOLD_METRICS]
    rows = [("fold", *names), *classification_metrics.fold_rows(folds)]
    widths = [max(len(name), 7) for name in names]
    return [
        *("  ".join([f"{row[0]:8}", *map("{:>{}}".format, row[1:], widths)]) for row in rows),
        "",
        "All folds pooled, with one prediction per source image:",
        "",
        *classification_metrics.format_table(folds["together"]),
    ]


def _features(configuration, manifest):
    """The backbone's features of all images of both splits, float32 [N, F], in the manifest's order."""
    network = registry.get_network(configuration)
    backbone = pretrained_weights.load_pretrained(configuration, network.variable_shapes(configuration))
    records = {
        record.sha256: record for name in tfrecords.SPLITS for record in tfrecords.iter_records(configuration, name)
    }
    identity = pretrained_weights.backbone_hash(backbone, network.HEAD)
    found = feature_extraction.extract_features(configuration, backbone, identity, records)
    return numpy.stack([found[item["sha256"]] for name in tfrecords.SPLITS for item in manifest.splits[name]])


def _train_fold(configuration, features, labels, others, rows):
    """Probabilities of the images of a fold, float [N, classes], by a last layer trained on the others."""
    sides = {"train": (features[others], labels[others]), "validation": (features[rows], labels[rows])}
    learner = trainers.LinearProbe(configuration, sides, {})
    for epoch in range(configuration["Epochs"]):
        learner.train_epoch(epoch)
    with learner.averaged():
        return calibration.softmax_at_temperature(learner.logits(learner.network()))


def _summarize(configuration, manifest, items, judged):
    """What folds.json holds; `judged` is a list of (rows, probabilities) a fold."""
    positive = manifest.classes.index(configuration["PositiveClass"])

    def measure(rows, probabilities):
        scores = probabilities[:, positive]
        truths = [items[row]["label"] == positive for row in rows]
        groups = [items[row]["group"] for row in rows]
        rest = groups, configuration["RandomSeed"], configuration["Prevalence"]
        return classification_metrics.evaluate_predictions(
            truths, scores, prediction.apply_threshold(scores, operating_point.DEFAULT_THRESHOLD), *rest
        )

    folds = [measure(*each) for each in judged]
    together = measure(*(numpy.concatenate(each) for each in zip(*judged, strict=True)))
    values = {
        key: [fold[key]["value"] for fold in folds if fold[key]["value"] is not None]
        for key in classification_metrics.FOLD_METRICS
    }
    return {
        "notice": Helpers.DISCLAIMER,
        "network": configuration["Network"],
        "manifest_sha256": manifest.sha256,
        "synthetic": manifest.synthetic,
        "threshold": operating_point.DEFAULT_THRESHOLD,
        "created": provenance.utc_now_iso(),
        "folds": folds,
        "mean": {key: float(numpy.mean(each)) if each else None for key, each in values.items()},
        "spread": {key: float(numpy.std(each, ddof=1)) if len(each) > 1 else None for key, each in values.items()},
        "together": together,
    }
