"""Ctrl-C and SIGTERM at a moment when what is under way is whole."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def deferred():
    """A context that both wait for: what arrives within it takes effect at its end."""
    # Only the main thread is interrupted, and only it may say so.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = []
    former = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
