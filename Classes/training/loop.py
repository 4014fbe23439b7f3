"""The training loop: steps, log lines, TensorBoard, checkpoints, and when to stop."""

import contextlib
import logging
import math
import time

import numpy
import tensorflow as tf

from Classes import Helpers
from Classes.common import interrupts
from Classes.common.errors import TrainingError
from Classes.networks import checkpoint_files
from Classes.training import distributed, streaming_metrics, trainers

# Folder below LogDir of the checkpoint that `Patience` freezes.
BEST = "best"

log = logging.getLogger("Trainer")
steps_log = logging.getLogger("tensorflow")


class TrainState:
    """How far a run is; kept in every checkpoint.

    Attributes:
      step: steps done.
      loss: total loss of the last step.
      correct, seen: images of this epoch's steps, and those classified rightly.
      tally: streaming_metrics.score_histogram of this epoch's steps.
      accuracy: streaming training accuracy of the last epoch that ended.
      best_loss, best_epoch: smallest validation loss so far, and after how many epochs it was measured.
    """

    def __init__(self, values=None):
        values = values or {}
        self.step = int(values.get("global_step", 0))
        self.loss = float(values.get("progress/loss", math.nan))
        self.correct = int(values.get("progress/correct", 0))
        self.seen = int(values.get("progress/seen", 0))
        self.tally = numpy.array(values.get("progress/tally", numpy.zeros((2, streaming_metrics.BINS))), "int64")
        self.accuracy = float(values.get("progress/accuracy", math.nan))
        self.best_loss = float(values.get("progress/best_loss", math.inf))
        self.best_epoch = int(values.get("progress/best_epoch", 0))

    def values(self):
        """{name in a checkpoint: number or array}."""
        return {
            "global_step": numpy.int64(self.step),
            "progress/loss": numpy.float64(self.loss),
            "progress/correct": numpy.int64(self.correct),
            "progress/seen": numpy.int64(self.seen),
            "progress/tally": self.tally,
            "progress/accuracy": numpy.float64(self.accuracy),
            "progress/best_loss": numpy.float64(self.best_loss),
            "progress/best_epoch": numpy.int64(self.best_epoch),
        }


def run_training_loop(learner, configuration, folder, progress, settings):
    """Train until `Epochs` are full, or `Patience` is at its end; `progress` is advanced in place.

    Args:
      learner: trainers.Trainer.
      configuration: Configuration.
      folder: where checkpoints and TensorBoard events go.
      progress: Progress of a run before this one, or a new one.
      settings: {key: value} that TensorBoard shows beside the curves.
    Returns:
      path of the checkpoint that is to be frozen: the end, or with `Patience` the best.
    Raises:
      TrainingError: the loss is no number any more.
    """
    run = _TrainingLoop(learner, configuration, folder, progress)
    try:
        run.describe(settings)
        run.train()
    except KeyboardInterrupt:
        run.save()
        log.info("Stopped at step %d; the same command goes on from there.", progress.step)
        raise
    finally:
        run.close()
    steps_log.info("Final Loss: %s", numpy.float32(progress.loss))
    steps_log.info("Final Accuracy: %s", numpy.float32(progress.accuracy))
    steps_log.info("Finished training! Saving model to disk now.")
    end = run.save()
    return (configuration["Patience"] and run.best()) or end


