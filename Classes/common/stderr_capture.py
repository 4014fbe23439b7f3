"""What compiled libraries write to the process's standard error, such as libtiff's remarks, as lines of the log."""

import contextlib
import faulthandler
import logging
import os
import sys
import threading

log = logging.getLogger("Library")

# Characters of one line; what has no line ends must not fill the memory.
LONGEST = 1 << 16

_DESCRIPTOR = 2


@contextlib.contextmanager
def logged():
    """Route standard error into the log, as warnings, for the time of the block.

    Python's own `sys.stderr` still reaches the terminal: a log that cannot be written complains there, and would
    otherwise log its own complaint for ever. A crash of the process leaves its stack there too.
    """
    terminal = os.dup(_DESCRIPTOR)
    reading, writing = os.pipe()
    os.dup2(writing, _DESCRIPTOR)
    os.close(writing)
    thread = threading.Thread(target=_copy, args=(reading,), name="standard error", daemon=True)
    thread.start()
    before, enabled = sys.stderr, faulthandler.is_enabled()
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
    if not enabled:
        faulthandler.enable(terminal)
    try:
        yield
    finally:
        if not enabled:
            faulthandler.disable()
        sys.stderr.close()
        sys.stderr = before
        os.dup2(terminal, _DESCRIPTOR)
        os.close(terminal)
        # A process of ours that lives longer has the other end of the pipe too.
        thread.join(1)


def _copy(reading):
    with os.fdopen(reading, "rb") as lines:
        while line := lines.readline(LONGEST):
            text = line.decode("utf-8", "backslashreplace").strip()
            # Without a reader the writers would wait for ever, so whatever a handler raises, this goes on.
            with contextlib.suppress(Exception):
                if text:
                    log.warning("%s", text)
