"""The counts of a run over several fields."""

import collections
from collections.abc import Iterable

from Classes.common import cell_counts
from Classes.common.cell_counts import RunCounts
from Classes.fields.blast_model import BlastCard
from Classes.fields.typed_cells import UNLIKE_TRAINING, TypedCell


class CellCounter:
    """Counts the cells of any number of fields, and keeps none of them.

    Attributes:
      cells: number of cells so far.

    Args:
      blasts: the model of blasts, or None.
    """

    def __init__(self, blasts: BlastCard | None = None) -> None:
        self.cells = 0
        self._blasts = blasts
        self._groups: collections.Counter[str] = collections.Counter()
        self._positive = self._unlike = 0

    def add(self, cells: Iterable[TypedCell]) -> None:
        """Count cells."""
        for cell in cells:
            self.cells += 1
            self._groups[cell.group] += 1
            self._positive += cell.is_blast
            self._unlike += UNLIKE_TRAINING in cell.flags and cell.group not in cell_counts.NOT_COUNTED

    def result(self) -> RunCounts:
        """Return the counts."""
        if self._blasts is None:
            return cell_counts.count_groups(self._groups)
        name, rates = self._blasts.name, self._blasts.rates
        return cell_counts.count_groups(self._groups, name, self._positive, self._unlike, *rates)


def count_cells(cells: Iterable[TypedCell], blasts: BlastCard | None = None) -> RunCounts:
    """Return the counts of cells, which can be of several fields."""
    counter = CellCounter(blasts)
    counter.add(cells)
    return counter.result()
