"""Stop long work early: whoever starts it says how to check, and its loops call `check` between their steps."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

_CHECK: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("check", default=None)


@contextlib.contextmanager
def checked_by(function: Callable[[], None]) -> Iterator[None]:
    """Let `check` call a function in this thread, which raises an exception if the work must stop."""
    token = _CHECK.set(function)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check() -> None:
    """Raise the exception of the function of `checked_by` if the work must stop; do nothing outside of it."""
    function = _CHECK.get()
    if function is not None:
        function()
