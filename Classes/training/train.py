"""Transfer learning from the shards to a frozen graph, resumable at every step."""

import contextlib
import hashlib
import itertools
import json
import logging
import time

import numpy
import tensorflow as tf

from Classes.common import atomic_files, provenance
from Classes.common.errors import ConfigurationError, TrainingError
from Classes.dataset import held_out, tfrecords
from Classes.evaluation import tensorboard_events
from Classes.export import freeze_graph
from Classes.networks import checkpoint_files, pretrained_weights, registry
from Classes.training import distributed, feature_extraction, loop, mixed_precision, trainers

# Every key of the configuration stands in exactly one of these lists, see tests/training/test_train.py.
# A run that differs in one of these is another run.
RUN_IDENTITY_KEYS = (
    "EmaDecay",
    "AuxiliaryWeight",
    "BatchNormDecay",
    "BatchSize",
    "ClassWeights",
    "DepthMultiplier",
    "DistortionArea",
    "DistortionBrightness",
    "DistortionContrast",
    "DistortionFlip",
    "DistortionHue",
    "DistortionRotation",
    "DistortionSaturation",
    "DistortionStain",
    "DropoutRate",
    "EpochsBeforeDecay",
    "GradientClip",
    "GradientAccumulationSteps",
    "ImageSize",
    "LabelSmoothing",
    "LearningRate",
    "LearningRateDecay",
    "Mean",
    "Network",
    "NumClasses",
    "Pretrained",
    "RandomSeed",
    "SampleBits",
    "Schedule",
    "TrainableScopes",
    "TrainingPrecision",
    "WarmupEpochs",
    "WeightDecay",
)

# They change a run through what they lead to, which is a part of its identity: `Precision` through feature_extraction.key,
# `NetworkPath` through the weights found there, the others through the manifest's hash.
THROUGH = (
    "Classes",
    "DatasetDir",
    "GroupPattern",
    "AllowDatasetBias",
    "MaxPixels",
    "MaxSide",
    "NetworkPath",
    "Precision",
    "Shards",
    "TestImagePath",
    "TFRecordFile",
    "ValidationSize",
    "ValidIType",
)

# They say how long a run lasts: the same run goes on, or ends earlier.
LENGTH = ("Epochs", "Patience")

# They change no weights: the graph that a run ends with is calibrated and published again every time.
CALIBRATION = (
    "MinimumSpecificity",
    "PositiveClass",
    "TargetConfidence",
    "TargetSensitivity",
    "UncertainLimit",
    "UncertainErrorRate",
)

# They change no model.
NEUTRAL = (
    "ALLGraph",
    "AllowedHosts",
    "AllowedOrigins",
    "AllowWithoutApiKey",
    "ApiKeyFile",
    "BatchTestSize",
    "CacheDir",
    "RateLimitPerMinute",
    "Capture",
    "CaptureDir",
    "CaptureMaxBytes",
    "RequestTimeout",
    "Device",
    "Domain",
    "ShutdownTimeout",
    "EpochsDevCloud",
    "EpochsTest",
    "ExportDir",
    "FeatureCache",
    "InceptionGraph",
    "InceptionThreshold",
    "IP",
    "Labels",
    "LogDir",
    "LogDirEval",
    "LogEvery",
    "Logs",
    "MaxBatch",
    "MaxBody",
    "MqttBroker",
    "MqttBuffer",
    "MqttPasswordFile",
    "MqttPort",
    "MqttTls",
    "MqttTopic",
    "MqttUser",
    "Port",
    "Prevalence",
    "QuantizeImages",
    "QuantizeMargin",
    "QuantizeProof",
    "ReportDir",
    "SaveSeconds",
    "ServerWorkers",
    "StickCompiler",
    "TrustedProxy",
    "MaxQueued",
    "Workers",
)

log = logging.getLogger("Trainer")


def train_and_freeze(configuration):
    """Train as configured, then freeze.

    Args:
      configuration: Configuration.
    Returns:
      exit code 0.
    Raises:
      ALLError: of the data, the weights, the training or the frozen graph.
    """
    began = time.perf_counter()
    strategy = distributed.open_strategy()
    with distributed.translate_peer_failure(strategy):
        if distributed.is_chief(strategy):
            with atomic_files.folder_lock(configuration.path("LogDir")):
                _run_chief(configuration, strategy)
        else:
            _run_worker(configuration, strategy)
            return 0
    log.info("AML & ALL Detection System Trainer ended in %s", time.perf_counter() - began)
    log.info("Next: python3 Validation.py, then python3 Classifier.py")
    return 0


