"""A worker process: receives units over a pipe, and computes them until the run ends."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Collection

from Classes.common.errors import ALLError
from Classes.jobs import log_relay
from Classes.jobs.executor import Outcome, Work, compute_unit
from Classes.jobs.items import Unit
from Classes.jobs.task import TaskHost

# Sent by a worker whose task is open: from now on, its units are to blame if it dies.
READY = "ready"


def serve_units(connection: multiprocessing.connection.Connection, work: Work, cores: Collection[int]) -> None:
    """Compute the units that arrive.

    Sends READY, and then for each unit an Outcome or the exception that ends the run.

    Args:
      connection: to the run; if it closes, the worker ends.
      work: the job.
      cores: numbers of the processor cores to use; empty: all.
    """
    # The run itself handles Ctrl-C, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if cores and hasattr(os, "sched_setaffinity"):
        # Each worker has its own cores, so that the threads of one do not wait for those of another.
        os.sched_setaffinity(0, cores)
    host = TaskHost()
    with contextlib.suppress(EOFError, BrokenPipeError):
        with log_relay.collect_records() as records:
            try:
                host.open(work.task, work.settings)
            except Exception as error:
                connection.send(_sendable(error))
                return
        connection.send(READY)
        while True:
            unit: Unit = connection.recv()
            started = time.perf_counter()
            with log_relay.collect_records() as more:
                try:
                    compute_unit(host, work, unit)
                except Exception as error:
                    connection.send(_sendable(error))
                    return
            seconds = time.perf_counter() - started
            connection.send(Outcome(unit, records=(*records, *more), seconds=seconds))
            records.clear()


def _end_with_parent() -> None:
    """End this process as soon as the run is gone, also if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """Return an error without its cause, which may not be picklable."""
    if isinstance(error, (ALLError, OSError)):
        return error.with_traceback(None)
    # A defect: the other process cannot use its type, but the developer needs its text.
    return RuntimeError(f"{type(error).__name__}: {error}")
