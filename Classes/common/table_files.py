"""Write a result table as CSV, JSON, Excel workbook and Parquet."""

import csv
import dataclasses
import datetime
import io
import itertools
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from Classes import Helpers
from Classes.common import atomic_files, errors, json_files, output_targets, table_parquet, table_workbook, translation
from Classes.common.conditions import Condition
from Classes.common.errors import ConfigurationError
from Classes.common.summary import Summary
from Classes.common.table_columns import Row, people_columns, plain_value, technical_columns
from Classes.common.table_workbook import FORMULA_PREFIXES
from Classes.common.translation import Message

# Languages and regions with a decimal comma, and the regions of these languages with a point (Unicode CLDR 47). Where
# the comma separates decimals, spreadsheets separate the columns of a CSV file by semicolons.
COMMA_LANGUAGES = (
    "af az be bg bs ca cs da de el es et eu fi fr gl hr hu hy id is it ka kk ky lt lv mk nb nl nn no pl pt ro ru sk sl "
    "sq sr sv tr uk uz vi"
)
POINT_REGIONS = "de_CH de_LI es_419 es_BZ es_CU es_DO es_GT es_HN es_MX es_NI es_PA es_PE es_PR es_SV es_US it_CH"
ENGLISH = "en"
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class TableFiles:
    """Where to write a result table; a path that is None is not written.

    Attributes:
      csv, json, xlsx, parquet: paths. "auto" is a new file in the working folder, named by the time.
      csv_locale: such as "es" or "de_CH", for separators and language of the CSV file; "auto": as the system.
    """

    csv: str | os.PathLike[str] | None = None
    json: str | os.PathLike[str] | None = None
    xlsx: str | os.PathLike[str] | None = None
    parquet: str | os.PathLike[str] | None = None
    csv_locale: str = ENGLISH

    @property
    def paths(self) -> dict[str, str | os.PathLike[str]]:
        """The paths that are given, by kind."""
        found = {"csv": self.csv, "json": self.json, "xlsx": self.xlsx, "parquet": self.parquet}
        return {kind: path for kind, path in found.items() if path is not None}

    def prepared(self, condition: Condition, now: datetime.datetime | None = None) -> "TableFiles":
        """Return the same with names for the empty paths, after checking that all of them can be written.

        Args:
          condition: what is detected, for the names.
          now: time, for the names.

        Raises:
          ConfigurationError: `not_writable`, or `package_missing` for openpyxl or pyarrow.
        """
        named: dict[str, Any] = {
            kind: _dated_name(kind, condition, now) if path == AUTO else path for kind, path in self.paths.items()
        }
        for path in named.values():
            reason = _why_not_writable(path)
            if reason:
                raise ConfigurationError(Message("{path}: {reason}", path=path, reason=reason), code="not_writable")
        for kind, package in (("xlsx", "openpyxl"), ("parquet", "pyarrow")):
            if kind in named:
                _require(package, kind)
        return dataclasses.replace(self, **named)


def write_tables(
    files: TableFiles, rows: Sequence[Row], model: dict[str, Any] | None, summary: Summary, log: logging.Logger
) -> None:
    """Write all files of a table.

    Args:
      rows: result_table rows. One at a time is in memory, or one group of rows for Parquet.
      model: JSON object that identifies the model.
      summary: for the workbook.
    """
    if files.csv:
        _write_csv(files.csv, rows, summary.condition, files.csv_locale)
    if files.json:
        head = {"notice": Helpers.DISCLAIMER, "model": model}
        json_files.write_json_lists(files.json, head, {"images": rows})
    if files.xlsx:
        table_workbook.write_workbook(files.xlsx, rows, model, summary)
    if files.parquet:
        table_parquet.write_parquet(files.parquet, rows, model)
    for path in files.paths.values():
        log.info("Wrote %d rows to %s", len(rows), path)


def write_plain_csv(path: str | os.PathLike[str], rows: Iterable[Row], first: str = "file") -> None:
    """Write rows of the same keys as CSV, one at a time; the keys are the columns, or `first` if there are no rows."""
    rows = iter(rows)
    start = list(itertools.islice(rows, 1))
    with (
        atomic_files.atomic_replace(path, into=True) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(start[0]) if start else [first], lineterminator="\n")
        writer.writeheader()
        for row in itertools.chain(start, rows):
            writer.writerow({key: _csv_cell(value, False) for key, value in row.items()})


