"""Measure how long steps take and how long they wait for images; decide when a checkpoint is due."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

log = logging.getLogger("Trainer")

# The first step traces the network and the second allocates its memory, so the third is the first typical one.
TYPICAL_STEP = 3


class StepTimer:
    """Time the steps of a run.

    Args:
      steps: number of steps to run.
      save_seconds: time between two checkpoints.
    """

    def __init__(self, steps: int, save_seconds: float) -> None:
        self._steps = steps
        self._done = 0
        self._save_seconds = save_seconds
        self._saved = time.monotonic()
        self._worked = self._waited = 0.0

    def measure_waits(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches and measure how long each takes to arrive."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            # The first wait includes the start of the input pipeline.
            self._waited += time.perf_counter() - began if self._done else 0
            if batch is None:
                return
            yield batch

    def wait_fraction(self) -> float:
        """Return the fraction of the time so far that was spent waiting for batches."""
        return self._waited / (self._worked + self._waited) if self._worked else 0.0

    def log_wait(self) -> None:
        """Log the wait fraction of a run that took long enough for it to matter."""
        if self._worked > 10:
            log.info("Waited for images in %.1f %% of the time.", 100 * self.wait_fraction())

    def end_step(self, began: float) -> float:
        """Count a step that started at `began` (time.perf_counter) and return its seconds."""
        seconds = time.perf_counter() - began
        self._worked += seconds
        self._done += 1
        if self._done == TYPICAL_STEP:
            remaining = seconds * (self._steps - TYPICAL_STEP)
            if remaining > 60:
                log.info("About %s for the %d steps.", _format_duration(remaining), self._steps)
        return seconds

    def checkpoint_due(self) -> bool:
        """Return whether it is time for a checkpoint; if so, the time to the next one starts."""
        if time.monotonic() - self._saved < self._save_seconds:
            return False
        self._saved = time.monotonic()
        return True


def _format_duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
