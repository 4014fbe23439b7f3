"""The rows of a run over single cells, which stay in their part files until they are written."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

from Classes.common import result_table
from Classes.common.translation import text_of
from Classes.inference import classify_task
from Classes.inference.model_card import ModelCard
from Classes.jobs import run_texts
from Classes.jobs.items import Item
from Classes.jobs.job_folder import KILLED
from Classes.jobs.run_job import JobRun

# What the summary of a run needs of its rows.
SUMMARY_KEYS = (
    *("file", "error", "correct", "outcome", "reasons", "verdict", "class", "class_title", "group", "class_correct"),
    *("remark", "truth", "low", "uncertain"),
)


# Rows of so many images stay in memory, about 20 MB, which saves reading the part files again for each table.
KEPT = 5000


class ResultRows(Sequence[result_table.Row]):
    """The rows of all images that have a result or an error, in their order.

    If there are many, each iteration reads the part files again.

    Args:
      run: the run.
      card: of its model.

    Attributes:
      brief: the rows with no other columns than those of SUMMARY_KEYS.
      killed: names of the images that ended their process twice.
    """

    def __init__(self, run: JobRun, card: ModelCard) -> None:
        self._run, self._card = run, card
        self.killed: list[str] = []
        self.brief: list[result_table.Row] = []
        self._kept: list[result_table.Row] | None = []
        for item, result in run.results():
            row = read_row(item, result, card)
            if self._kept is not None:
                self._kept.append(row)
                if len(self._kept) > KEPT:
                    self._kept = None
            self.brief.append({key: row[key] for key in SUMMARY_KEYS if key in row})
            if result == KILLED:
                self.killed.append(item.name)

    def __len__(self) -> int:
        return len(self.brief)

    def __iter__(self) -> Iterator[result_table.Row]:
        if self._kept is not None:
            yield from self._kept
            return
        for item, result in self._run.results():
            yield read_row(item, result, self._card)

    @overload
    def __getitem__(self, index: int) -> result_table.Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[result_table.Row]: ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return the first row, which is all that the tables ask for."""
        if index != 0:
            return list(self)[index]
        return next(iter(self))


def read_row(item: Item, result: dict[str, Any], card: ModelCard) -> result_table.Row:
    """Return the row of a result."""
    if result == KILLED:
        return {**classify_task.new_row(item, card), "error": text_of(run_texts.killed_error(item.name))}
    return classify_task.read_row(result)
