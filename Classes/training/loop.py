"""The training loop: steps, log lines, TensorBoard, checkpoints and early stopping."""

import logging
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy
import tensorflow as tf

from Classes.common import interrupts, terminal
from Classes.common.config import Configuration
from Classes.common.errors import TrainingError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.networks import checkpoint_files
from Classes.training import distributed, epoch_table, run_recorder, step_timer, streaming_metrics
from Classes.training.train_state import TrainState
from Classes.training.trainers import Trainer

# Folder in LogDir of the checkpoint with the smallest validation loss, which is frozen if `Patience` is set.
BEST = "best"

log = logging.getLogger("Trainer")
steps_log = logging.getLogger("tensorflow")


def run_training_loop(
    trainer: Trainer,
    configuration: Configuration,
    folder: pathlib.Path,
    state: TrainState,
    settings: Mapping[str, Any],
    run: pathlib.Path | None = None,
) -> pathlib.Path | None:
    """Train until `Epochs` are complete or `Patience` runs out.

    Args:
      trainer: runs the steps.
      configuration: Configuration.
      folder: of the checkpoints and TensorBoard events.
      state: of the resumed run, or a new one; it is changed in place.
      settings: {key: value} that TensorBoard shows beside the curves.
      run: folder of the run, see evaluation.runs; None: only the chief has one, if `RunsDir` is set.
    Returns:
      Path of the checkpoint to freeze: the last, or with `Patience` the best; None on a worker that is not the chief.
    Raises:
      TrainingError: the loss is not finite.
    """
    recorder = run_recorder.RunRecorder(run, settings)
    loop = _TrainingLoop(trainer, configuration, folder, state, recorder)
    try:
        loop.write_settings(settings)
        loop.train()
    except KeyboardInterrupt:
        loop.save()
        log.info("Stopped at step %d; the same command goes on from there.", state.step)
        loop.close()
        terminal.say(_("Stopped at step {step}. The same command continues from there.").format(step=state.step))
        raise
    finally:
        loop.close()
    steps_log.info("Final Loss: %s", numpy.float32(state.loss))
    steps_log.info("Final Accuracy: %s", numpy.float32(state.accuracy))
    steps_log.info("Finished training! Saving model to disk now.")
    last = loop.save()
    return loop.best_checkpoint() or last


