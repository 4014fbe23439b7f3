"""Ctrl-C and SIGTERM: how a run hears of them, and how they wait for a moment when what is under way is whole."""

import contextlib
import signal
import sys
import threading

# Seconds until a stop that was dropped is raised again: by then the destructor or callback that dropped it is left.
RERAISE_INTERVAL = 0.02

# Windows has no interval timer: there a stop that was dropped takes a second Ctrl-C.
ALARM = getattr(signal, "SIGALRM", None)


class SignalGuard:
    """The signals of one run: `Stopped` while it works, so that it tidies up; nothing once it is over.

    What a run did is done by then, and the interpreter's own way out would answer with a traceback. A second signal
    ends a way out that hangs.

    Attributes:
      arrived: number of the signal that stopped the run, None where none did.
    """

    def __init__(self):
        self.arrived = None
        self._over = False
        for number in (signal.SIGINT, signal.SIGTERM):
            # A shell starts what it is not to wait for with Ctrl-C ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        if ALARM is not None:
            signal.signal(ALARM, self._again)
        sys.excepthook, sys.unraisablehook = self._printed(sys.excepthook), self._ignored(sys.unraisablehook)

    def over(self):
        """From here on signals change nothing."""
        self._over = True
        _alarm(0)

    def dropped(self):
        """Raise the stop once more, a moment from now."""
        if not self._over:
            _alarm(RERAISE_INTERVAL)

    def _signalled(self, number, frame):
        if self._over:
            signal.signal(number, signal.SIG_DFL)
            return
        self.arrived = number
        raise Interrupted(self)

    def _again(self, number, frame):
        if not self._over:
            raise Interrupted(self)

    def _ignored(self, former):
        """Callbacks of weak references and destructors print what is raised in them and go on."""
        return lambda lost: None if self.arrived else former(lost)

    def _printed(self, former):
        """Compiled code that cannot hand on an exception prints it, or one that it made of it, and keeps it alive."""
        return lambda *error: self.dropped() if self.arrived else former(*error)


def _alarm(seconds):
    if ALARM is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


class Interrupted(KeyboardInterrupt):
    """Raised wherever the program stands, and so at times where nothing can be raised: then it is raised again.

    Whoever catches it must keep it for as long as it is not to come again.
    """

    def __init__(self, stop):
        super().__init__()
        self._stop = stop

    def __del__(self):
        self._stop.dropped()


@contextlib.contextmanager
def defer_signals():
    """A context, or a decorator, that both wait for: what arrives within it takes effect at its end.

    Yields:
      list of the signals that have arrived so far.

    For what must not be left half-done, and for TensorFlow: where its compiled code calls back into Python and meets an
    exception there, it can damage its memory (one in 260 interruptions at random moments of a training).
    """
    # Only the main thread is interrupted, and only it may say so.
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    arrived = []
    former = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, ALARM)
        if number is not None
    }
    try:
        yield arrived
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
