"""The progress of a training run, which every checkpoint holds."""

import math
from collections.abc import Mapping

import numpy

from Classes.training import streaming_metrics


class TrainState:
    """The progress of a training run.

    Args:
      values: {name in a checkpoint: value}; None for a new run.
    Attributes:
      step: completed steps.
      loss: total loss of the last step.
      loss_sum, loss_steps: sum of the total losses of the steps of this epoch, and how many there are.
      correct, seen: correctly classified images and all images of the steps of this epoch.
      histogram: score histogram of the steps of this epoch, see streaming_metrics.
      accuracy: training accuracy of the last completed epoch.
      best_loss, best_epoch: smallest validation loss so far, and the number of the epoch, from 1, that reached it.
    """

    def __init__(self, values: Mapping[str, numpy.ndarray] | None = None) -> None:
        values = values or {}
        self.step = int(values.get("global_step", 0))
        self.loss = float(values.get("progress/loss", math.nan))
        # A checkpoint of an older version has neither; the mean then starts at the resumed step.
        self.loss_sum = float(values.get("progress/loss_sum", 0))
        self.loss_steps = int(values.get("progress/loss_steps", 0))
        self.correct = int(values.get("progress/correct", 0))
        self.seen = int(values.get("progress/seen", 0))
        self.histogram = numpy.array(values.get("progress/tally", numpy.zeros((2, streaming_metrics.BINS))), "int64")
        self.accuracy = float(values.get("progress/accuracy", math.nan))
        self.best_loss = float(values.get("progress/best_loss", math.inf))
        self.best_epoch = int(values.get("progress/best_epoch", 0))

    def values(self) -> dict[str, numpy.ndarray]:
        """Return the attributes by their names in a checkpoint."""
        return {
            "global_step": numpy.asarray(self.step, "int64"),
            "progress/loss": numpy.asarray(self.loss, "float64"),
            "progress/loss_sum": numpy.asarray(self.loss_sum, "float64"),
            "progress/loss_steps": numpy.asarray(self.loss_steps, "int64"),
            "progress/correct": numpy.asarray(self.correct, "int64"),
            "progress/seen": numpy.asarray(self.seen, "int64"),
            "progress/tally": self.histogram,
            "progress/accuracy": numpy.asarray(self.accuracy, "float64"),
            "progress/best_loss": numpy.asarray(self.best_loss, "float64"),
            "progress/best_epoch": numpy.asarray(self.best_epoch, "int64"),
        }

    @property
    def mean_loss(self) -> float:
        """Mean total loss of the steps of this epoch; NaN before the first."""
        return self.loss_sum / self.loss_steps if self.loss_steps else math.nan

    def add_step(self, loss: float, correct: int, seen: int, histogram: numpy.ndarray) -> None:
        """Count a completed step."""
        self.step += 1
        self.loss = loss
        self.loss_sum += loss
        self.loss_steps += 1
        self.correct += correct
        self.seen += seen
        self.histogram = self.histogram + histogram

    def start_epoch(self) -> None:
        """Reset what is counted per epoch."""
        self.loss_sum, self.loss_steps = 0.0, 0
        self.correct = self.seen = 0
        self.histogram = numpy.zeros_like(self.histogram)
