"""Run a job: skip what is finished, compute the rest, and read the results in order."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from Classes.common import interrupts, locks, provenance
from Classes.common.config import Configuration
from Classes.common.paths import PROJECT
from Classes.jobs import log_relay
from Classes.jobs.executor import Executor, InProcessExecutor, Work
from Classes.jobs.items import Item, Unit, make_units
from Classes.jobs.job_folder import KILLED, JobFolder
from Classes.jobs.open_executors import OpenExecutors
from Classes.jobs.shards import Shard

# Packages whose version can change a result.
PACKAGES = ("numpy", "openvino", "pillow")

# An item is given up after it has ended its process this many times.
MAX_DEATHS = 2

log = logging.getLogger("Jobs")

OnResult = Callable[[Item, dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
      task: import path of a task.Task, such as "Classes.fields.field_task:FieldTask".
      settings: its JSON settings: all that the results depend on besides the items, such as the hashes of models.
      items: in the order in which the results are merged.
      items_per_unit: how many are computed together; more if one takes less time than writing a file.
    """

    task: str
    settings: Mapping[str, Any]
    items: Sequence[Item]
    items_per_unit: int = 1

    def identity(self) -> dict[str, Any]:
        """Return what all part files of the job have in common; another code or package makes another job."""
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        return {
            "task": self.task,
            "settings": dict(self.settings),
            "software_version": provenance.version(),
            "code_sha256": code_hash(),
            "packages": versions,
        }


