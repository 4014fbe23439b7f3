"""Write a result table as an Excel workbook, row by row."""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from Classes import Helpers
from Classes.common import atomic_files, translation
from Classes.common.errors import escape_control_chars
from Classes.common.summary import Summary
from Classes.common.table_columns import Column, Row, people_columns, plain_value, technical_columns
from Classes.common.translation import gettext as _

# A spreadsheet runs a cell that begins with one of these as a formula, and anybody can choose a file's name.
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")

# Fill colors, light enough for black text.
NAMED = "FFFFFF"
FILLS = {"positive": "FBD5D0", "negative": "D5EFD9", "review": "FCE8B2", None: "E3E3E3"}


def write_workbook(
    path: str | os.PathLike[str], rows: Sequence[Row], model: dict[str, Any] | None, summary: Summary
) -> None:
    """Write a workbook with results in color, technical columns, and a summary; one row at a time is in memory.

    Args:
      path: the file.
      rows: result_table rows.
      model: JSON object that identifies the model.
      summary: for the sheet of that name.
    """
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    try:
        _fill(book, rows, model, summary)
    except BaseException:
        # A sheet that is not closed complains when it is collected.
        for sheet in book.worksheets:
            with contextlib.suppress(OSError, ValueError):
                sheet.close()
        raise
    with atomic_files.atomic_replace(path, into=True) as temporary:
        book.save(temporary)


def _fill(book: Any, rows: Sequence[Row], model: dict[str, Any] | None, summary: Summary) -> None:
    people = people_columns(summary.condition, rows)
    results = _Sheet(book, _("Results"), people, len(rows), colored=True)
    technical = _Sheet(book, _("Technical"), [people[0], *technical_columns(rows)], len(rows))
    for row in rows:
        color = NAMED if row["outcome"] is None and row["class"] else FILLS[row["outcome"]]
        results.append(row, color)
        technical.append(row)
    about = book.create_sheet(_("Summary"))
    about.column_dimensions["A"].width, about.column_dimensions["B"].width = 28, 80
    for line in _summary_lines(model, summary):
        about.append([_set(_cell(about), value) for value in line])


class _Sheet:
    """A sheet with one row per image below its headings.

    Args:
      book: the workbook.
      title: of the sheet.
      columns: its columns; the first one stays in view.
      count: number of rows, for the filter.
      colored: whether its cells have the color of the result and other marks for people.
    """

    def __init__(self, book: Any, title: str, columns: Sequence[Column], count: int, colored: bool = False) -> None:
        from openpyxl import styles, utils

        self._columns, self._colored = columns, colored
        self._sheet = book.create_sheet(title)
        # A cell is written at once and has a style that takes long to make, so each is used again in the next row.
        self._cells: dict[tuple[int, str, bool], Any] = {}
        letters = [utils.get_column_letter(place) for place in range(1, len(columns) + 1)]
        for letter, column in zip(letters, columns, strict=True):
            self._sheet.column_dimensions[letter].width = column.width
        self._sheet.freeze_panes = "B2"
        self._sheet.auto_filter.ref = f"A1:{letters[-1]}{count + 1}"
        headings = [_set(_cell(self._sheet), column.heading()) for column in columns]
        for heading in headings:
            heading.font = styles.Font(bold=True)
        self._sheet.append(headings)

    def append(self, row: Row, color: str = "") -> None:
        """Write the row of an image."""
        cells = []
        for place, column in enumerate(self._columns):
            value = plain_value(column, row)
            key = (place, color, isinstance(value, str) and value.startswith(FORMULA_PREFIXES))
            if key not in self._cells:
                self._cells[key] = self._styled(column, color)
            cells.append(_set(self._cells[key], value))
        self._sheet.append(cells)

    def _styled(self, column: Column, color: str) -> Any:
        from openpyxl import styles

        cell = _cell(self._sheet)
        if self._colored:
            cell.fill = styles.PatternFill("solid", fgColor=color)
            cell.alignment = styles.Alignment(wrap_text=column.name == "reasons", vertical="top")
            if "(%)" in column.name:
                cell.number_format = "0.00"
        return cell


def _cell(sheet: Any) -> Any:
    from openpyxl.cell import WriteOnlyCell

    return WriteOnlyCell(sheet)


def _set(cell: Any, value: Any) -> Any:
    """Write a value into a cell; a text never becomes a formula."""
    cell.value = escape_control_chars(value) if isinstance(value, str) else value
    if isinstance(value, str):
        cell.data_type = "s"
        cell.quotePrefix = value.startswith(FORMULA_PREFIXES)
    return cell


def _summary_lines(model: dict[str, Any] | None, summary: Summary) -> Iterable[tuple[str, Any]]:
    yield "", translation.localize(Helpers.DISCLAIMER)
    yield from (*summary.counts(), *summary.groups, *summary.classes)
    yield from (("", line) for line in summary.accuracy_lines())
    yield from ((key, json.dumps(value)) for key, value in (model or {}).items())
