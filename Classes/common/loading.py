"""Load packages without looking for garbage among what they make."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A context for imports that take long.

    A package makes many thousands of objects that stay. While it loads, Python would go through all of them again and
    again: a quarter of the processor time of TensorFlow's import, a tenth of that of other packages.
    """
    was_enabled, loaded = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > loaded:
            # Nor need it look at them later.
            gc.freeze()
        if was_enabled:
            gc.enable()
