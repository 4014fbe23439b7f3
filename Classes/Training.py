"""Transfer learning from the shards to a frozen graph, resumable at every step."""

import contextlib
import hashlib
import itertools
import json
import logging
import math
import time

import numpy
import tensorflow as tf

from Classes import (
    Checkpoints,
    Features,
    Files,
    Freezing,
    Helpers,
    Learners,
    OpenVINO,
    Pretrained,
    Provenance,
    Shards,
    inception_utils,
    inception_v3,
)
from Classes.Errors import ConfigurationError, TrainingError

# A run that differs in one of these is another run; what is left out only says how long, how often or where.
IDENTITY = (
    "AuxiliaryWeight",
    "BatchNormDecay",
    "BatchSize",
    "DepthMultiplier",
    "DistortionArea",
    "DropoutKeep",
    "EpochsBeforeDecay",
    "ImageSize",
    "LearningRate",
    "LearningRateDecay",
    "Mean",
    "NumClasses",
    "Pretrained",
    "RandomSeed",
    "TrainableScopes",
    "WeightDecay",
)

log = logging.getLogger("Trainer")
steps_log = logging.getLogger("tensorflow")


def run(configuration):
    """Train as configured, then freeze.

    Args:
      configuration: Configuration.
    Returns:
      exit code 0.
    Raises:
      ALLError: of the data, the weights, the training or the frozen graph.
    """
    began = time.perf_counter()
    folder = configuration.path("LogDir")
    with Files.lock(folder):
        manifest = Shards.manifest(configuration)
        identity = _same_run(configuration, manifest, folder)
        _seed(configuration["RandomSeed"])
        learner, records = _learner(configuration, manifest)
        progress = _resume(learner, folder)
        about = {"identity": identity, "manifest_sha256": manifest.sha256, **Provenance.describe(configuration)}
        Files.write_json(folder / "run.json", about)
        with precision(learner, configuration):
            prefix = fit(learner, configuration, folder, progress)
        Freezing.freeze(configuration, manifest, prefix, list(records), progress)
    log.info("AML & ALL Detection System Trainer ended in %s", time.perf_counter() - began)
    log.info("Next: python3 Validation.py, then python3 Classifier.py")
    return 0


