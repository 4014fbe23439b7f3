"""Compute units in worker processes of this machine; one that dies is replaced, and its unit is known."""

import contextlib
import multiprocessing.connection
import os
import signal
from collections.abc import Sequence
from typing import Any

from Classes.common.errors import EngineError
from Classes.common.translation import Message
from Classes.jobs import fork_server, worker
from Classes.jobs.executor import Outcome, Work
from Classes.jobs.items import Unit

# Seconds in which an idle worker notices that the run has ended.
END_TIMEOUT = 5


class _Worker:
    """One process and its pipe.

    Attributes:
      unit: what it computes; None: it is idle.
      is_ready: whether its task is open.
    """

    def __init__(self, work: Work, cores: frozenset[int]) -> None:
        self.cores = cores
        self.unit: Unit | None = None
        self.is_ready = False
        context = fork_server.context()
        self.connection, other = context.Pipe()
        arguments = (other, work, cores)
        self._process = context.Process(target=worker.serve_units, args=arguments, daemon=True)
        self._process.start()
        other.close()

    def kill(self) -> None:
        """End the process at once."""
        # It may have ended by itself.
        with contextlib.suppress(ValueError):
            self._process.kill()

    def end(self, kill: bool = False) -> int | None:
        """End the process and return its exit code; a negative one is the number of a signal."""
        self.connection.close()
        if kill:
            self._process.kill()
        self._process.join(END_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        self._process.close()
        return code


class WorkerPool:
    """Computes units in processes; see executor.Executor.

    Args:
      work: the job.
      processes: number of worker processes; they are started as units are submitted.
      cores: numbers of the processor cores of each; empty: all. None: the processes share the cores of this one.
    """

    def __init__(self, work: Work, processes: int, cores: Sequence[frozenset[int]] | None = None) -> None:
        self.slots = processes
        self._work = work
        self._free_cores = share_cores(processes) if cores is None else list(cores)
        self._workers: list[_Worker] = []
        fork_server.start([work.task.partition(":")[0]], self._free_cores[0])

    def submit(self, unit: Unit) -> None:
        """Give a unit to an idle worker, or to a new one."""
        chosen = next((each for each in self._workers if each.unit is None), None)
        if chosen is None:
            chosen = _Worker(self._work, self._free_cores.pop())
            self._workers.append(chosen)
        chosen.unit = unit
        # If the worker has died while it was idle, next_outcome notices that.
        with contextlib.suppress(OSError):
            chosen.connection.send(unit)

    def next_outcome(self) -> Outcome:
        """Wait for a unit, or for the death of its process."""
        while True:
            busy = {each.connection: each for each in self._workers if each.unit is not None}
            [connection, *_] = multiprocessing.connection.wait(list(busy))
            chosen = busy[connection]
            try:
                message: Any = chosen.connection.recv()
            except (EOFError, OSError):
                return self._bury(chosen)
            if message == worker.READY:
                chosen.is_ready = True
                continue
            if isinstance(message, Exception):
                raise message
            chosen.unit = None
            outcome: Outcome = message
            return outcome

    def kill(self) -> None:
        """End the workers that compute; another thread may wait for their units, which have died then."""
        for each in list(self._workers):
            if each.unit is not None:
                each.kill()

    def close(self) -> None:
        """End all workers."""
        for each in self._workers:
            each.end(kill=each.unit is not None)
        self._workers.clear()

    def _bury(self, dead: _Worker) -> Outcome:
        self._workers.remove(dead)
        self._free_cores.append(dead.cores)
        code = dead.end()
        if not dead.is_ready:
            raise EngineError(
                Message(
                    "A worker process ended while it loaded its models ({reason}). Free some memory, or set "
                    "Processes=0.",
                    reason=_describe_exit(code),
                ),
                "worker_failed",
            )
        unit = dead.unit
        assert unit is not None
        return Outcome(unit, died=True)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.strsignal(-code) or f"signal {-code}"
    return f"exit code {code}"


def share_cores(processes: int) -> list[frozenset[int]]:
    """Return the cores of each worker; empty: all, because there are fewer cores than workers, or only one worker."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = len(cores) // processes
    if processes == 1 or not share:
        return [frozenset()] * processes
    return [frozenset(cores[start * share : (start + 1) * share]) for start in range(processes)]
