"""The work of a job, as a class that every process can make by its name."""

import contextlib
import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from Classes.jobs.items import Item


class Task(Protocol):
    """What computes units. It is made in the process that computes, from JSON settings.

    Args:
      settings: JSON, all that the results depend on besides the items.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None: ...

    def open(self) -> None:
        """Load what all units need, such as models; called once, before the first `run`."""

    def run(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return one JSON result per item, in order.

        A result depends only on the settings and its item, never on the time, the process, the number of threads or
        other items. An input that cannot be read is a result too; an error of any other kind ends the run.

        Raises:
          ALLError: the run cannot continue, for example because a device failed or a disk is full.
        """

    def close(self) -> None:
        """Release what `open` has loaded."""


def make_task(name: str, settings: Mapping[str, Any]) -> Task:
    """Return the task with an import path such as "Classes.fields.field_task:FieldTask"."""
    module, _, attribute = name.partition(":")
    made: Task = getattr(importlib.import_module(module), attribute)(settings)
    return made


class TaskHost:
    """One task that stays open from unit to unit; a unit of another task closes it.

    Units run one at a time, because the models of a process share its cores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: tuple[str, Mapping[str, Any]] | None = None
        self._task: Task | None = None

    def open(self, name: str, settings: Mapping[str, Any]) -> None:
        """Open a task, unless it is the one that is open."""
        with self._lock:
            self._open(name, settings)

    def run(self, name: str, settings: Mapping[str, Any], items: Sequence[Item]) -> list[dict[str, Any]]:
        """Compute items with a task, which is opened if it is not open yet."""
        with self._lock:
            results = self._open(name, settings).run(items)
        if len(results) != len(items):
            raise ValueError(f"{name}: {len(results)} results for {len(items)} items")
        return results

    def close(self) -> None:
        """Close the open task, if there is one."""
        with self._lock:
            self._close()

    def _open(self, name: str, settings: Mapping[str, Any]) -> Task:
        if self._task is None or self._current != (name, settings):
            self._close()
            task = make_task(name, settings)
            task.open()
            self._task, self._current = task, (name, settings)
        return self._task

    def _close(self) -> None:
        task, self._task, self._current = self._task, None, None
        if task is not None:
            with contextlib.suppress(Exception):
                # A failed device may fail again; the error of the run counts.
                task.close()
