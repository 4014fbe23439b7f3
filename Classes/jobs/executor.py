"""Where units are computed: the interface, and the executor that computes them in this process."""

import collections
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from Classes.jobs.items import Unit
from Classes.jobs.job_folder import JobFolder
from Classes.jobs.task import TaskHost


@dataclasses.dataclass(frozen=True)
class Work:
    """What an executor needs to know of a job.

    Attributes:
      task: import path, see task.make_task.
      settings: JSON.
      folder: path of the job's folder.
    """

    task: str
    settings: Mapping[str, Any]
    folder: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
      unit: the unit that was submitted.
      died: whether its process ended; otherwise its part file exists.
      records: log records of its process.
      seconds: that it took, without the opening of the task; 0: unknown.
    """

    unit: Unit
    died: bool = False
    records: tuple[logging.LogRecord, ...] = ()
    seconds: float = 0.0


class Executor(Protocol):
    """Computes units."""

    @property
    def slots(self) -> int:
        """Number of units that may be submitted and not yet be returned."""

    def submit(self, unit: Unit) -> None:
        """Accept a unit, if a slot is free."""

    def next_outcome(self) -> Outcome:
        """Wait for any submitted unit.

        Raises:
          ALLError: a unit failed in a way that ends the run.
        """

    def close(self) -> None:
        """Stop; units in progress are lost."""


class InProcessExecutor:
    """Computes units in this process, one after the other."""

    slots = 1

    def __init__(self, work: Work) -> None:
        self._work, self._host = work, TaskHost()
        self._waiting: collections.deque[Unit] = collections.deque()

    def submit(self, unit: Unit) -> None:
        """Accept a unit."""
        self._waiting.append(unit)

    def next_outcome(self) -> Outcome:
        """Compute the oldest submitted unit."""
        unit = self._waiting.popleft()
        compute_unit(self._host, self._work, unit)
        return Outcome(unit)

    def close(self) -> None:
        """Close the task."""
        self._host.close()


def compute_unit(host: TaskHost, work: Work, unit: Unit) -> None:
    """Compute a unit and write its part file."""
    JobFolder(work.folder).write(unit, host.run(work.task, work.settings, unit.items))
