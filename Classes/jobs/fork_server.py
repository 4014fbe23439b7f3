"""Start worker processes as copies of a server that has imported what they need."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from multiprocessing import forkserver
from typing import Any

from Classes.common.paths import PROJECT

# The server has one thread, so that its copies cannot inherit a lock that another thread holds. macOS can fork, but its
# own libraries do not survive it.
AVAILABLE = sys.platform == "linux"

# Number of threads of numpy's matrix products, which it chooses when it is imported.
BLAS_THREADS = "OPENBLAS_NUM_THREADS"

_lock = threading.Lock()
_started = False


def start(modules: Iterable[str], cores: Collection[int]) -> None:
    """Start the server, unless this process has one; it imports the modules in the background.

    Args:
      modules: names; those that do not exist are skipped.
      cores: numbers of the processor cores of a worker process; empty: all.
    """
    global _started
    with _lock:
        if _started or not AVAILABLE:
            return
        _started = True
        # The main module is loaded again in each worker process, in which it is called __mp_main__.
        forkserver.set_forkserver_preload(["__main__", "Classes.jobs.worker", *modules])
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        variables = {"PYTHONPATH": path}
        if cores and BLAS_THREADS not in os.environ:
            variables[BLAS_THREADS] = str(len(cores))
        with _environment(variables):
            forkserver.ensure_running()


def context() -> Any:
    """Return what starts a worker process."""
    # "spawn" starts a new Python.
    return multiprocessing.get_context("forkserver" if AVAILABLE else "spawn")


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
