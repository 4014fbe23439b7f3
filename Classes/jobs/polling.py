"""Wait for something that another machine does, by looking again and again."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

# Seconds between two looks: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5


def poll(look: Callable[[], Value | None], timeout: float) -> Value | None:
    """Return what a function finds as soon as it returns something; None if it does not within `timeout` seconds.

    Args:
      look: called at least once; its errors end the waiting.
      timeout: seconds.
    """
    deadline, pause = time.monotonic() + timeout, FIRST_PAUSE
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return found