def csv_text(rows: Sequence[Row], condition: Condition, locale: str = ENGLISH) -> str:
    """Return a table as CSV.

    In another locale than "en", headings and texts are in its language, numbers have its decimal separator, and the
    columns are separated as its spreadsheets expect it.
    """
    text = io.StringIO(newline="")
    mark = _write_csv_rows(text, rows, condition, locale)
    return mark + text.getvalue()


def _write_csv(path: str | os.PathLike[str], rows: Sequence[Row], condition: Condition, locale: str) -> None:
    """Write what `csv_text` returns, one row at a time."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as text:
        mark = _write_csv_rows(text, rows, condition, locale)
        text.seek(0)
        with (
            atomic_files.atomic_replace(path, into=True) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            file.write(mark)
            shutil.copyfileobj(text, file)


def _write_csv_rows(file: IO[str], rows: Sequence[Row], condition: Condition, locale: str) -> str:
    """Write a table as CSV, and return the mark that belongs before it."""
    locale = _system_locale() if locale == AUTO else locale
    comma = has_decimal_comma(locale)
    line = io.StringIO(newline="")
    writer = csv.writer(line, delimiter=";" if comma else ",", lineterminator="\n")
    is_ascii = True

    def write(values: list[Any]) -> None:
        """Write one line, and note whether it is ASCII."""
        nonlocal is_ascii
        writer.writerow(values)
        is_ascii = is_ascii and line.getvalue().isascii()
        file.write(line.getvalue())
        line.seek(0)
        line.truncate()

    with translation.use_language(locale):
        people, technical = people_columns(condition, rows), technical_columns(rows)
        write([column.heading() for column in people] + [column.name for column in technical])
        for row in rows:
            values = [column.value(row) if locale == ENGLISH else plain_value(column, row) for column in people]
            values += [column.value(row) for column in technical]
            write([_csv_cell(value, comma) for value in values])
    # Spreadsheets recognize UTF-8 by the byte order mark. A table in ASCII does not need it, and a program would find
    # it in the name of the first column.
    return "" if locale == ENGLISH and is_ascii else "\ufeff"


def has_decimal_comma(locale: str) -> bool:
    """Return whether a locale, such as "de", "es-MX" or "pt_BR.UTF-8", writes decimals with a comma."""
    tag = locale.partition(".")[0].partition("@")[0].replace("-", "_")
    language, _separator, region = tag.partition("_")
    found = f"{language.lower()}_{region.upper()}"
    return language.lower() in COMMA_LANGUAGES.split() and found not in POINT_REGIONS.split()


def _csv_cell(value: Any, comma: bool) -> Any:
    if isinstance(value, float) and comma:
        return str(value).replace(".", ",")
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) else value


def _system_locale(environment: Mapping[str, str] = os.environ) -> str:
    found = next(filter(None, map(environment.get, ("LC_ALL", "LC_NUMERIC", "LANG"))), ENGLISH)
    return ENGLISH if found.partition(".")[0] in ("C", "POSIX") else found


def _require(package: str, kind: str) -> None:
    try:
        __import__(package)
    except ImportError as error:
        raise ConfigurationError(
            Message(
                "--{kind} needs the package {package} ({error}). Install it with {python} -m pip install -r "
                "Required/requirements-tables.txt",
                kind=kind,
                package=package,
                error=error,
                python=sys.executable,
            ),
            code="package_missing",
        ) from error


def _dated_name(kind: str, condition: Condition, now: datetime.datetime | None = None) -> str:
    """Return a new name such as ALL-results-2026-11-26-1803.csv."""
    stem = f"{condition.file_name}-results-{now or datetime.datetime.now():%Y-%m-%d-%H%M}"
    names = [f"{stem}.{kind}", *(f"{stem}-{number}.{kind}" for number in range(2, 1000))]
    return next((name for name in names if not os.path.lexists(name)), names[0])


def _why_not_writable(path: str | os.PathLike[str]) -> Message | None:
    try:
        target = output_targets.replaceable_target(path)
    except OSError as error:
        return Message("{reason}; give the name of a file to write", reason=errors.system_reason(error))
    if target is None:
        return (
            None if output_targets.is_writable_in_place(path) else Message("cannot be written; give the name of a file")
        )
    if target.is_dir():
        return Message("is a folder; give the name of a file to write")
    parent = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not parent.is_dir():
        return Message("{parent} is not a folder; give the name of a file in a folder", parent=parent)
    if pathlib.Path(path).is_symlink() and parent != target.parent:
        return Message("links to a file in {folder}, which is missing; make that folder", folder=target.parent)
    if not os.access(parent, os.W_OK | os.X_OK) and not (target.exists() and os.access(target, os.W_OK)):
        return Message("permission denied in {parent}; choose another folder", parent=parent)
    return None