def _same_run(configuration, manifest, folder):
    """What tells this run from others; checkpoints of another run are moved aside, never mixed in.

    A checkpoint that has seen other training images would make the validation figures too good.
    """
    keys = {key: configuration[key] for key in IDENTITY}
    text = json.dumps({"manifest": manifest.sha256, **keys}, sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()
    try:
        saved = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("identity")
    except (OSError, ValueError):
        saved = None
    if saved != identity and Checkpoints.steps(folder):
        number = 1
        while (aside := folder.with_name(f"{folder.name}-{number}")).exists():
            number += 1
        aside.mkdir()
        for path in folder.iterdir():
            if path.name != ".lock":
                path.replace(aside / path.name)
        log.info("%s holds a run on other data or with other settings; it was moved to %s.", folder, aside)
    return identity


def _seed(seed):
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _learner(configuration, manifest):
    """(Learner, the records that the frozen graph is checked on)."""
    scopes = configuration["TrainableScopes"] or ("Logits" if Pretrained.find(configuration) else "all")
    blocks = inception_v3.trained_blocks(scopes)
    if blocks is None:
        known = ", ".join(inception_utils.BLOCKS)
        raise ConfigurationError(f"TrainableScopes is {scopes}; allowed: all, {known}, or nothing")
    classes, size, width = configuration["NumClasses"], configuration["ImageSize"], configuration["DepthMultiplier"]
    auxiliary = "AuxLogits" in blocks and configuration["AuxiliaryWeight"] > 0 and size >= inception_v3.AUXILIARY_SIDE
    pretrained = Pretrained.load(configuration, inception_v3.shapes(classes, size, width, auxiliary))
    if blocks == ("Logits",):
        if not pretrained:
            raise ConfigurationError(
                "TrainableScopes is Logits and there are no pretrained weights under it; give some"
            )
        log.info("Training of the last layer on the backbone's features.")
        return _last_layer(configuration, manifest, pretrained)
    log.info("Training of %s end to end, %d images.", scopes, len(manifest.splits["train"]))
    first = itertools.islice(Shards.records(configuration, "validation"), Freezing.CHECKED)
    return Learners.Network(configuration, manifest, blocks, auxiliary, pretrained), first


def _last_layer(configuration, manifest, pretrained):
    records = {split: list(Shards.records(configuration, split)) for split in ("train", "validation")}
    everything = {record.sha256: record for split in records.values() for record in split}
    features = Features.extract(configuration, pretrained, Pretrained.backbone_identity(pretrained), everything)
    splits = {
        split: (
            numpy.stack([features[record.sha256] for record in found]),
            numpy.array([record.label for record in found], "int64"),
        )
        for split, found in records.items()
    }
    return Learners.LastLayer(configuration, splits, pretrained), records["validation"][: Freezing.CHECKED]


@contextlib.contextmanager
def precision(learner, configuration):
    """A context that trains a network in bf16 if so wanted.

    What follows, above all the comparison of the frozen graph with its checkpoint, is float32 again.
    """
    if isinstance(learner, Learners.LastLayer):
        yield
        return
    wanted = OpenVINO.precision(configuration["TrainingPrecision"]) == "bf16"
    log.info("Training in %s.", "bf16 where it is safe, float32 elsewhere" if wanted else "float32")
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": wanted})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})


class Progress:
    """How far a run is; kept in every checkpoint.

    Attributes:
      step: steps done.
      loss: total loss of the last step.
      correct, seen: images of this epoch's steps, and those classified rightly.
      accuracy: streaming training accuracy of the last epoch that ended.
    """

    def __init__(self, values=None):
        values = values or {}
        self.step = int(values.get("global_step", 0))
        self.loss = float(values.get("progress/loss", math.nan))
        self.correct = int(values.get("progress/correct", 0))
        self.seen = int(values.get("progress/seen", 0))
        self.accuracy = float(values.get("progress/accuracy", math.nan))

    def values(self):
        """{name in a checkpoint: number}."""
        return {
            "global_step": numpy.int64(self.step),
            "progress/loss": numpy.float64(self.loss),
            "progress/correct": numpy.int64(self.correct),
            "progress/seen": numpy.int64(self.seen),
            "progress/accuracy": numpy.float64(self.accuracy),
        }


def _resume(learner, folder):
    found = Checkpoints.latest(folder)
    if found is None:
        return Progress()
    step, values = found
    variables = learner.variables()
    lacking = sorted(set(variables) - set(values))
    if lacking:
        raise TrainingError(f"{folder}: its checkpoint lacks {lacking[0]}; move the folder away to train anew")
    for name, variable in variables.items():
        variable.assign(values[name])
    log.info("Continuing after step %d of %s.", step, folder)
    return Progress(values)


def fit(learner, configuration, folder, progress):
    """Train until `Epochs` are full; `progress` is advanced in place.

    Args:
      learner: Learners.Learner.
      configuration: Configuration.
      folder: where checkpoints and TensorBoard events go.
      progress: Progress of a run before this one, or a new one.
    Returns:
      path of the checkpoint that holds the end.
    Raises:
      TrainingError: the loss is no number any more.
    """
    epochs, steps = configuration["Epochs"], learner.steps_per_epoch
    writer = tf.summary.create_file_writer(str(folder))
    clock = _Clock(steps * epochs - progress.step, configuration["SaveSeconds"])
    first = progress.step // steps
    with Helpers.progress(total=steps * epochs, initial=progress.step, desc="Training", unit="step") as bar:
        try:
            for epoch in range(first, epochs):
                _epoch(learner, configuration, epoch, progress, writer, bar, clock, folder)
        except KeyboardInterrupt:
            _save(learner, folder, progress)
            log.info("Stopped at step %d; the same command goes on from there.", progress.step)
            raise
    steps_log.info("Final Loss: %s", numpy.float32(progress.loss))
    steps_log.info("Final Accuracy: %s", numpy.float32(progress.accuracy))
    steps_log.info("Finished training! Saving model to disk now.")
    writer.close()
    return _save(learner, folder, progress)


def _epoch(learner, configuration, epoch, progress, writer, bar, clock, folder):
    steps = learner.steps_per_epoch
    every = configuration["LogEvery"] or (steps if isinstance(learner, Learners.LastLayer) else 1)
    for batch in learner.batches(epoch, progress.step - epoch * steps):
        began = time.perf_counter()
        loss, correct, seen = learner.train(batch, progress.step)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {progress.step + 1} with learning rate {learner.learning_rate(epoch):g}; "
                "set a smaller LearningRate; the last checkpoint is from before"
            )
        progress.step += 1
        progress.loss = loss
        progress.correct += correct
        progress.seen += seen
        bar.update()
        clock.step(began)
        if progress.step % every == 0 or progress.step == steps * configuration["Epochs"]:
            seconds = time.perf_counter() - began
            number = progress.step / steps + 1
            steps_log.info(" Epch %.2f Glb Stp %d: Loss: %.4f (%.2f sec/step)", number, progress.step, loss, seconds)
            _training_events(writer, learner.learning_rate(epoch), progress)
        if progress.step % steps and clock.due():
            _save(learner, folder, progress)
    progress.accuracy = progress.correct / progress.seen
    progress.correct = progress.seen = 0
    _validation_events(writer, learner, epoch, progress)
    if clock.due():
        _save(learner, folder, progress)


def _training_events(writer, learning_rate, progress):
    with writer.as_default(progress.step):
        tf.summary.scalar("Training_losses/Total_Loss", progress.loss)
        tf.summary.scalar("Training_Accuracy", progress.correct / progress.seen)
        tf.summary.scalar("Learning_Rate", learning_rate)


def _validation_events(writer, learner, epoch, progress):
    loss, accuracy = learner.evaluate()
    log.info(
        "Epoch %d: training accuracy %.4f, validation loss %.4f, validation accuracy %.4f",
        epoch + 1,
        progress.accuracy,
        loss,
        accuracy,
    )
    with writer.as_default(progress.step):
        tf.summary.scalar("Validation_losses/Total_Loss", loss)
        tf.summary.scalar("Validation_Accuracy", accuracy)
    writer.flush()


class _Clock:
    """Says how long the training will take, once it can be known, and when a checkpoint is due."""

    # The first step holds the tracing of the network, the second its memory; the third is like the rest.
    WARM = 3

    def __init__(self, steps, save_seconds):
        self._steps = steps
        self._done = 0
        self._save_seconds = save_seconds
        self._saved = time.monotonic()

    def step(self, began):
        self._done += 1
        if self._done == self.WARM:
            seconds = (time.perf_counter() - began) * (self._steps - self.WARM)
            if seconds > 60:
                log.info("About %s for the %d steps.", _duration(seconds), self._steps)

    def due(self):
        if time.monotonic() - self._saved < self._save_seconds:
            return False
        self._saved = time.monotonic()
        return True


def _duration(seconds):
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _save(learner, folder, progress):
    return Checkpoints.save(folder, progress.step, {**learner.network(), **learner.variables(), **progress.values()})
