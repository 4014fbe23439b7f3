"""The counts of a run over several fields: the differential of all cells, and the blasts among them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.fields import differential, type_names
from Classes.fields.blast_fraction import BlastFraction
from Classes.fields.blast_model import BlastModel
from Classes.fields.cell_typing import NOT_COUNTED
from Classes.fields.differential import Differential
from Classes.fields.typed_cells import UNLIKE_TRAINING, TypedCell


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


def count_cells(cells: Iterable[TypedCell], blasts: BlastModel | None = None) -> RunCounts:
    """Return the counts of cells, which can be of several fields."""
    counted = list(cells)
    found = differential.count_types([cell.group for cell in counted], NOT_COUNTED)
    if blasts is None:
        return RunCounts(found)
    fraction = blasts.estimate(sum(cell.is_blast for cell in counted), found.cells)
    unlike = sum(UNLIKE_TRAINING in cell.flags for cell in counted if cell.group not in NOT_COUNTED)
    return RunCounts(found, blasts.name, fraction, unlike)


def _ends(interval: tuple[float, float]) -> dict[str, str]:
    low, high = (format_number(100 * end, ".0f") for end in interval)
    return {"low": low, "high": high}
