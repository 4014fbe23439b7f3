"""Run on a device that may fail, with the CPU as fallback, so that no image is lost."""

import logging
import threading
import time
from collections.abc import Callable

import numpy

from Classes.common.errors import EngineError
from Classes.inference.backend import InferenceBackend

# Seconds after a failure until the next image is tried on the device again.
RETRY_INTERVAL = 5

log = logging.getLogger("Engine")


class FailoverBackend(InferenceBackend):
    """Runs on the primary backend and, while that fails, on the fallback.

    `name` and `precision` are those of the backend that works at the moment; `classify` fails only if both fail.
    """

    def __init__(self, primary: InferenceBackend, fallback: InferenceBackend) -> None:
        self._primary, self.fallback = primary, fallback
        self._retry_at: float | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the device that is in use."""
        return self._active.name

    @property
    def precision(self) -> str:
        """Precision of the device that is in use."""
        return self._active.precision

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return class probabilities from the device that works."""
        return self.classify_with_source(batch)[0]

    def classify_with_source(
        self, batch: numpy.ndarray, meanwhile: Callable[[], None] | None = None
    ) -> tuple[numpy.ndarray, InferenceBackend]:
        """Try the primary device, then the CPU; return probabilities and the backend that computed them."""
        if meanwhile:
            # Before the devices, because two of them may be tried.
            meanwhile()
        retry_at = self._retry_at
        if retry_at is None or time.monotonic() >= retry_at:
            try:
                probabilities = self._primary.classify(batch)
            except EngineError as error:
                self._mark_down(error)
            else:
                # A call that began before a failure does not prove that the device works again.
                if retry_at is not None:
                    self._mark_up()
                return probabilities, self._primary
        return self.fallback.classify(batch), self.fallback

    def telemetry(self) -> list[dict]:
        """Return the telemetry of the primary device."""
        return self._primary.telemetry()

    def close(self) -> None:
        """Close both devices."""
        self._primary.close()
        self.fallback.close()

    @property
    def _active(self) -> InferenceBackend:
        return self._primary if self._retry_at is None else self.fallback

    def _mark_down(self, error: EngineError) -> None:
        with self._lock:
            first = self._retry_at is None
            self._retry_at = time.monotonic() + RETRY_INTERVAL
        # One line per outage, however many images fail.
        if first:
            log.error("%s; continuing on %s", error, self.fallback.name)

    def _mark_up(self) -> None:
        with self._lock:
            down, self._retry_at = self._retry_at is not None, None
        if down:
            log.info("%s works again.", self._primary.name)
