"""A device that may fail, and the CPU behind it, so that no image is lost."""

import logging
import threading
import time

from Classes.common.errors import EngineError

# Seconds after a failure until the device is tried again, with an image that the CPU still answers if it fails.
RETRY_INTERVAL = 5

log = logging.getLogger("Engine")


class FailoverBackend:
    """Answers on a device as long as that works, else on another; see backend.open_engine.

    Args:
      primary: the engine that is wanted.
      spare: the engine that goes on when it fails.
    """

    def __init__(self, primary, spare):
        self._primary, self._spare = primary, spare
        self._again = None
        self._lock = threading.Lock()

    @property
    def name(self):
        """The name of the engine that works now."""
        return self._now.name

    @property
    def precision(self):
        """The precision of the engine that works now."""
        return self._now.precision

    def classify(self, batch):
        """See backend.open_engine; fails only where both do."""
        return self.answer(batch)[0]

    def answer(self, batch):
        """(probabilities, the engine that computed them)."""
        again = self._again
        if again is None or time.monotonic() >= again:
            try:
                answers = self._primary.classify(batch)
            except EngineError as error:
                self._switch(error)
            else:
                # Who began before a failure does not know of it.
                if again is not None:
                    self._come_back()
                return answers, self._primary
        return self._spare.classify(batch), self._spare

    def telemetry(self):
        """The primary's figures; see Movidius.NCS1Backend.telemetry."""
        figures = getattr(self._primary, "telemetry", None)
        return figures() if figures else []

    def close(self):
        """Let both go; may be called again."""
        self._primary.close()
        self._spare.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def _now(self):
        return self._primary if self._again is None else self._spare

    def _switch(self, error):
        with self._lock:
            first = self._again is None
            self._again = time.monotonic() + RETRY_INTERVAL
        # One line for a failure, however many images it strikes and come until the device is back.
        if first:
            log.error("%s; %s goes on", error, self._spare.name)

    def _come_back(self):
        with self._lock:
            away, self._again = self._again, None
        if away is not None:
            log.info("%s is back.", self._primary.name)
