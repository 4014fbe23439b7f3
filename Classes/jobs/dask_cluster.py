"""Compute units on the workers of a Dask cluster (https://distributed.dask.org), which read the files themselves."""

import asyncio
import collections
import contextlib
import logging
import math
import pathlib
import pkgutil
import queue
import sys
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
from Classes.jobs import cluster_check, cluster_client, dask_worker, polling
from Classes.jobs.executor import Outcome, Work
from Classes.jobs.items import Unit

if TYPE_CHECKING:
    import distributed

# Seconds: until a connection is back; for the first worker, or another one after all are gone; between two looks at the
# cluster; for the cluster to stop what it computes.
CONNECT_TIMEOUT, WORKER_TIMEOUT, LOOK, STOP_TIMEOUT = 30.0, 60.0, 1.0, 5.0

# A thread has its next call before it has finished one.
CALLS_PER_THREAD = 2

# Seconds that the units of a call take: it costs the cluster about 20 ms, and its results are shown together. Of a lost
# one, only the unit in progress is computed again.
CALL_SECONDS = 1.0

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

    # It shares out all units by itself, so that each call has as many as fit.
    slots = sys.maxsize

    def __init__(self, work: Work, items: Sequence[Any], address: str, client: Any = None) -> None:
        self._work, self._address = work, address
        self._client: distributed.Client = client or cluster_client.connect(address)
        # After connecting, because it writes a file.
        self._expected = cluster_check.expect(work, items)
        self._waiting: collections.deque[Unit] = collections.deque()
        self._done: queue.SimpleQueue[distributed.Future] = queue.SimpleQueue()
        self._futures: dict[str, tuple[distributed.Future, tuple[Unit, ...]]] = {}
        self._outcomes: collections.deque[Outcome] = collections.deque()
        # Number and seconds of the units that were computed.
        self._computed, self._seconds = 0, 0.0
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

    def submit(self, unit: Unit) -> None:
        """Accept a unit; the next call of `next_outcome` sends its names to the cluster."""
        self._waiting.append(unit)

    def next_outcome(self) -> Outcome:
        """Wait for a unit.

        Raises:
          ALLError: also `cluster_lost`: the scheduler is gone; `cluster_no_workers`: all workers are.
        """
        while not self._outcomes:
            interrupts.check()
            self._look()
            self._send_calls()
            with contextlib.suppress(queue.Empty):
                future = self._done.get(timeout=LOOK)
                _future, units = self._futures.pop(future.key, (None, ()))
                if units:
                    self._outcomes.extend(self._receive(future, units))
        return self._outcomes.popleft()

    def _send_calls(self) -> None:
        threads = max(1, sum(self._threads.values()))
        while self._waiting and len(self._futures) < CALLS_PER_THREAD * threads:
            # The last calls have fewer units, so that all threads end together.
            count = math.ceil(len(self._waiting) / (CALLS_PER_THREAD * threads))
            # As long as nothing is known, a unit may take a minute.
            fitting = CALL_SECONDS * self._computed / self._seconds if self._seconds else 1.0
            self._send(tuple(self._waiting.popleft() for _ in range(max(1, min(count, int(fitting))))))

    def _send(self, units: tuple[Unit, ...]) -> None:
        # A new name: Dask would answer one that it knows with the old result.
        self._number += 1
        key = f"units-{units[0].key}-{self._expected.probe}-{self._number}"
        call = dask_worker.Call(self._work, self._expected, units)
        future = self._client.submit(dask_worker.compute, call, key=key)
        self._futures[key] = future, units
        future.add_done_callback(self._done.put)

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
            self._client.cancel([future for future, _units in self._futures.values()], force=True)
            self._client.run(dask_worker.stop, self._work.folder, on_error="ignore")

    def _receive(self, future: "distributed.Future", units: tuple[Unit, ...]) -> list[Outcome]:
        """Return what became of the units of a call; nothing if they are computed again."""
        if future.cancelled():
            self._wait_for_scheduler()
            self._send(units)
            return []
        try:
            answers = future.result(timeout=CONNECT_TIMEOUT)
        except Exception as error:
            self._after_error(error, units)
            return []
        if isinstance(answers, ALLError):
            raise answers
        took = [answer.seconds for answer in answers if answer.seconds]
        self._computed, self._seconds = self._computed + len(took), self._seconds + sum(took)
        return [
            Outcome(unit, answer.died, answer.records, answer.seconds)
            for unit, answer in zip(units, answers, strict=True)
        ]

    def _after_error(self, error: Exception, units: tuple[Unit, ...]) -> None:
        """Compute units again if only their worker was lost, or raise the error that ends the run."""
        import distributed

        lost = distributed.KilledWorker, distributed.comm.CommClosedError, CancelledError, asyncio.TimeoutError
        if isinstance(error, ImportError):
            raise _no_project(self._address, error) from error
        if not isinstance(error, lost):
            raise error
        self._lost.update(unit.key for unit in units)
        given_up = next((unit for unit in units if self._lost[unit.key] >= MAX_LOST), None)
        if given_up is None:
            self._send(units)
            return
        raise EngineError(
            Message(
                "{address}: the workers end again and again while they compute {name}. See their logs, and run "
                "the same command again: it continues.",
                address=self._address,
                name=given_up.items[0].name,
            ),
            "cluster_workers_lost",
        ) from error

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
        if polling.poll(self._scheduler_status, CONNECT_TIMEOUT) != "running":
            raise EngineError(
                Message(
                    "{address}: the scheduler is gone. Start it and its workers again, and run the same command "
                    "again: it continues.",
                    address=self._address,
                ),
                "cluster_lost",
            )

    def _scheduler_status(self) -> str | None:
        """Return "running" or "closed"; None: the connection may come back."""
        interrupts.check()
        status = str(self._client.status)
        return status if status in ("running", "closed") else None

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
