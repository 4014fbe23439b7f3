"""Cross-validation: a last layer predicts every source image without having seen any image of its group."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import json_files, locks, logs, statistics, terminal
from Classes.common.conditions import Condition
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import grouping, shard_index, tfrecords
from Classes.dataset.manifest_rows import ManifestRows
from Classes.evaluation import calibration, classification_metrics, color_baseline, multiclass_tables
from Classes.networks import pretrained_weights, registry, weight_files
from Classes.training import feature_extraction, feature_store, fold_summary, linear_probe, train

log = logging.getLogger("Validation")


def cross_validate(configuration: Configuration, count: int) -> int:
    """Train the last layer `count` times, each time without the groups of one fold, and evaluate it on that fold.

    The folds divide the images of both splits. Augmented views are used for training only. Every training runs all
    `Epochs`, because early stopping (`Patience`) would select an epoch on the images that are evaluated. The result is
    written to folds.json in `LogDirEval`, for the report.

    Args:
      configuration: Configuration.
      count: number of folds.
    Returns:
      Exit code 0.
    Raises:
      ConfigurationError: the configuration trains more than the last layer, or there are too few groups.
      ALLError: the data or the weights are not valid.
    """
    configuration = weight_files.fit_to_weights(configuration)
    manifest = tfrecords.load_manifest_for_training(configuration)
    configuration = tfrecords.fit_to_classes(configuration, manifest)
    _require_last_layer_only(configuration)
    items = ManifestRows(item for split in tfrecords.SPLITS for item in manifest.splits[split])
    labels = items.labels()
    folds = stratified_group_folds(labels, [item["group"] for item in items], count, configuration["RandomSeed"])
    folder = configuration.path("LogDirEval")
    with locks.folder_lock(folder):
        log.info(Helpers.DISCLAIMER)
        features = _features(configuration, manifest, items)
        is_source = numpy.array([not grouping.is_augmented_view(item["file"]) for item in items])
        predictions = []
        for number, (others, rows) in enumerate(logs.progress(folds, desc=_("Folds"), unit="fold"), 1):
            rows = rows[is_source[rows]]
            predictions.append((rows, _train_fold(configuration, features, labels, others, rows)))
            log.info("Fold %d of %d: %d source images evaluated.", number, count, len(rows))
        summary = fold_summary.summarize(configuration, manifest, items, folds, predictions)
        terminal.print_lines(["", *format_table(summary, configuration.condition), ""])
        warning = color_baseline.find_warning(summary["color_baseline"])
        if warning:
            log.warning("%s", warning)
        json_files.write_json(folder / "folds.json", json_files.with_checksum(summary))
    log.info("Wrote %s", folder / "folds.json")
    log.info("Next: python3 Validation.py, which adds the folds to the report")
    terminal.show_end(
        _("Cross-validated the last layer with {count} folds.").format(count=count),
        [(_("Folds"), folder / "folds.json")],
        "python3 Validation.py",
    )
    return 0


def _require_last_layer_only(configuration: Configuration) -> None:
    network = registry.get_network(configuration)
    if not network.HAS_GLOBAL_POOL:
        raise ConfigurationError(
            Message(
                "Folds trains only the last layer, on cached features, which {network} does not have. Use "
                "Network=InceptionV3.",
                network=configuration["Network"],
            ),
            code="last_layer_only",
        )
    scopes, blocks = train.trainable_blocks(configuration)
    if blocks != network.BLOCKS[-1:]:
        raise ConfigurationError(
            Message(
                "Folds trains only the last layer, but TrainableScopes is {scopes}. Set "
                "TrainableScopes={blocks} and provide pretrained weights.",
                scopes=scopes,
                blocks=network.BLOCKS[-1],
            ),
            code="last_layer_only",
        )


def stratified_group_folds(
    labels: numpy.ndarray, groups: Sequence[str], count: int, seed: int
) -> list[fold_summary.Fold]:
    """Divide images into folds with about the same fraction of every class; each group is in one fold.

    Args:
      labels: int [N].
      groups: N names.
      count: number of folds.
      seed: of the shuffling.
    Returns:
      The folds; the rows are in ascending order.
    Raises:
      ConfigurationError: a class has fewer groups than there are folds.
    """
    most = statistics.smallest_class_groups(labels, groups)
    if not 2 <= count <= most:
        raise ConfigurationError(
            Message(
                "Cannot make {count} folds, because the smallest class has {most} groups. Use 2 to {most}.",
                count=count,
                most=most,
            ),
            code="fold_count",
        )
    return statistics.stratified_group_folds(labels, groups, count, seed)


def format_table(folds: dict[str, Any], condition: Condition) -> list[str]:
    """Return the metrics of each fold and of all folds pooled as lines of text; `folds` is as in folds.json."""
    names = classification_metrics.fold_head(folds)[1:]
    rows = [("fold", *names), *classification_metrics.fold_rows(folds)]
    widths = [max(len(name), 7) for name in names]
    lines = [
        *("  ".join([f"{row[0]:8}", *map("{:>{}}".format, row[1:], widths)]) for row in rows),
        "",
        "All folds pooled, with one prediction per source image:",
        "",
    ]
    if "counts" in folds["together"]:
        lines += classification_metrics.format_table(folds["together"], condition)
    lines += ["", *color_baseline.describe(folds.get("color_baseline"))]
    if folds.get("multiclass"):
        lines += ["", *multiclass_tables.format_both(folds["multiclass"])]
    return lines


def _features(
    configuration: Configuration, manifest: tfrecords.Manifest, items: ManifestRows
) -> feature_store.FeatureRows:
    """Return the features of all images of both splits, float32 [N, F], in the order of `items`."""
    network = registry.get_network(configuration)
    backbone = pretrained_weights.load_pretrained(configuration, network.variable_shapes(configuration))
    weights_hash = pretrained_weights.backbone_hash(backbone, network.HEAD)
    images = shard_index.index_shards(manifest, tfrecords.SPLITS)
    images = images.select(shard_index.find_rows(images.hashes, items.hashes()))
    features = feature_extraction.extract_features(configuration, backbone, weights_hash, images)
    assert features is not None, "there is only this process"
    return features


def _train_fold(
    configuration: Configuration,
    features: feature_store.Features,
    labels: numpy.ndarray,
    others: numpy.ndarray,
    rows: numpy.ndarray,
) -> numpy.ndarray:
    """Train a last layer on the rows `others` and return the probabilities of `rows`, float [N, classes]."""
    parts = {"train": others, "validation": rows}
    splits = {split: (feature_store.select(features, each), labels[each]) for split, each in parts.items()}
    trainer = linear_probe.LinearProbe(configuration, splits, {})
    for epoch in range(configuration["Epochs"]):
        trainer.train_epoch(epoch)
    return calibration.softmax_at_temperature(trainer.logits(trainer.network()))
