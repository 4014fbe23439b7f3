"""The counts of cells of one or more fields: the differential of all cells, and the blasts among them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from Classes.common import differential, type_names
from Classes.common.blast_fraction import BlastFraction, MeasuredRate, estimate_blast_fraction
from Classes.common.differential import Differential
from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _

# Nucleated blood cells that are not white cells; see differential.py.
NOT_COUNTED = ("erythroblast",)


@dataclasses.dataclass(frozen=True)
class RunCounts:
    """The counts.

    Attributes:
      differential: of all cells.
      blast: what the model of blasts detects, such as "lymphoblast"; "" without one.
      fraction: of blasts among the counted cells; None without cells or model.
      unlike: number of cells with other colors than the images that a model was trained on.
    """

    differential: Differential
    blast: str = ""
    fraction: BlastFraction | None = None
    unlike: int = 0

    def lines(self) -> list[str]:
        """Return the table and the sentences below it, as text for people."""
        table = self.differential.table()
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = []
        for name, *values in table:
            cells = (value.rjust(width) for value, width in zip(values, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *cells]))
        return [*lines, *self.sentences()] if self.differential.cells else self.sentences()

    def sentences(self) -> list[str]:
        """Return what people must know beside the table."""
        texts = [self.differential.adequacy()]
        texts += filter(None, [self._apart(name) for name in self.differential.apart])
        texts += self._blasts()
        if self.differential.cells:
            texts.append(_("All types are suggested until a person has looked at the cells."))
        return texts

    def _apart(self, name: str) -> str:
        per_hundred = self.differential.per_hundred(name)
        if per_hundred is None:
            return ""
        text = _("Not counted: {name} {count} ({ratio} per 100 white cells).")
        ratio = format_number(per_hundred, ".0f")
        return text.format(count=self.differential.apart[name], name=type_names.type_name(name), ratio=ratio)

    def _blasts(self) -> list[str]:
        found = self.fraction
        if not self.blast or found is None:
            return []
        texts = [
            _(
                "Blasts ({name}), suggested: {blasts} of {cells} white cells without erythroblasts, {percent} % as "
                "observed ({low} to {high} % by the number of cells)."
            ).format(
                name=type_names.type_name(self.blast),
                blasts=found.blasts,
                cells=found.cells,
                percent=differential.whole_percent(found.blasts, found.cells),
                **_ends(found.observed_interval),
            )
        ]
        if found.corrected is None or found.corrected_interval is None:
            texts.append(_("The errors of the model were not measured, so the fraction cannot be corrected for them."))
        else:
            texts.append(
                _(
                    "Corrected for the errors of the model: {percent} % ({low} to {high} % by the number of cells and "
                    "the errors). This is not a diagnosis."
                ).format(percent=format_number(100 * found.corrected, ".0f"), **_ends(found.corrected_interval))
            )
        if self.unlike:
            texts.append(
                _(
                    "{count} of {cells} cells have other colors than the images that a model was trained on. With "
                    "another stain, camera or light, a model can call most cells blasts."
                ).format(count=self.unlike, cells=found.cells)
            )
        return texts

    def to_json(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        found = self.differential
        return {
            "white_cells": found.cells,
            "enough": found.cells >= differential.ENOUGH_CELLS,
            "differential": [
                {"group": row.name, "count": row.count, "fraction": row.fraction, "interval": list(row.interval)}
                for row in found.rows
            ],
            "not_counted": found.apart,
            "blasts": None
            if self.fraction is None
            else {
                "type": self.blast,
                "denominator": "white cells without erythroblasts",
                **dataclasses.asdict(self.fraction),
            },
        }


def count_groups(
    groups: Iterable[str],
    blast: str = "",
    blasts: int = 0,
    unlike: int = 0,
    sensitivity: MeasuredRate | None = None,
    specificity: MeasuredRate | None = None,
) -> RunCounts:
    """Return the counts of cells, which can be of several fields.

    Args:
      groups: the group of each cell, such as "lymphocyte", or a collections.Counter of them.
      blast: what a model of blasts detects; "" without one.
      blasts: how many of them it detects.
      unlike: how many counted cells have other colors than the images that a model was trained on.
      sensitivity, specificity: of the model of blasts; None if they were never measured.
    """
    found = differential.count_types(groups, NOT_COUNTED)
    if not blast:
        return RunCounts(found)
    fraction = estimate_blast_fraction(blasts, found.cells, sensitivity, specificity) if found.cells else None
    return RunCounts(found, blast, fraction, unlike)


def _ends(interval: tuple[float, float]) -> dict[str, str]:
    low, high = (format_number(100 * end, ".0f") for end in interval)
    return {"low": low, "high": high}
