"""What a terminal shows during a training: a bar for each epoch, and a table with one row per epoch."""

import time
from collections.abc import Mapping

import numpy

from Classes.common import progress_bar, terminal
from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import pgettext

# Width of a column with a number.
COLUMN = 8


class EpochTable:
    """Draws the bar and the rows; shows nothing if there is no terminal.

    Args:
      epochs: of the whole training.
      steps_per_epoch: number of steps.
      step: number of the steps that are done already.
    """

    def __init__(self, epochs: int, steps_per_epoch: int, step: int = 0) -> None:
        self._epochs, self._steps = epochs, steps_per_epoch
        self._first, self._began = step, time.perf_counter()
        self._bar: progress_bar.ProgressBar = progress_bar.ProgressBar(total=steps_per_epoch)
        self._bar.restart(self._name(step), steps_per_epoch, step % steps_per_epoch)
        columns = (
            _("loss"),
            _("val loss"),
            pgettext("heading of a narrow column", "accuracy"),
            _("sens."),
            _("spec."),
            "AUC",
        )
        names = "".join(f" {name:>{COLUMN}}" for name in columns)
        terminal.say_fitted((_("epoch").ljust(7) + names + "  " + _("time left"), "bold"))

    def end_step(self, step: int) -> None:
        """Show that `step` steps are done."""
        self._bar.update()
        if step % self._steps == 0 and step < self._epochs * self._steps:
            self._bar.restart(self._name(step), self._steps)

    def end_epoch(self, epoch: int, step: int, loss: float, val_loss: float, metrics: Mapping[str, float]) -> None:
        """Show the row of an epoch.

        Args:
          epoch: from 1.
          step: number of the steps that are done.
          loss: of the last step.
          val_loss: of the validation images.
          metrics: "accuracy", "sensitivity", "specificity" and "AUC" of the validation images; NaN if undefined.
        """
        numbers = [format_number(loss, ".4f"), format_number(val_loss, ".4f")]
        numbers += [
            "-" if numpy.isnan(metrics[name]) else format_number(metrics[name], ".4f")
            for name in ("accuracy", "sensitivity", "specificity", "AUC")
        ]
        done = step - self._first
        left = (time.perf_counter() - self._began) / done * (self._epochs * self._steps - step) if done else 0
        row = f"{epoch:>3}/{self._epochs:<3}" + "".join(f" {number:>{COLUMN}}" for number in numbers)
        terminal.say_fitted((f"{row}  {terminal.format_duration(left, digits=0)}", ""))

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def _name(self, step: int) -> str:
        return _("Epoch {epoch}/{epochs}").format(epoch=step // self._steps + 1, epochs=self._epochs)
