"""Waiting for an event itself, never for a time that a busy machine may exceed."""

import time

# Seconds; it only bounds a hang. A test that reaches it has failed, and no test that holds comes near it.
LIMIT = 240

# For a whole training or suite in another process, which takes minutes on a busy machine.
LONG_LIMIT = 5 * LIMIT


def until(condition, what="what was waited for", ended=lambda: False):
    """Wait until `condition()` is true, and return what it returned.

    Args:
      condition: called again and again.
      what: its name in the failure; or a function that returns it.
      ended: whether it can no longer become true, because a process has ended for instance.
    """
    end = time.monotonic() + LIMIT
    while True:
        # In this order: a process may end right after it made the condition true.
        over = ended() or time.monotonic() > end
        if found := condition():
            return found
        assert not over, f"{what() if callable(what) else what} did not happen"
        time.sleep(0.01)
