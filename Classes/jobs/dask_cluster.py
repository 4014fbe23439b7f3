"""Compute units on the workers of a Dask cluster (https://distributed.dask.org), which read the files themselves."""

import asyncio
import contextlib
import logging
import pathlib
import pkgutil
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from Classes.common import interrupts, terminal
from Classes.common.errors import ALLError, ConfigurationError, EngineError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.jobs import cluster_check, cluster_client, dask_worker
from Classes.jobs.executor import Outcome, Work
from Classes.jobs.items import Unit

if TYPE_CHECKING:
    import distributed

# Seconds: until a connection is back; for the first worker, or another one after all are gone; between two looks at the
# cluster; for the cluster to stop what it computes.
CONNECT_TIMEOUT, WORKER_TIMEOUT, LOOK, STOP_TIMEOUT = 30.0, 60.0, 1.0, 5.0

# A thread has its next unit before it has finished one.
UNITS_PER_THREAD = 2

# Dask gives a unit up (KilledWorker) after the fourth worker that has ended while it had the unit, for whatever reason.
# The unit itself can only end a child of the worker, so it is given to other workers, but not forever.
MAX_LOST = 5

log = logging.getLogger("Jobs")


class DaskExecutor:
    """Computes units on a cluster; see executor.Executor.

    Args:
      work: the job.
      items: some items of the job; all workers must see their files.
      address: of the scheduler, or the path of its scheduler file.
      client: a distributed.Client; None: a new one.
    Raises:
      ALLError: `package_missing`, `cluster_unreachable`, `cluster_no_workers`, `cluster_versions`, `cluster_folder`.
    """

    def __init__(self, work: Work, items: Sequence[Any], address: str, client: Any = None) -> None:
        self._work, self._address = work, address
        self._client: distributed.Client = client or cluster_client.connect(address)
        # After connecting, because it writes a file.
        self._expected = cluster_check.expect(work, items)
        self._done: queue.SimpleQueue[distributed.Future] = queue.SimpleQueue()
        self._futures: dict[str, tuple[distributed.Future, Unit]] = {}
        self._lost: Counter[str] = Counter()
        self._number = 0
        self._threads: dict[str, int] = {}
        self._looked = self._seen = time.monotonic()
        try:
            self._wait_for_workers()
            self._check_workers()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """Number of units in flight, which follows the number of the workers' threads."""
        return max(1, UNITS_PER_THREAD * sum(self._threads.values()))

    def submit(self, unit: Unit) -> None:
        """Send the names of a unit's items to the cluster."""
        # A new name: Dask would answer one that it knows with the old result.
        self._number += 1
        key = f"unit-{unit.key}-{self._expected.probe}-{self._number}"
        call = dask_worker.Call(self._work, self._expected, unit)
        future = self._client.submit(dask_worker.compute, call, key=key)
        self._futures[key] = future, unit
        future.add_done_callback(self._done.put)

    def next_outcome(self) -> Outcome:
        """Wait for a unit.

        Raises:
          ALLError: also `cluster_lost`: the scheduler is gone; `cluster_no_workers`: all workers are.
        """
        while True:
            interrupts.check()
            self._look()
            try:
                future = self._done.get(timeout=LOOK)
            except queue.Empty:
                continue
            _future, unit = self._futures.pop(future.key, (None, None))
            if unit is not None and (outcome := self._outcome(future, unit)):
                return outcome

    def close(self) -> None:
        """Cancel what is left on the cluster, and leave it."""
        # In a thread, because a machine that was switched off keeps the scheduler waiting.
        thread = threading.Thread(target=self._stop, daemon=True)
        thread.start()
        thread.join(STOP_TIMEOUT)
        with contextlib.suppress(Exception):
            self._client.close(timeout=1)
        with contextlib.suppress(OSError):
            (pathlib.Path(self._work.folder) / self._expected.probe).unlink()

    def _stop(self) -> None:
        with contextlib.suppress(Exception):
            self._client.cancel([future for future, _unit in self._futures.values()], force=True)
            self._client.run(dask_worker.stop, self._work.folder, on_error="ignore")

    def _outcome(self, future: "distributed.Future", unit: Unit) -> Outcome | None:
        """Return what became of a unit; None if it is computed again."""
        if future.cancelled():
            self._wait_for_scheduler()
            self.submit(unit)
            return None
        try:
            answer = future.result(timeout=CONNECT_TIMEOUT)
        except Exception as error:
            self._after_error(error, unit)
            return None
        if isinstance(answer, ALLError):
            raise answer
        return Outcome(unit, answer.died, answer.records)

    def _after_error(self, error: Exception, unit: Unit) -> None:
        """Compute a unit again if only its worker was lost, or raise the error that ends the run."""
        import distributed

        lost = distributed.KilledWorker, distributed.comm.CommClosedError, CancelledError, asyncio.TimeoutError
        if isinstance(error, ImportError):
            raise _no_project(self._address, error) from error
        if isinstance(error, lost):
            self._lost[unit.key] += 1
            if self._lost[unit.key] < MAX_LOST:
                self.submit(unit)
                return
            raise EngineError(
                Message(
                    "{address}: the workers end again and again while they compute {name}. See their logs, and run "
                    "the same command again: it continues.",
                    address=self._address,
                    name=unit.items[0].name,
                ),
                "cluster_workers_lost",
            ) from error
        raise error

    def _look(self) -> None:
        """Follow the number of workers, at most once per LOOK seconds."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        self._wait_for_scheduler()
        self._update_threads()
        if now - self._seen > WORKER_TIMEOUT:
            raise EngineError(
                Message(
                    "{address}: no worker for {seconds:.0f} seconds. Start one, see docs/cluster.md, and run the same "
                    "command again: it continues.",
                    address=self._address,
                    seconds=WORKER_TIMEOUT,
                ),
                "cluster_no_workers",
            )

    def _update_threads(self) -> None:
        try:
            threads = dict(self._client.nthreads())
        except (OSError, asyncio.TimeoutError):
            # The next look finds out whether the scheduler is gone.
            return
        if threads:
            self._seen = time.monotonic()
        if threads != self._threads:
            self._threads = threads
            self._show_workers()

    def _show_workers(self) -> None:
        workers, threads = len(self._threads), sum(self._threads.values())
        log.info("Cluster %s: workers: %d, threads: %d", self._address, workers, threads)
        terminal.say(
            _("Cluster {address}: workers: {workers}, threads: {threads}").format(
                address=self._address, workers=workers, threads=threads
            )
        )

    def _wait_for_scheduler(self) -> None:
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while self._client.status != "running":
            interrupts.check()
            if self._client.status == "closed" or time.monotonic() >= deadline:
                raise EngineError(
                    Message(
                        "{address}: the scheduler is gone. Start it and its workers again, and run the same command "
                        "again: it continues.",
                        address=self._address,
                    ),
                    "cluster_lost",
                )
            time.sleep(LOOK / 10)

    def _wait_for_workers(self) -> None:
        self._update_threads()
        if not self._threads:
            terminal.say(_("Waiting for workers of {address}…").format(address=self._address))
        while not self._threads:
            interrupts.check()
            time.sleep(LOOK / 10)
            self._look()

    def _check_workers(self) -> None:
        """Compare all workers before the start; one that joins later is compared with its first unit."""
        # A worker that cannot import what it is sent ends, so it is asked first whether it can.
        name = f"{dask_worker.__name__}:{dask_worker.accept.__name__}.__module__"
        self._raise_refusal(self._client.run(pkgutil.resolve_name, name, on_error="return"))
        self._raise_refusal(self._client.run(dask_worker.accept, self._expected, on_error="return"))

    def _raise_refusal(self, answers: Mapping[str, Any]) -> None:
        """Raise the error of the first worker that has answered with one."""
        for worker, answer in sorted(answers.items()):
            if isinstance(answer, ALLError):
                raise answer
            if isinstance(answer, Exception):
                raise _no_project(worker, answer)


def _no_project(worker: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        Message(
            "The worker {worker} does not find the project ({reason}). Start it in the project's folder, "
            "with the project's Python.",
            worker=worker,
            reason=str(error),
        ),
        "cluster_versions",
    )
