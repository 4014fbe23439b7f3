"""The differential: the number of white cells of each type, in the order and format that laboratories use.

Whole per cent with the count beside it, because more digits suggest a precision that no count of cells has; types
without a cell are left out. The number of cells that is enough: CLSI H20-A2 counts 200 cells per film. Erythroblasts
are not white cells and are reported per 100 white cells (same source).
"""

import collections
import dataclasses
from collections.abc import Collection, Iterable

from Classes.common import type_names, wilson
from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext

# The conventional order of types and of groups of types; other types follow.
ORDER = (
    "neutrophil",
    "segmented neutrophil",
    "band neutrophil",
    "lymphocyte",
    "monocyte",
    "eosinophil",
    "basophil",
    "immature granulocyte",
    "metamyelocyte",
    "myelocyte",
    "promyelocyte",
    "blast",
)

# Cells per film: fewer than the first say little, the second is the number of CLSI H20-A2.
FEW_CELLS, ENOUGH_CELLS = 100, 200

# A type at this fraction is the example for how uncertain a count is.
EXAMPLE = 0.2


@dataclasses.dataclass(frozen=True)
class Row:
    """A type of white cells.

    Attributes:
      name: of the type.
      count: number of cells.
      fraction: of all counted cells, 0 to 1.
      interval: Wilson's 95 % interval of the fraction, if the cells are a random sample of the film.
    """

    name: str
    count: int
    fraction: float
    interval: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Differential:
    """The types of the white cells of a film.

    Attributes:
      rows: the types with at least one cell, in conventional order.
      cells: number of counted cells, the denominator of the fractions.
      apart: {type: number of cells} that are found but not counted, such as erythroblasts.
    """

    rows: tuple[Row, ...]
    cells: int
    apart: dict[str, int]

    def per_hundred(self, name: str) -> float | None:
        """Return how many cells of a type that is not counted there are per 100 counted cells; None without any."""
        return 100 * self.apart.get(name, 0) / self.cells if self.cells else None

    def table(self) -> list[tuple[str, str, str, str]]:
        """Return (type, per cent, count, 95 % interval in per cent) of every row as text, with a row of heads."""
        heads = (_("Differential"), "%", _("cells"), _("95 % interval"))
        return [
            heads,
            *(
                (type_names.type_name(row.name), whole_percent(row.count, self.cells), str(row.count), _range(row))
                for row in self.rows
            ),
        ]

    def adequacy(self) -> str:
        """Return in words whether the number of cells is enough."""
        if not self.cells:
            return _("No white cells were counted.")
        low, high = (format_number(100 * end, ".0f") for end in wilson.wilson_interval(EXAMPLE, self.cells))
        example = _(
            "With this number, a type seen in {percent} % of the cells can truly have {low} to {high} %."
        ).format(percent=format_number(100 * EXAMPLE, ".0f"), low=low, high=high)
        if self.cells < FEW_CELLS:
            verdict = ngettext(
                "{count} white cell is too few for a differential; {enough} are usual (CLSI H20-A2).",
                "{count} white cells are too few for a differential; {enough} are usual (CLSI H20-A2).",
                self.cells,
            )
        elif self.cells < ENOUGH_CELLS:
            verdict = _("{count} white cells give a rough differential; {enough} are usual (CLSI H20-A2).")
        else:
            verdict = _("{count} white cells are enough for a differential ({enough} are usual, CLSI H20-A2).")
        return f"{verdict.format(count=self.cells, enough=ENOUGH_CELLS)} {example}"


def count_types(types: Iterable[str], not_counted: Collection[str] = ()) -> Differential:
    """Return the differential of cells.

    Args:
      types: the type of each cell, such as "lymphocyte", or a collections.Counter of them.
      not_counted: types that are not white cells, or that the user excludes; they are reported separately.
    """
    counts = collections.Counter(types)
    apart = {name: counts.pop(name) for name in sorted(not_counted) if counts[name]}
    for name in not_counted:
        counts.pop(name, None)
    cells = sum(counts.values())
    known = {name: position for position, name in enumerate(ORDER)}
    names = sorted(counts, key=lambda name: (known.get(name, len(ORDER)), name))
    rows = (
        Row(name, counts[name], counts[name] / cells, wilson.wilson_interval(counts[name] / cells, cells))
        for name in names
    )
    return Differential(tuple(rows), cells, apart)


def whole_percent(count: int, total: int) -> str:
    """Return a fraction as whole per cent: "3", or "<1" for some cells below half a per cent."""
    if count and 200 * count < total:
        return "<1"
    return format_number(100 * count / total, ".0f")


def _range(row: Row) -> str:
    low, high = (format_number(100 * end, ".0f") for end in row.interval)
    return _("{low} to {high}").format(low=low, high=high)
