"""Remarks of libraries that nobody who reads them could act on, kept from the terminal by any number of threads."""

import threading
import warnings

# (message, module), regular expressions as `warnings` has them.
IGNORED = (
    # The limits of an image are checked by ourselves, and odd metadata is no reason to stop.
    ("", r"PIL\."),
    ("", r"tifffile"),
    # tf_slim calls its layers by names that TensorFlow warns of.
    ("`layer.apply` is deprecated", ""),
    ("`layer.updates` will be removed", ""),
)


class _SuppressWarnings:
    """A context without REMARKS.

    `warnings.catch_warnings` alone would let the thread that ends first bring back what another still needs gone:
    images are decoded while a network is traced.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                for message, module in IGNORED:
                    warnings.filterwarnings("ignore", message, module=module)
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


suppress_warnings = _SuppressWarnings()
