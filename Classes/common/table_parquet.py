"""Write a result table as Parquet, with the columns of the JSON file, in groups of rows."""

import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from Classes import Helpers
from Classes.common import atomic_files
from Classes.common.table_columns import Row

# Rows that are in memory at a time, and in a group of the file.
GROUP = 10_000


def write_parquet(path: str | os.PathLike[str], rows: Sequence[Row], model: dict[str, Any] | None) -> None:
    """Write a table; the rows are read twice, first for the types of their columns.

    Args:
      path: the file.
      rows: result_table rows.
      model: JSON object that identifies the model.
    """
    from pyarrow import Table, parquet

    notes = {"notice": Helpers.DISCLAIMER, "model": json.dumps(model)}
    schema = _schema(rows).with_metadata(notes)
    with (
        atomic_files.atomic_replace(path, into=True) as temporary,
        parquet.ParquetWriter(temporary, schema) as writer,
    ):
        for group in _groups(rows):
            writer.write_table(Table.from_pylist(group, schema))


def _schema(rows: Iterable[Row]) -> Any:
    """Return names and types of the columns: a column that is empty in one group can have a type in another."""
    import pyarrow

    unify = functools.partial(pyarrow.unify_schemas, promote_options="permissive")
    found = pyarrow.schema([])
    for group in _groups(rows):
        found = unify([found, pyarrow.Table.from_pylist(group).schema])
    return found


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while group := [dict(row) for row in itertools.islice(remaining, GROUP)]:
        yield group
