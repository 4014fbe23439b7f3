"""Train a network on the shards and freeze it; a stopped run continues at its last checkpoint."""

import itertools
import logging
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy
import tensorflow as tf

from Classes.common import class_scheme, json_files, locks, provenance, terminal
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, TrainingError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import held_out, shard_index, tfrecords
from Classes.export import freeze_graph
from Classes.networks import checkpoint_files, pretrained_weights, registry, weight_files
from Classes.training import distributed, feature_extraction, loop, mixed_precision, run_folder, run_identity, sampling
from Classes.training.fine_tuning import FineTuner
from Classes.training.linear_probe import LinearProbe
from Classes.training.train_state import TrainState
from Classes.training.trainers import Trainer

# The trainer (None on a worker whose part is done), validation records for the parity check of the frozen graph, and
# the hash of the initial weights.
Setup = tuple[Trainer | None, Iterable[tfrecords.Record], str]

log = logging.getLogger("Trainer")


def train_and_freeze(configuration: Configuration) -> int:
    """Train as configured, then freeze the result.

    Returns:
      Exit code 0.
    Raises:
      ALLError: the data, the weights, the training or the frozen graph are not valid.
    """
    began = time.perf_counter()
    configuration = weight_files.fit_to_weights(configuration)
    strategy = distributed.open_strategy()
    with distributed.translate_peer_failure(strategy):
        if not distributed.is_chief(strategy):
            _run_worker(configuration, strategy)
            return 0
        with locks.folder_lock(configuration.path("LogDir")):
            _run_chief(configuration, strategy)
    seconds = time.perf_counter() - began
    log.info("AML & ALL Detection System Trainer ended in %s", seconds)
    log.info("Next: python3 Validation.py, then python3 Classifier.py")
    terminal.show_end(
        _("Training finished in {duration}.").format(duration=terminal.format_duration(seconds)),
        [(_("Model"), configuration.path("ALLGraph")), (_("Model card"), configuration.card)],
        "python3 Validation.py",
    )
    return 0


def trainable_blocks(configuration: Configuration) -> tuple[str, tuple[str, ...]]:
    """Return the effective value of `TrainableScopes`, and the names of the blocks that it trains.

    Raises:
      ConfigurationError: there is no such block, or only the last layer is trained and has no pretrained backbone.
    """
    network, weights = registry.get_network(configuration), weight_files.resolve_weights(configuration)
    default = network.BLOCKS[-1] if network.HAS_GLOBAL_POOL and weights else "all"
    scopes = configuration["TrainableScopes"] or default
    blocks = registry.trained_blocks(network, scopes)
    if blocks is None:
        raise ConfigurationError(
            Message(
                "TrainableScopes is {scopes}. Use all, {blocks}, or leave it empty.",
                scopes=scopes,
                blocks=", ".join(network.BLOCKS),
            ),
            code="trainable_scopes",
        )
    if blocks == network.BLOCKS[-1:] and not weights:
        raise ConfigurationError(
            Message(
                "TrainableScopes is {scopes}, but there are no pretrained weights for the layers below. Set "
                "Pretrained, or TrainableScopes=all.",
                scopes=scopes,
            ),
            code="pretrained_needed",
        )
    return scopes, blocks


def _run_chief(configuration: Configuration, strategy: tf.distribute.Strategy) -> None:
    """Train, alone or with other workers, and write the results."""
    folder = configuration.path("LogDir")
    manifest = tfrecords.load_manifest_for_training(configuration)
    configuration = tfrecords.fit_to_classes(configuration, manifest)
    held_out.check_test_images(configuration, manifest)
    freeze_graph.warn_about_condition(configuration)
    if sampling.is_balanced(configuration):
        count = len(manifest.splits["train"]) // len(manifest.classes)
        log.info("Balanced sampling: an epoch uses %d images of each class.", count)
    trainer, records, weights_hash = _create_trainer(configuration, manifest, strategy)
    assert trainer is not None, "the chief trains"
    # Only now, because a setting that is refused must not move the run in LogDir.
    identity = run_identity.archive_other_run(configuration, manifest, folder, weights_hash)
    state = _resume(trainer, folder)
    kept = run_folder.open_run(configuration, manifest, identity, state, trainer.steps_per_epoch)
    run = {"identity": identity, "manifest_sha256": manifest.sha256, **provenance.run_metadata(configuration)}
    json_files.write_json(folder / run_folder.RUN, {**run, "folder": kept and kept.name})
    prefix = _train(trainer, configuration, folder, state, kept)
    frozen = TrainState(checkpoint_files.read_checkpoint(prefix))
    freeze_graph.freeze_checkpoint(configuration, manifest, prefix, list(records), frozen, trainer.logits, identity)
    if kept:
        run_folder.finish_run(configuration, kept, prefix, frozen)


def _run_worker(configuration: Configuration, strategy: tf.distribute.Strategy) -> None:
    """Take part in the training, and write nothing."""
    manifest = tfrecords.load_manifest_for_training(configuration)
    configuration = tfrecords.fit_to_classes(configuration, manifest)
    trainer, *_ = _create_trainer(configuration, manifest, strategy)
    if trainer is not None and trainer.distributed:
        folder = configuration.path("LogDir")
        _train(trainer, configuration, folder, _resume(trainer, folder))


