"""Log what compiled libraries, such as libtiff, write to the process's standard error."""

import contextlib
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Iterator

log = logging.getLogger("Library")

# Longest line in bytes: text without line ends must not fill the memory.
LONGEST = 1 << 16

_DESCRIPTOR = 2


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Send standard error to the log, as warnings, while the block runs.

    Python's own `sys.stderr` still writes to the terminal: a log that cannot be written reports that there, and would
    otherwise log its own report forever. A crash of the process also writes its stack there.
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
        # A child process that lives longer keeps the pipe open.
        thread.join(1)


def _copy(reading: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        while line := lines.readline(LONGEST):
            text = line.decode("utf-8", "backslashreplace").strip()
            # Without a reader the writers would block, so an error of a log handler must not end this thread.
            with contextlib.suppress(Exception):
                if text:
                    log.warning("%s", text)
