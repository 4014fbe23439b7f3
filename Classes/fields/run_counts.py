"""The counts of a run over several fields."""

from collections.abc import Iterable

from Classes.common import cell_counts
from Classes.common.cell_counts import RunCounts
from Classes.fields.blast_model import BlastModel
from Classes.fields.typed_cells import UNLIKE_TRAINING, TypedCell


def count_cells(cells: Iterable[TypedCell], blasts: BlastModel | None = None) -> RunCounts:
    """Return the counts of cells, which can be of several fields."""
    counted = list(cells)
    groups = [cell.group for cell in counted]
    if blasts is None:
        return cell_counts.count_groups(groups)
    unlike = sum(UNLIKE_TRAINING in cell.flags for cell in counted if cell.group not in cell_counts.NOT_COUNTED)
    number = sum(cell.is_blast for cell in counted)
    return cell_counts.count_groups(groups, blasts.name, number, unlike, *blasts.rates)