def _run_chief(configuration, strategy):
    """Train, alone or with other workers, and write all there is to write."""
    folder = configuration.path("LogDir")
    manifest = tfrecords.load_manifest_for_training(configuration)
    held_out.check_test_images(configuration, manifest)
    _seed(configuration["RandomSeed"])
    learner, records, foundation = _learner(configuration, manifest, strategy)
    # Not before the settings have proven sound: a mistyped one moves nobody's run.
    identity = _archive_if_changed(configuration, manifest, folder, foundation)
    progress = _resume(learner, folder, strategy)
    about = {"identity": identity, "manifest_sha256": manifest.sha256, **provenance.run_metadata(configuration)}
    atomic_files.write_json(folder / "run.json", about)
    with mixed_precision.graph_rewrite_scope(learner.precision):
        prefix = loop.run_training_loop(learner, configuration, folder, progress, _run_settings(configuration))
    frozen = loop.TrainState(checkpoint_files.read_checkpoint(prefix))
    freeze_graph.freeze_checkpoint(configuration, manifest, prefix, list(records), frozen, learner.logits, identity)


def _run_worker(configuration, strategy):
    """Do a worker's part, and write nothing."""
    _seed(configuration["RandomSeed"])
    learner, *_ = _learner(configuration, tfrecords.load_manifest_for_training(configuration), strategy)
    # The last layer is the chief's alone: it takes seconds once the features are there.
    if isinstance(learner, trainers.FineTuner):
        progress = _resume(learner, configuration.path("LogDir"), strategy)
        with mixed_precision.graph_rewrite_scope(learner.precision):
            loop.run_training_loop(
                learner, configuration, configuration.path("LogDir"), progress, _run_settings(configuration)
            )


def _run_settings(configuration):
    """What makes a run the one it is, and how long it is to last."""
    return {key: configuration[key] for key in (*RUN_IDENTITY_KEYS, *LENGTH)}