def _train(
    trainer: Trainer,
    configuration: Configuration,
    folder: pathlib.Path,
    state: TrainState,
    kept: pathlib.Path | None = None,
) -> Any:
    settings = run_identity.identity_settings(configuration)
    settings |= {key: configuration[key] for key in run_identity.LENGTH_KEYS}
    with mixed_precision.graph_rewrite_scope(trainer.precision):
        return loop.run_training_loop(trainer, configuration, folder, state, settings, kept)


def _create_trainer(
    configuration: Configuration, manifest: tfrecords.Manifest, strategy: tf.distribute.Strategy
) -> Setup:
    tf.keras.utils.set_random_seed(configuration["RandomSeed"])
    tf.config.experimental.enable_op_determinism()
    network = registry.get_network(configuration)
    scopes, blocks = trainable_blocks(configuration)
    pretrained = pretrained_weights.load_pretrained(configuration, network.variable_shapes(configuration, blocks))
    weights_hash = pretrained_weights.backbone_hash(pretrained, network.HEAD)
    if blocks == network.BLOCKS[-1:] and network.HAS_GLOBAL_POOL:
        log.info("Training of the last layer on the backbone's features.")
        terminal.say(_("Training the last layer on {count} images.").format(count=len(manifest.splits["train"])))
        return _create_linear_probe(configuration, manifest, strategy, pretrained, weights_hash)
    part = "the whole network" if blocks == network.BLOCKS else f"{scopes} and the blocks after it"
    log.info("Training %s on %d images.", part, len(manifest.splits["train"]))
    text = _("Training the whole network on {count} images.") if blocks == network.BLOCKS else ""
    text = text or _("Training the network from {block} on with {count} images.")
    terminal.say(text.format(block=scopes, count=len(manifest.splits["train"])))
    with strategy.scope():
        trainer = FineTuner(configuration, manifest, blocks, pretrained)
    return trainer, _parity_records(configuration, manifest), weights_hash


def _parity_records(configuration: Configuration, manifest: tfrecords.Manifest) -> Iterable[tfrecords.Record]:
    records = tfrecords.iter_records(configuration, "validation", manifest)
    return itertools.islice(records, freeze_graph.PARITY_IMAGES)


def _create_linear_probe(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    strategy: tf.distribute.Strategy,
    backbone: Mapping[str, numpy.ndarray],
    weights_hash: str,
) -> Setup:
    images = shard_index.index_shards(manifest, tfrecords.SPLITS)
    features = feature_extraction.extract_features(configuration, backbone, weights_hash, images, strategy)
    features_hash = feature_extraction.cache_key(configuration, weights_hash)
    records = _parity_records(configuration, manifest)
    if features is None:
        return None, records, features_hash
    labels, count = images.labels, len(manifest.splits["train"])
    parts = {"train": numpy.arange(count), "validation": numpy.arange(count, len(images))}
    splits = {split: (features.select(rows), labels[rows]) for split, rows in parts.items()}
    positive = class_scheme.from_configuration(configuration, manifest.classes).positive_indices
    return LinearProbe(configuration, splits, backbone, positive), records, features_hash


def _resume(trainer: Trainer, folder: pathlib.Path) -> TrainState:
    """Restore the last checkpoint, on all workers the checkpoint of the chief, and return its progress."""
    variables = trainer.variables()
    values = _read_checkpoint(variables, folder) if distributed.is_chief(trainer.strategy) else None
    if distributed.rank_and_world_size(trainer.strategy)[1] > 1:
        values = _broadcast_values(trainer.strategy, variables, values)
    if values:
        # Every worker assigns every variable, because assigning is a collective operation.
        for name, variable in variables.items():
            variable.assign(values[name])
    return TrainState(values)


def _read_checkpoint(variables: Iterable[str], folder: pathlib.Path) -> Mapping[str, numpy.ndarray] | None:
    """Read the values of all variables from the last checkpoint; None if there is no checkpoint."""
    found = checkpoint_files.latest_checkpoint(folder)
    if found is None:
        return None
    step, values = found
    # A run that started in another precision has no loss scale yet.
    values = {**{name: value for name, value in mixed_precision.INITIAL_STATE.items() if name in variables}, **values}
    missing = sorted(set(variables) - set(values))
    if missing:
        raise TrainingError(
            Message(
                "{folder}: the checkpoint lacks the variable {missing}. Move the folder away to start a new run.",
                folder=folder,
                missing=missing[0],
            ),
            code="checkpoint_incomplete",
        )
    log.info("Continuing after step %d of %s.", step, folder)
    terminal.say(_("Continuing after step {step}.").format(step=step))
    return values


def _broadcast_values(
    strategy: tf.distribute.Strategy,
    variables: Mapping[str, tf.Variable],
    values: Mapping[str, numpy.ndarray] | None,
) -> dict[str, numpy.ndarray]:
    """Return the chief's `values`, or if it has none its initial variables, together with its progress."""
    progress = TrainState(values).values()
    if values is None:
        values = {name: distributed.local_value(variable).numpy() for name, variable in variables.items()}
    local = {**{name: values[name] for name in variables}, **progress}
    arrays = distributed.broadcast(strategy, [numpy.asarray(each) for each in local.values()])
    return dict(zip(local, arrays, strict=True))
