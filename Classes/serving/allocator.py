"""The memory that freed arrays leave behind, which the C library returns to the system too soon for a server."""

import contextlib
import ctypes
import os
import sys

# Parameters of mallopt(3), and the variables of the environment that set them.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")

# Free bytes that each thread keeps at most: more than a request for one cell needs.
KEPT = 16 << 20

# Arrays from this size on, which only large photographs have, are returned to the system at once.
LARGE = 4 << 20


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of a request for the next one; return whether it does.

    Otherwise it returns a few megabytes after every request, and the system clears them again page by page during the
    next one. If one of glibc's own variables is set, it applies instead.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _VARIABLES):
        return False
    # Other C libraries have no such function.
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_TRIM_THRESHOLD, KEPT)) and bool(mallopt(_MMAP_THRESHOLD, LARGE))
    return False
