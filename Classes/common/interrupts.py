"""Ctrl-C and SIGTERM: raise KeyboardInterrupt, and delay it while an operation must not be interrupted."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_guards: list["SignalGuard"] = []


class SignalGuard:
    """Turn the signals of one run into KeyboardInterrupt until `finish` is called; afterwards ignore the first one.

    A run that has finished has written everything, so a late signal must not cause a traceback; a second one ends a
    process that hangs while it exits.

    Attributes:
      received: number of the signal that stopped the run, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._finished = False
        self._unraisablehook = sys.unraisablehook
        sys.unraisablehook = self._hide_interrupt
        for number in _SIGNALS:
            # A shell starts background commands with SIGINT ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        _guards.append(self)

    def finish(self) -> None:
        """Stop raising."""
        if not self._finished:
            self._finished = True
            sys.unraisablehook = self._unraisablehook
            _guards.remove(self)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._finished:
            signal.signal(number, signal.SIG_DFL)
            return
        self.received = number
        raise KeyboardInterrupt

    def _hide_interrupt(self, lost: Any) -> None:
        # Python prints and drops what is raised in a destructor or a callback. `check` raises this one again.
        if not (self.received and isinstance(lost.exc_value, KeyboardInterrupt)):
            self._unraisablehook(lost)


def check() -> None:
    """Raise KeyboardInterrupt if the run was asked to stop; call it between two units of work.

    Python or a library may have dropped the exception that the signal's handler raised.
    """
    if threading.current_thread() is threading.main_thread() and any(guard.received for guard in _guards):
        raise KeyboardInterrupt


@contextlib.contextmanager
def defer_signals() -> Iterator[list[int]]:
    """A context, or a decorator, that delays signals until its end.

    Yields:
      list of the signals that have arrived so far.

    For operations that must be complete, and for TensorFlow: an exception in a Python callback of its compiled code can
    damage its memory (one in 260 interruptions at random moments of a training).
    """
    # Only the main thread handles signals, and only it may change their handlers.
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    received: list[int] = []
    previous = {number: signal.signal(number, lambda number, _: received.append(number)) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