def _archive_if_changed(configuration, manifest, folder, foundation):
    """What tells this run from others; checkpoints of another run are moved aside, never mixed in.

    `foundation` is the hash of the weights it starts from, or of what its features depend on. A checkpoint that saw
    other training images would make the validation metrics too good, and a last layer that learned on one backbone's
    features says nothing sound about another's.
    """
    keys = {key: configuration[key] for key in RUN_IDENTITY_KEYS}
    text = json.dumps({"manifest": manifest.sha256, "foundation": foundation, **keys}, sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()
    try:
        saved = atomic_files.read_json(folder / "run.json").get("identity")
    except (OSError, ValueError, AttributeError):
        saved = None
    moving = folder.with_name(f".{folder.name}-moving")
    # Where it exists, a run was killed while it moved one aside; the rest has to follow.
    if moving.exists() or (saved != identity and checkpoint_files.saved_steps(folder)):
        aside = _archive(folder, moving)
        log.info("%s holds a run on other data or with other settings; it was moved to %s.", folder, aside)
    return identity


def _archive(folder, moving):
    """Move what a run wrote into a folder to the next free name beside it, which it has once it is whole; returns that.

    Whatever else is there stays: other files of the user's, and outputs of other commands.
    """
    moving.mkdir(exist_ok=True)
    for path in _written(folder):
        target = moving / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        atomic_files.put(path, target)
    with contextlib.suppress(OSError):
        (folder / loop.BEST).rmdir()
    number = 1
    while (aside := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return moving.rename(aside)


def _written(folder):
    """The files that Trainer.py writes into `LogDir`."""
    best = checkpoint_files.checkpoint_files(folder / loop.BEST)
    found = [
        folder / "run.json",
        *checkpoint_files.checkpoint_files(folder),
        *best,
        *tensorboard_events.event_files(folder),
    ]
    return [path for path in found if path.is_file()]


def _seed(seed):
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _learner(configuration, manifest, strategy):
    """(Learner, the records that the frozen graph is checked on, hash of what the learner rests on)."""
    network = registry.get_network(configuration)
    scopes, blocks = trainable_blocks(configuration)
    pretrained = pretrained_weights.load_pretrained(configuration, network.variable_shapes(configuration, blocks))
    if blocks == network.BLOCKS[-1:] and network.HAS_GLOBAL_POOL:
        log.info("Training of the last layer on the backbone's features.")
        return _last_layer(configuration, manifest, pretrained, strategy)
    log.info("Training of %s end to end, %d images.", scopes, len(manifest.splits["train"]))
    first = itertools.islice(tfrecords.iter_records(configuration, "validation"), freeze_graph.PARITY_IMAGES)
    # Until the first checkpoint holds all weights, and after the last one, these decide what comes out.
    foundation = pretrained_weights.backbone_hash(pretrained, network.HEAD)
    with strategy.scope():
        return trainers.FineTuner(configuration, manifest, blocks, pretrained), first, foundation


def trainable_blocks(configuration):
    """What a configuration trains: (`TrainableScopes`, or what it means when empty; its blocks).

    Raises:
      ConfigurationError: there is no such block, or only the last is trained and there are no weights under it.
    """
    network, weights = registry.get_network(configuration), pretrained_weights.resolve_weights(configuration)
    meant = network.BLOCKS[-1] if network.HAS_GLOBAL_POOL and weights else "all"
    scopes = configuration["TrainableScopes"] or meant
    blocks = registry.trained_blocks(network, scopes)
    if blocks is None:
        known = ", ".join(network.BLOCKS)
        raise ConfigurationError(f"TrainableScopes is {scopes}; allowed: all, {known}, or nothing")
    if blocks == network.BLOCKS[-1:] and not weights:
        raise ConfigurationError(f"TrainableScopes is {scopes} and there are no pretrained weights under it; give some")
    return scopes, blocks


def _last_layer(configuration, manifest, pretrained, strategy):
    records = {split: list(tfrecords.iter_records(configuration, split)) for split in ("train", "validation")}
    everything = {record.sha256: record for split in records.values() for record in split}
    identity = pretrained_weights.backbone_hash(pretrained, registry.get_network(configuration).HEAD)
    features = feature_extraction.extract_features(configuration, pretrained, identity, everything, strategy)
    splits = {
        split: (
            numpy.stack([features[record.sha256] for record in found]),
            numpy.array([record.label for record in found], "int64"),
        )
        for split, found in records.items()
    }
    positive = manifest.classes.index(configuration["PositiveClass"])
    learner = trainers.LinearProbe(configuration, splits, pretrained, positive)
    return learner, records["validation"][: freeze_graph.PARITY_IMAGES], feature_extraction.key(configuration, identity)


def _resume(learner, folder, strategy):
    """Go on at the last checkpoint, all workers at the chief's."""
    variables = learner.variables()
    values = _checkpoint(variables, folder) if distributed.is_chief(strategy) else None
    progress = loop.TrainState(values)
    if distributed.rank_and_world_size(learner.strategy)[1] > 1:
        # All assign alike, since assigning is a matter between workers too.
        numbers = progress.values()
        mine = {
            name: values[name] if values else distributed.local_value(each).numpy() for name, each in variables.items()
        }
        arrays = [numpy.asarray(each) for each in (*numbers.values(), *mine.values())]
        arrays = distributed.broadcast(strategy, arrays)
        progress = loop.TrainState(dict(zip(numbers, arrays, strict=False)))
        values = dict(zip(mine, arrays[len(numbers) :], strict=True))
    for name, variable in variables.items() if values else ():
        variable.assign(values[name])
    return progress


def _checkpoint(variables, folder):
    """The last checkpoint, which has to hold all `variables`; None where there is none."""
    found = checkpoint_files.latest_checkpoint(folder)
    if found is None:
        return None
    step, values = found
    # A run goes on in f16 that a machine without began.
    values = {**{name: value for name, value in mixed_precision.INITIAL_STATE.items() if name in variables}, **values}
    lacking = sorted(set(variables) - set(values))
    if lacking:
        raise TrainingError(f"{folder}: its checkpoint lacks {lacking[0]}; move the folder away to train anew")
    log.info("Continuing after step %d of %s.", step, folder)
    return values