@functools.cache
def code_hash() -> str:
    """Return the SHA-256 of the source code of `Classes`, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted((PROJECT / "Classes").rglob("*.py")):
        digest.update(f"{path.relative_to(PROJECT).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class InOrder:
    """Gives results in the order of their items, although they arrive in another one."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._waiting = deque(items)
        # Equal items have equal results.
        self._arrived: dict[str, dict[str, Any]] = {}

    def add(self, item: Item, result: dict[str, Any]) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Yield every (item, result) whose turn it is, now that one more has arrived."""
        self._arrived[Unit((item,)).key] = result
        while self._waiting and (key := Unit((self._waiting[0],)).key) in self._arrived:
            yield self._waiting.popleft(), self._arrived.pop(key)


class JobRun:
    """One run of a job, by `start_job`.

    Attributes:
      folder: its part files.
      shard: the share that this run computes; None: everything.
      items: all items of the job.
      own_items: the items of this share, or all.
      finished_before: number of these items whose results an earlier run, or another one, has left.
    """

    def __init__(self, job: Job, folder: JobFolder, shard: Shard | None, executors: OpenExecutors) -> None:
        self.folder, self.shard = folder, shard
        self._executors, self._job, self.items = executors, job, job.items
        self._units = make_units(job.items, job.items_per_unit)
        self._own = shard.select(self._units) if shard else self._units
        # A new job has nothing to look for.
        left = self._own if folder.is_empty() else [part for unit in self._own for part in self._missing(unit)]
        # Equal units are computed once.
        self._left = list({unit.key: unit for unit in left}.values())
        kept = set(map(id, self._left))
        self._equal = [unit for unit in left if id(unit) not in kept]
        self.own_items = [item for unit in self._own for item in unit.items]
        self.finished_before = len(self.own_items) - sum(len(unit.items) for unit in left)

    def compute(self, on_result: OnResult) -> None:
        """Compute what is left of this run's share.

        Args:
          on_result: called with each item and its result as it is finished, in any order; an item that ended its
            process twice has the result KILLED.
        Raises:
          ALLError: the run cannot continue; what is finished stays.
        """
        if self._left:
            self._compute(on_result)
        self._join_parts()
        for unit in self._equal:
            self._report(unit, on_result)

    def _compute(self, on_result: OnResult) -> None:
        work = Work(self._job.task, self._job.settings, str(self.folder.path))
        with self._executors.open(work, self._job.items, len(self._units), len(self._left)) as executor:
            self._compute_with(executor, on_result)

    def _compute_with(self, executor: Executor, on_result: OnResult) -> None:
        deaths: Counter[str] = Counter()
        waiting, in_flight = deque(self._left), 0
        if isinstance(executor, InProcessExecutor):
            # One item at a time, so that each result is shown and saved as soon as it is ready.
            waiting = deque(part for unit in self._left for part in unit.split())
        while True:
            interrupts.check()
            in_flight += self._submit(executor, waiting, executor.slots - in_flight, on_result)
            if not in_flight:
                return
            outcome = executor.next_outcome()
            in_flight -= 1
            log_relay.replay(outcome.records)
            if outcome.died:
                waiting.extendleft(reversed(self._after_death(outcome.unit, deaths, on_result)))
                continue
            # Before the result is shown, so that its process does not wait for that.
            in_flight += self._submit(executor, waiting, executor.slots - in_flight, on_result)
            self._report(outcome.unit, on_result)

    def _submit(self, executor: Executor, waiting: deque[Unit], slots: int, on_result: OnResult) -> int:
        """Submit so many units, or those that are left; return their number."""
        submitted = 0
        while waiting and submitted < slots:
            unit = waiting.popleft()
            if self.folder.is_finished(unit):
                # By another run, since this one has started.
                self._report(unit, on_result)
                continue
            executor.submit(unit)
            submitted += 1
        return submitted

    def in_order(self) -> "InOrder":
        """Return what gives the results of this run in the order of its items."""
        return InOrder([item for unit in (*self._left, *self._equal) for item in unit.items])

    def once(self, name: str, check: Callable[[], object]) -> None:
        """Call a function, unless it has succeeded in an earlier run of this job.

        Args:
          name: of the function, as a name of a file.
          check: for example that a folder is empty, into which units write afterwards.
        """
        done = self.folder.path / name
        if not done.exists():
            check()
            done.touch()

    def lock(self, item: Item, on_wait: Callable[[], object]) -> contextlib.AbstractContextManager[None]:
        """Lock an item against other shares that compute it too, so that all but one find its result.

        Args:
          item: that all of them need.
          on_wait: called before waiting for another share.
        """
        return locks.folder_lock(self.folder.path / "runs" / Unit((item,)).key, on_wait=on_wait)

    def results(self) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Yield every item that is finished, by any run, with its result, in the order of the items."""
        for unit in self._units:
            if (found := self.folder.read(unit)) is not None:
                yield from zip(unit.items, found, strict=True)
            elif len(unit.items) > 1:
                # Some of its items may have been computed one by one.
                for part in unit.split():
                    yield from zip(part.items, self.folder.read(part) or (), strict=False)

    @property
    def unfinished(self) -> int:
        """Number of items of the whole job without a result."""
        return sum(len(part.items) for unit in self._units for part in self._missing(unit))

    def killed(self) -> list[Item]:
        """Return the items that ended their process twice."""
        return [item for item, result in self.results() if result == KILLED]

    def remove(self) -> None:
        """Remove the part files after the results were written; a share leaves them to the other shares."""
        if not self.shard:
            self.folder.remove()

    def _after_death(self, unit: Unit, deaths: Counter[str], on_result: OnResult) -> list[Unit]:
        """Return what to compute instead of a unit whose process ended: its items one by one, or the unit again."""
        if len(unit.items) > 1:
            log.warning(
                "A process ended while it computed %d items, the first of which is %s. They are tried one by one.",
                *_describe(unit),
            )
            return unit.split()
        deaths[unit.key] += 1
        if deaths[unit.key] < MAX_DEATHS:
            log.warning("The process ended while it computed %s; it is tried again.", unit.items[0].name)
            return [unit]
        log.error("%s ended its process twice, so it is left out.", unit.items[0].name)
        self.folder.write(unit, [KILLED])
        self._report(unit, on_result)
        return []

    def _report(self, unit: Unit, on_result: OnResult) -> None:
        for item, result in zip(unit.items, self.folder.wait_for(unit), strict=True):
            on_result(item, result)

    def _missing(self, unit: Unit) -> list[Unit]:
        """Return what is left of a unit: nothing, all of it, or those of its items that have no part file."""
        if self.folder.is_finished(unit):
            return []
        left = [part for part in unit.split() if not self.folder.is_finished(part)]
        return [unit] if len(left) == len(unit.items) else left

    def _join_parts(self) -> None:
        """Write the part file of each unit whose items were computed one by one."""
        for unit in self._own:
            if not self.folder.is_finished(unit):
                results = [self.folder.wait_for(part)[0] for part in unit.split()]
                self.folder.write(unit, results)


def _describe(unit: Unit) -> tuple[int, str]:
    return len(unit.items), unit.items[0].name


@contextlib.contextmanager
def start_job(
    configuration: Configuration, job: Job, shard: Shard | None = None, executors: OpenExecutors | None = None
) -> Iterator[JobRun]:
    """Open the folder of a job for one run; the context ends after the results were merged.

    Args:
      configuration: `JobDir`, `Processes` and `Cluster` are used.
      job: what is to be done.
      shard: compute only this share.
      executors: those of several jobs, which the caller closes; None: what computes this job ends with it.
    Raises:
      ALLError: `folder_in_use`: the same run, or the same share, is in progress; `not_writable`.
    """
    identity = job.identity()
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = JobFolder(configuration.path("JobDir") / key)
    folder.prepare(identity)
    name = f"{shard.number}-of-{shard.count}" if shard else "all"
    with locks.folder_lock(folder.path / "runs" / name):
        yield JobRun(job, folder, shard, executors or OpenExecutors(configuration, keep=False))
