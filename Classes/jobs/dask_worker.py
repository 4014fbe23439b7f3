"""What runs in a Dask worker: it gives its units to a child process, so that a unit can end only that."""

import dataclasses
import logging
import multiprocessing
import os
import threading
from collections.abc import Sequence
from typing import Any

from Classes.common.errors import ALLError
from Classes.jobs import cluster_check, fork_server
from Classes.jobs.executor import Outcome, Work
from Classes.jobs.items import Unit
from Classes.jobs.job_folder import JobFolder
from Classes.jobs.run_job import code_hash
from Classes.jobs.worker_pool import WorkerPool, share_cores

# Seconds after which a child without work ends and frees its models: another command may follow until then, and the run
# that needed it may have been killed.
IDLE_TIMEOUT = 60.0

# What children import before there is work. A module that does not exist, or whose packages are missing, is skipped.
TASK_MODULES = (
    "Classes.inference.openvino_backend",
    "Classes.inference.classify_task",
    "Classes.fields.field_task",
    "Classes.fields.slide_task",
    "Classes.dataset.decode_task",
)


@dataclasses.dataclass(frozen=True)
class Call:
    """Some units for a worker, because each call costs a cluster several milliseconds.

    Attributes:
      expected: compared once per worker.
    """

    work: Work
    expected: cluster_check.Expected
    units: tuple[Unit, ...]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What travels back of a unit, whose results are in its part file; see executor.Outcome."""

    died: bool = False
    records: tuple[logging.LogRecord, ...] = ()
    seconds: float = 0.0


@dataclasses.dataclass(eq=False)
class _Child:
    """A child process, and what it computes.

    Attributes:
      timer: ends the child after it was idle for some time; None: it computes.
      is_stopped: whether its run has ended, so that no other unit is to start.
    """

    work: Work
    cores: frozenset[int]
    pool: WorkerPool
    timer: threading.Timer | None = None
    is_stopped: bool = False

    def compute(self, unit: Unit) -> Outcome:
        """Compute a unit, unless it is finished or the run has ended."""
        if self.is_stopped:
            return Outcome(unit, died=True)
        if JobFolder(self.work.folder).is_finished(unit):
            # This worker, or one that is gone, has finished it, but its answer was lost.
            return Outcome(unit)
        self.pool.submit(unit)
        return self.pool.next_outcome()


class Children:
    """The child processes of this worker, one per thread; each keeps its task open from unit to unit.

    Args:
      threads: number of threads of the worker; they share its cores.
    """

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._free_cores = share_cores(threads)
        self._idle: list[_Child] = []
        self._busy: list[_Child] = []

    def compute(self, work: Work, units: Sequence[Unit]) -> list[Outcome]:
        """Compute units in an idle child with the same work, or in a new one."""
        with self._lock:
            child = self._take(work)
            self._busy.append(child)
        is_open = False
        try:
            outcomes = [child.compute(unit) for unit in units]
            is_open = not child.is_stopped
        finally:
            with self._lock:
                self._busy.remove(child)
                if is_open:
                    self._wait(child)
                else:
                    self._end(child)
        return outcomes

    def stop(self, folder: str) -> None:
        """End the children that compute for a job's folder; idle ones end by themselves."""
        with self._lock:
            for child in self._busy:
                if child.work.folder == folder:
                    child.is_stopped = True
                    child.pool.kill()

    def _take(self, work: Work) -> _Child:
        chosen = next((child for child in self._idle if child.work == work), None)
        if chosen is None and not self._free_cores:
            # Another job's: a worker has no more children than threads.
            self._end(self._taken(self._idle[0]))
        if chosen is not None:
            return self._taken(chosen)
        cores = self._free_cores.pop()
        return _Child(work, cores, WorkerPool(work, 1, [cores]))

    def _taken(self, child: _Child) -> _Child:
        self._idle.remove(child)
        if child.timer is not None:
            child.timer.cancel()
            child.timer = None
        return child

    def _wait(self, child: _Child) -> None:
        """Keep a child for the next unit, but not forever."""
        self._idle.append(child)
        child.timer = threading.Timer(IDLE_TIMEOUT, self._end_idle, [child])
        child.timer.daemon = True
        child.timer.start()

    def _end_idle(self, child: _Child) -> None:
        with self._lock:
            # It may have got work in the last moment.
            if child in self._idle and child.timer is threading.current_thread():
                self._end(self._taken(child))

    def _end(self, child: _Child) -> None:
        self._free_cores.append(child.cores)
        child.pool.close()


_lock = threading.Lock()
_children: Children | None = None
_accepted: set[str] = set()


def accept(expected: cluster_check.Expected) -> ALLError | None:
    """Compare this worker with a run, once; see cluster_check.check."""
    key = f"{expected.folder}/{expected.probe}"
    if key not in _accepted:
        if error := cluster_check.check(expected):
            return error
        _accepted.add(key)
    return None


def compute(call: Call) -> list[Answer] | ALLError:
    """Compute units and write their part files.

    Returns:
      one answer per unit, or the error that describes why this worker cannot take part.
    Raises:
      ALLError: the run cannot continue.
    """
    if error := accept(call.expected):
        return error
    outcomes = _open_children().compute(call.work, call.units)
    return [Answer(outcome.died, outcome.records, outcome.seconds) for outcome in outcomes]


def stop(folder: str) -> None:
    """End what computes for a job's folder in this worker; children without work end later."""
    if _children is not None:
        _children.stop(folder)


def dask_setup(worker: Any) -> None:
    """Prepare a worker that has just started, so that the first run does not wait; see Required/cluster/dask.yaml."""
    _prepare(worker.state.nthreads)
    # Of what is imported here, and not of what may lie there after an update.
    code_hash()


def _prepare(threads: int) -> None:
    global _children
    with _lock:
        if _children is not None:
            return
        # A daemon, which Dask's workers are by default, may have no children; theirs end with them all the same.
        multiprocessing.current_process().daemon = False
        # With this, which Dask sets for its workers, the children would return memory to the system and get it again
        # for every array: a field took half as long again.
        os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
        _children = Children(threads)
        fork_server.start(TASK_MODULES, share_cores(threads)[0])


def _open_children() -> Children:
    if _children is None:
        from distributed import get_worker

        _prepare(get_worker().state.nthreads)
    assert _children is not None
    return _children