class _TrainingLoop:
    """One run of the loop; for the arguments see `run_training_loop`."""

    def __init__(
        self,
        trainer: Trainer,
        configuration: Configuration,
        folder: pathlib.Path,
        state: TrainState,
        recorder: run_recorder.RunRecorder,
    ) -> None:
        self._trainer, self._configuration, self._folder, self._state = trainer, configuration, folder, state
        self._recorder = recorder
        self._total_steps = trainer.steps_per_epoch * configuration["Epochs"]
        self._log_interval = configuration["LogEvery"] or trainer.log_interval
        # Only the chief writes.
        self._chief = distributed.is_chief(trainer.strategy)
        self._writer = tf.summary.create_file_writer(str(folder)) if self._chief else tf.summary.create_noop_writer()
        self._timer = step_timer.StepTimer(self._total_steps - state.step, configuration["SaveSeconds"])
        self._table = epoch_table.EpochTable(configuration["Epochs"], trainer.steps_per_epoch, state.step)
        self._signals: list[int] = []

    def close(self) -> None:
        """Close the table and the event file."""
        self._table.close()
        self._writer.close()
        self._recorder.close()

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings to TensorBoard as a table."""
        rows = "".join(f"| {key} | {value} |\n" for key, value in settings.items())
        with self._writer.as_default(self._state.step):
            tf.summary.text("Settings", f"| Setting | Value |\n|---|---|\n{rows}")

    def train(self) -> None:
        """Train until the last epoch, and save if a signal stops it."""
        if distributed.rank_and_world_size(self._trainer.strategy)[1] == 1:
            self._train_epochs()
            return
        # All workers must stop after the same step, because a worker alone would wait for the others forever. A signal
        # is therefore only noted here, and reaches the other workers with the next step.
        with interrupts.defer_signals() as self._signals:
            self._train_epochs()

    def _train_epochs(self) -> None:
        first, done = divmod(self._state.step, self._trainer.steps_per_epoch)
        if self._state.seen and not done:
            # The previous run was stopped after the last step of an epoch and before its validation ended.
            self._end_epoch(first - 1)
        for epoch in range(first, self._configuration["Epochs"]):
            patience = self._configuration["Patience"]
            if 0 < patience <= epoch - self._state.best_epoch:
                log.info("Stopped: no smaller validation loss since epoch %d.", self._state.best_epoch)
                terminal.say(
                    _("Stopped early: the validation loss is not smaller than in epoch {epoch}.").format(
                        epoch=self._state.best_epoch
                    )
                )
                break
            self._train_epoch(epoch)
        self._timer.log_wait()

    def save(self, folder: pathlib.Path | None = None) -> pathlib.Path | None:
        """Write a checkpoint and return its path; None on a worker that is not the chief."""
        if not self._chief:
            return None
        # A resumed run records only the epochs after the checkpoint.
        self._recorder.flush()
        variables = {**self._trainer.network(), **self._trainer.variables()}
        values = {name: distributed.local_value(each) for name, each in variables.items()}
        return checkpoint_files.save_checkpoint(
            folder or self._folder, self._state.step, {**values, **self._state.values()}
        )

    def best_checkpoint(self) -> pathlib.Path | None:
        """Return the checkpoint with the smallest validation loss; None without `Patience` or such a checkpoint."""
        folder, state = self._folder / BEST, self._state
        steps = checkpoint_files.saved_steps(folder)
        if not steps or not self._configuration["Patience"]:
            return None
        log.info("The best epoch was %d, with validation loss %.4f.", state.best_epoch, state.best_loss)
        return folder / f"{checkpoint_files.PREFIX}{steps[-1]}"

    def _train_epoch(self, epoch: int) -> None:
        state, steps = self._state, self._trainer.steps_per_epoch
        for batch in self._timer.measure_waits(self._trainer.batches(epoch, state.step - epoch * steps)):
            began = time.perf_counter()
            self._train_step(batch)
            seconds = self._timer.end_step(began)
            if state.step % self._log_interval == 0 or state.step == self._total_steps:
                self._log_step(seconds)
            if state.step % steps and self._timer.checkpoint_due():
                self.save()
        self._end_epoch(epoch)

    def _end_epoch(self, epoch: int) -> None:
        state = self._state
        state.accuracy = state.correct / state.seen
        metrics = self._trainer.metrics(state.histogram)
        self._write_scalars({f"Training_{name}": value for name, value in metrics.items()})
        self._write_scalars({"Waiting_For_Images": self._timer.wait_fraction()})
        self._validate(epoch, metrics)
        state.start_epoch()
        if self._timer.checkpoint_due():
            self.save()

    def _train_step(self, batch: tuple[Any, Any]) -> None:
        interrupts.check()
        # A checkpoint between the change of the weights and the count of the step would make a resumed run repeat it.
        with interrupts.defer_signals():
            rate = self._trainer.learning_rate(self._state.step)
            loss, correct, seen, histogram, stop = self._trainer.train_step(
                batch, self._state.step, bool(self._signals)
            )
            if not math.isfinite(loss):
                raise TrainingError(
                    Message(
                        "The loss is {loss} at step {step} with learning rate {rate:g}. Set a smaller LearningRate; "
                        "the last checkpoint was saved before this step.",
                        loss=loss,
                        step=self._state.step + 1,
                        rate=rate,
                    ),
                    code="loss_not_finite",
                )
            self._state.add_step(loss, correct, seen, histogram)
        self._table.end_step(self._state.step)
        if stop:
            raise KeyboardInterrupt

    def _log_step(self, seconds: float) -> None:
        state = self._state
        steps_log.info(
            " Epch %.2f Glb Stp %d: Loss: %.4f (%.2f sec/step)",
            state.step / self._trainer.steps_per_epoch + 1,
            state.step,
            state.loss,
            seconds,
        )
        self._write_scalars(
            {
                "Training_losses/Total_Loss": state.loss,
                "Training_Accuracy": state.correct / state.seen,
                "Learning_Rate": self._trainer.learning_rate(state.step - 1),
                **self._trainer.step_metrics(),
            }
        )

    def _validate(self, epoch: int, training_metrics: Mapping[str, float]) -> None:
        state = self._state
        with self._trainer.averaged_weights():
            loss, accuracy, histogram = self._trainer.evaluate()
        metrics = self._trainer.metrics(histogram)
        log.info(
            "Epoch %d: training accuracy %.4f, validation loss %.4f, validation accuracy %.4f%s",
            epoch + 1,
            state.accuracy,
            loss,
            accuracy,
            "".join(f", {name.lower() if name != 'AUC' else name} {value:.4f}" for name, value in metrics.items()),
        )
        sensitivity = specificity = numpy.nan
        if self._trainer.positive:
            sensitivity, specificity = streaming_metrics.sensitivity_and_specificity(histogram)
        shown = {"accuracy": accuracy, "sensitivity": sensitivity, "specificity": specificity}
        self._table.end_epoch(epoch + 1, state.step, state.loss, loss, {**shown, "AUC": metrics.get("AUC", numpy.nan)})
        self._write_scalars({"Validation_losses/Total_Loss": loss, "Validation_Accuracy": accuracy})
        self._write_scalars({f"Validation_{name}": value for name, value in metrics.items()})
        self._writer.flush()
        self._recorder.record_epoch(
            epoch + 1,
            state.step,
            self._trainer.learning_rate(state.step - 1),
            {"loss": state.mean_loss, "accuracy": state.accuracy, **_lower(training_metrics)},
            {"loss": loss, "accuracy": accuracy, **_lower(metrics)},
        )
        if loss < state.best_loss:
            state.best_loss, state.best_epoch = loss, epoch + 1
            if self._configuration["Patience"]:
                self.save(self._folder / BEST)

    def _write_scalars(self, values: Mapping[str, float]) -> None:
        with self._writer.as_default(self._state.step):
            for name, value in values.items():
                tf.summary.scalar(name, value)


def _lower(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.lower(): value for name, value in metrics.items()}
