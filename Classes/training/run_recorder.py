"""Record the epochs of a training: results.csv, TensorBoard with training and validation in one chart, settings."""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from Classes.evaluation import runs

# Folders of the events. Equal tags in both make TensorBoard draw training and validation in one chart.
PARTS = ("train", "validation")

METRICS = ("loss", "accuracy", "precision", "recall", "auc")

# Charts that TensorBoard's table of hyperparameters shows: (tag, folder).
SHOWN_METRICS = (
    ("accuracy", "validation"),
    ("loss", "validation"),
    ("auc", "validation"),
    ("loss", "train"),
    ("final/accuracy", "evaluation"),
    ("final/sensitivity", "evaluation"),
    ("final/specificity", "evaluation"),
    ("final/roc_auc", "evaluation"),
)

# Shortest time between two writings of results.csv: an epoch on cached features takes milliseconds.
WRITE_SECONDS = 1.0


class RunRecorder:
    """Writes into the folder of a run; see the module runs. Without a folder it does nothing.

    Args:
      folder: of the run, or None.
      settings: {key: value} of the hyperparameters.
    """

    def __init__(self, folder: pathlib.Path | None, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self._writers = {}
        if folder is not None:
            self._writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in PARTS}
            self._write_hyperparameters(folder)
        self._rows = runs.read_results(folder) if folder else []
        self._began = self._written = time.monotonic()

    def record_epoch(
        self,
        epoch: int,
        step: int,
        learning_rate: float,
        training: Mapping[str, float],
        validation: Mapping[str, float],
    ) -> None:
        """Record a completed epoch; rows of this and later epochs, from before a run was resumed, are replaced.

        Args:
          epoch: number of the epoch, from 1.
          step: completed steps.
          learning_rate: of the last step.
          training, validation: {name in METRICS: value}; a metric that is missing or not finite is left out.
        """
        if self._folder is None:
            return
        found = {"train": training, "validation": validation}
        found = {
            part: {key: float(value) for key, value in values.items() if numpy.isfinite(value)}
            for part, values in found.items()
        }
        for part, values in found.items():
            with self._writers[part].as_default(step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
        now = time.monotonic()
        row: dict[str, float | None] = {"epoch": epoch, "step": step, "learning_rate": learning_rate}
        for part in PARTS:
            row |= {f"{part}_{name}": found[part].get(name) for name in METRICS}
        row["seconds"] = round(now - self._began, 3)
        self._rows = [each for each in self._rows if (each.get("epoch") or 0) < epoch] + [row]
        self._began = now
        if now - self._written >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write results.csv. Call it before a checkpoint, which must not be ahead of the table."""
        if self._folder is not None:
            runs.write_results(self._folder, self._rows)
            self._written = time.monotonic()
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Write what is not written yet, and close the events."""
        self.flush()
        for writer in self._writers.values():
            writer.close()

    def _write_hyperparameters(self, folder: pathlib.Path) -> None:
        values = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in self._settings.items()
        }
        metrics = [hparams.Metric(tag, group=group, display_name=f"{tag} ({group})") for tag, group in SHOWN_METRICS]
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default(0):
            hparams.hparams_config([hparams.HParam(key) for key in values], metrics)
            hparams.hparams(values, trial_id=folder.name)
        writer.close()