class _TrainingLoop:
    """What belongs to one call of `fit`; its arguments are `fit`'s."""

    def __init__(self, learner, configuration, folder, progress):
        self._learner, self._configuration, self._folder, self._progress = learner, configuration, folder, progress
        self._total = learner.steps_per_epoch * configuration["Epochs"]
        self._every = configuration["LogEvery"] or (
            learner.steps_per_epoch if isinstance(learner, trainers.LinearProbe) else 1
        )
        # One of the workers writes.
        self._chief = distributed.is_chief(learner.strategy)
        self._writer = tf.summary.create_file_writer(str(folder)) if self._chief else tf.summary.create_noop_writer()
        self._clock = _Timer(self._total - progress.step, configuration["SaveSeconds"])
        self._bar = Helpers.progress(total=self._total, initial=progress.step, desc="Training", unit="step")

    def close(self):
        self._bar.close()
        self._writer.close()

    def describe(self, settings):
        """Write the settings as a table."""
        rows = "".join(f"| {key} | {value} |\n" for key, value in settings.items())
        with self._writer.as_default(self._progress.step):
            tf.summary.text("Settings", f"| Setting | Value |\n|---|---|\n{rows}")

    def train(self):
        # Workers stop after the same step: one that goes on alone waits for the others in vain.
        several = distributed.rank_and_world_size(self._learner.strategy)[1] > 1
        with interrupts.defer_signals() if several else contextlib.nullcontext([]) as self._asked:
            self._train()

    def _train(self):
        first, done = divmod(self._progress.step, self._learner.steps_per_epoch)
        if self._progress.seen and not done:
            # The run before this one was stopped while it validated.
            self._end(first - 1)
        for epoch in range(first, self._configuration["Epochs"]):
            if self._patience_ended(epoch):
                log.info("Stopped: no smaller validation loss since epoch %d.", self._progress.best_epoch)
                break
            self._epoch(epoch)
        self._clock.tell()

    def save(self, folder=None):
        """Write a checkpoint; returns its path, None where another worker writes."""
        learner, progress = self._learner, self._progress
        if not self._chief:
            return None
        with learner.averaged():
            network = learner.network()
        values = {name: distributed.local_value(each) for name, each in {**network, **learner.variables()}.items()}
        return checkpoint_files.save_checkpoint(folder or self._folder, progress.step, {**values, **progress.values()})

    def best(self):
        """The path of the checkpoint with the smallest validation loss; None where `Patience` came too late for it."""
        folder, progress = self._folder / BEST, self._progress
        kept = checkpoint_files.saved_steps(folder)
        if not kept:
            return None
        log.info("The best epoch was %d, with validation loss %.4f.", progress.best_epoch, progress.best_loss)
        return folder / f"{checkpoint_files.PREFIX}{kept[-1]}"

    def _patience_ended(self, epoch):
        patience = self._configuration["Patience"]
        return patience > 0 and epoch - self._progress.best_epoch >= patience

    def _epoch(self, epoch):
        progress, steps = self._progress, self._learner.steps_per_epoch
        for batch in self._clock.waited(self._learner.batches(epoch, progress.step - epoch * steps)):
            began = time.perf_counter()
            self._step(batch)
            seconds = self._clock.step(began)
            if progress.step % self._every == 0 or progress.step == self._total:
                self._log_step(seconds)
            if progress.step % steps and self._clock.due():
                self.save()
        self._end(epoch)

    def _end(self, epoch):
        progress = self._progress
        progress.accuracy = progress.correct / progress.seen
        training = streaming_metrics.metrics_from_histogram(progress.tally)
        self._events({f"Training_{name}": value for name, value in training.items()})
        self._events({"Waiting_For_Images": self._clock.waited_share()})
        self._validate(epoch)
        progress.correct = progress.seen = 0
        progress.tally = numpy.zeros_like(progress.tally)
        if self._clock.due():
            self.save()

    def _step(self, batch):
        interrupts.check()
        # Weights that have taken a step belong to a progress that has: a checkpoint in between would take it twice.
        with interrupts.defer_signals():
            stop = self._stepped(batch)
        self._bar.update()
        if stop:
            raise KeyboardInterrupt

    def _stepped(self, batch):
        """Train on a batch; returns whether a worker was asked to stop, which all hear of at the same step."""
        progress, rate = self._progress, self._learner.learning_rate(self._progress.step)
        loss, correct, seen, tally, stop = self._learner.train(batch, progress.step, bool(self._asked))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {progress.step + 1} with learning rate {rate:g}; "
                "set a smaller LearningRate; the last checkpoint is from before"
            )
        progress.step += 1
        progress.loss = loss
        progress.correct += correct
        progress.seen += seen
        progress.tally = progress.tally + tally
        return stop

    def _log_step(self, seconds):
        progress = self._progress
        steps_log.info(
            " Epch %.2f Glb Stp %d: Loss: %.4f (%.2f sec/step)",
            progress.step / self._learner.steps_per_epoch + 1,
            progress.step,
            progress.loss,
            seconds,
        )
        self._events(
            {
                "Training_losses/Total_Loss": progress.loss,
                "Training_Accuracy": progress.correct / progress.seen,
                "Learning_Rate": self._learner.learning_rate(progress.step - 1),
                **self._learner.figures(),
            }
        )

    def _validate(self, epoch):
        progress = self._progress
        with self._learner.averaged():
            loss, accuracy, tally = self._learner.evaluate()
        figures = streaming_metrics.metrics_from_histogram(tally)
        log.info(
            "Epoch %d: training accuracy %.4f, validation loss %.4f, validation accuracy %.4f%s",
            epoch + 1,
            progress.accuracy,
            loss,
            accuracy,
            "".join(f", {name.lower() if name != 'AUC' else name} {value:.4f}" for name, value in figures.items()),
        )
        self._events({"Validation_losses/Total_Loss": loss, "Validation_Accuracy": accuracy})
        self._events({f"Validation_{name}": value for name, value in figures.items()})
        self._writer.flush()
        if loss < progress.best_loss:
            progress.best_loss, progress.best_epoch = loss, epoch + 1
            if self._configuration["Patience"]:
                self.save(self._folder / BEST)

    def _events(self, values):
        with self._writer.as_default(self._progress.step):
            for name, value in values.items():
                tf.summary.scalar(name, value)


class _Timer:
    """Says how long the training will take, once it can be known, and when a checkpoint is due."""

    # The first step holds the tracing of the network, the second its memory; the third is like the rest.
    WARM = 3

    def __init__(self, steps, save_seconds):
        self._steps = steps
        self._done = 0
        self._save_seconds = save_seconds
        self._saved = time.monotonic()
        self._worked = self._waiting = 0.0

    def waited(self, batches):
        """The batches, with the time noted that each kept the training waiting."""
        batches = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            # The first holds the start of the input pipeline.
            self._waiting += time.perf_counter() - began if self._done else 0
            if batch is None:
                return
            yield batch

    def waited_share(self):
        """The share of the time so far that went into waiting, from 0 to 1."""
        return self._waiting / (self._worked + self._waiting) if self._worked else 0.0

    def tell(self):
        """Log that share, where there was any time to speak of."""
        if self._worked > 10:
            log.info("Waited for images in %.1f %% of the time.", 100 * self.waited_share())

    def step(self, began):
        """Note that a step has ended; returns its seconds."""
        taken = time.perf_counter() - began
        self._worked += taken
        self._done += 1
        if self._done == self.WARM:
            seconds = taken * (self._steps - self.WARM)
            if seconds > 60:
                log.info("About %s for the %d steps.", _duration(seconds), self._steps)
        return taken

    def due(self):
        if time.monotonic() - self._saved < self._save_seconds:
            return False
        self._saved = time.monotonic()
        return True


def _duration(seconds):
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
