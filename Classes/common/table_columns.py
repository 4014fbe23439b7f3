"""The columns of a result table: first those that people read, then the technical ones that programs read."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from Classes.common import outcome
from Classes.common.conditions import Condition
from Classes.common.translation import gettext as _
from Classes.common.translation import localize

Row = dict[str, Any]

# Keys of a row that people read under another name, or that are for JSON only.
_SHOWN = ("file", "class", "correct", "date", "model", "software_version", "all_probability")


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      name: English name, the same in every language, by which programs find the column.
      heading: the name in the language of the reader.
      value: the cell of a row: text, number, bool or None.
      width: in characters, for a spreadsheet.
    """

    name: str
    heading: Callable[[], str]
    value: Callable[[Row], Any]
    width: int = 12


def people_columns(condition: Condition, rows: Sequence[Row] = ()) -> list[Column]:
    """Return the columns for people; the web page has the same, see csv.js.

    Args:
      condition: what is detected.
      rows: of the table. Those of a model that detects nothing have no `verdict`, and those of a model with several
        classes have a `group`.
    """
    keys = set(rows[0]) if rows else {"verdict"}
    columns = [Column("file", lambda: _("file"), lambda row: row["file"], 32)]
    if "verdict" in keys:
        columns += [
            Column("result", lambda: _("result"), lambda row: _result(row, condition), 18),
            Column(
                f"{condition.short} probability (%)",
                lambda: _("{condition} probability (%)").format(condition=condition.label),
                lambda row: _percent(row, "all_probability"),
                20,
            ),
        ]
    columns += [
        Column("needs review", lambda: _("needs review"), _needs_review, 14),
        Column("reasons", lambda: _("reasons"), lambda row: _reasons(row, condition), 48),
        Column("class", lambda: _("class"), lambda row: row["class"], 12),
    ]
    if "class_title" in keys:
        columns.append(Column("cell type", lambda: _("cell type"), lambda row: row["class_title"], 22))
    if "group" in keys:
        columns += [
            Column(
                "class probability (%)",
                lambda: _("class probability (%)"),
                lambda row: _percent(row, "class_confidence"),
                20,
            ),
            Column("group of classes", lambda: _("group of classes"), lambda row: row["group"], 18),
        ]
    columns += [
        Column("known class", lambda: _("known class"), lambda row: row["truth"], 14),
        Column("correct", lambda: _("correct"), lambda row: row["correct"], 10),
    ]
    if "group" in keys and "verdict" in keys:
        columns.append(Column("class correct", lambda: _("class correct"), lambda row: row["class_correct"], 14))
    return [
        *columns,
        Column("date", lambda: _("date"), lambda row: row["date"], 20),
        Column("model", lambda: _("model"), lambda row: row["model"], 28),
        Column("software version", lambda: _("software version"), lambda row: row["software_version"], 18),
    ]


def technical_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns for programs: the keys of the rows, under the names that older tables have too."""
    keys = [key for key in rows[0] if key not in _SHOWN and key != "reasons"] if rows else []
    columns = [Column(key, lambda key=key: key, lambda row, key=key: row[key]) for key in keys]  # type: ignore[misc]
    codes = Column("reason_codes", lambda: "reason_codes", lambda row: " ".join(row["reasons"]))
    return [*columns, codes] if rows else []


def plain_value(column: Column, row: Row) -> Any:
    """Return the cell of a row as a text or number in the language of the reader."""
    value = column.value(row)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return " ".join(value) if isinstance(value, list) else value


def _result(row: Row, condition: Condition) -> str:
    return _("No result") if row["outcome"] is None else outcome.outcome_text(row["outcome"], condition)


def _percent(row: Row, key: str) -> float | None:
    # Two digits: a validation set of 1,000 images cannot tell more apart.
    return None if row[key] is None else round(100 * row[key], 2)


def _needs_review(row: Row) -> str | None:
    if row["class"] is None:
        return None
    return _("yes") if row["outcome"] == outcome.REVIEW else _("no")


def _reasons(row: Row, condition: Condition) -> str | None:
    if row["error"]:
        return localize(row["error"])
    return " ".join(outcome.reason_text(each, condition) for each in row["reasons"]) or None
