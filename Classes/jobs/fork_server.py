"""Start worker processes as copies of a server that has imported what they need."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from multiprocessing import forkserver, resource_tracker
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
        # Python starts it with the server, and allows Ctrl-C again as soon as it runs.
        resource_tracker.ensure_running()
        with _environment(variables), _without_interrupt():
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


@contextlib.contextmanager
def _without_interrupt() -> Iterator[None]:
    """Block Ctrl-C for a process that is started meanwhile: the run handles it, and ends its processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
