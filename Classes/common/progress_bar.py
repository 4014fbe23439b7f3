"""A progress bar with the time left, drawn by rich; silent if there is no terminal."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Generic, TypeVar

from Classes.common import interrupts, terminal

Item = TypeVar("Item")


class ProgressBar(Generic[Item]):
    """The progress of some work; a context manager, and an iterator over `iterable`.

    Log lines and texts appear above the bar, which disappears at its end.

    Args:
      iterable: what to iterate over, or None: `update` reports the progress.
      total: number of units; None: the length of `iterable`, or unknown.
      desc: what is done.
      unit: "B" shows bytes.
      initial: number of units that are done already.
    """

    def __init__(
        self,
        iterable: Iterable[Item] | None = None,
        *,
        total: int | None = None,
        desc: str = "",
        unit: str = "",
        initial: int = 0,
    ) -> None:
        self._iterable = iterable
        total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self._progress = _new_progress(unit)
        if self._progress is not None:
            self._task = self._progress.add_task(desc, total=total, completed=initial)
            self._progress.start()

    def __enter__(self) -> "ProgressBar[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        with self:
            for each in self._iterable or ():
                interrupts.check()
                yield each
                self.update()

    def update(self, count: int = 1) -> None:
        """Report that `count` more units are done."""
        if self._progress is not None:
            self._progress.advance(self._task, count)

    def restart(self, desc: str, total: int, completed: int = 0) -> None:
        """Begin a new bar in the same place."""
        if self._progress is not None:
            self._progress.reset(self._task, total=total, completed=completed, description=desc)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()


def _new_progress(unit: str) -> Any:
    """Return a rich.progress.Progress, or None if there is no terminal.

    If only the standard error is a terminal, because the output goes to a file, the bar is shown there.
    """
    if not terminal.is_active() and (sys.stdout.isatty() or not sys.stderr.isatty()):
        return None
    from rich import progress

    screen = terminal.console(errors=not terminal.is_active())
    amount = progress.DownloadColumn() if unit == "B" else progress.MofNCompleteColumn()
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        amount,
        progress.TimeRemainingColumn(compact=True),
    )
    return progress.Progress(*columns, console=screen, transient=True)
