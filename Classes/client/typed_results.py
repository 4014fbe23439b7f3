"""The results of a model that names types of cells: lines on the terminal, rows of the table, and counts."""

import collections
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes.client.server_models import ServedModel
from Classes.common import image_lines, input_files, result_table, table_files, terminal
from Classes.common.conditions import ALL
from Classes.common.errors import ConfigurationError
from Classes.common.number_format import format_number
from Classes.common.translation import Message, ngettext

log = logging.getLogger("ClassifierServerClient")


def check_tables(tables: table_files.TableFiles) -> None:
    """Raise ConfigurationError `table_kind` if a table is wanted that a model of cell types does not have."""
    if tables.xlsx or tables.parquet:
        raise ConfigurationError(Message("A model of cell types writes --csv and --json only"), code="table_kind")


def show_limits(model: ServedModel) -> None:
    """Log and show what a model has never seen."""
    for limit in model.limits[:2]:
        log.info(limit)
        terminal.say(model.title(limit))


def show_line(lines: image_lines.ImageLines, model: ServedModel, name: str, result: dict[str, Any]) -> None:
    """Show the line of an image; yellow, if a person should look at it."""
    if "error" in result:
        lines.show_error(name)
        return
    width = max(len(model.title(each)) for each in model.scheme.names)
    style = "yellow" if result["low"] or result["reasons"] else ""
    lines.show_text(name, model.title(result["class"]).ljust(width), style, result["confidence"])


def report(
    model: ServedModel, tables: table_files.TableFiles, results: Sequence[tuple[pathlib.Path, dict[str, Any]]]
) -> list[result_table.Row]:
    """Write the tables, log and show the counts, and return the rows; the same as of Classifier.py --model NAME."""
    rows = [_row(model, path, result) for path, result in results]
    fields = next((result for _, result in results if "error" not in result), {})
    about = {"graph_sha256": fields.get("model"), "model_name": model.name}
    table_files.write_plain_tables(tables, rows, about, log)
    _show_counts(model, rows)
    return rows


def _row(model: ServedModel, path: pathlib.Path, result: dict[str, Any]) -> result_table.Row:
    name = input_files.display_path(path)
    row: result_table.Row = dict.fromkeys(("file", "type", "name", "confidence", "group", "group_confidence", "low"))
    row |= {f"probability_{each}": None for each in model.scheme.names}
    row |= dict.fromkeys(("seconds", "engine", "precision", "remark", "reasons", "error")) | {"file": name}
    if "error" in result:
        return row | {"error": result["error"]}
    result_table.log_image_reasons(name, result["reasons"], ALL, log)
    return row | {
        "type": result["class"],
        "name": model.titles.get(result["class"], result["class"]),
        "reasons": " ".join(result["reasons"]),
        **{f"probability_{each}": result["probabilities"].get(each) for each in model.scheme.names},
        **{key: result[key] for key in ("confidence", "group", "group_confidence", "low")},
        **{key: result[key] for key in ("seconds", "engine", "precision", "remark")},
    }


def _show_counts(model: ServedModel, rows: Sequence[result_table.Row]) -> None:
    typed = [row for row in rows if not row["error"]]
    counted = [row for row in typed if row["type"] in model.scheme.counted]
    counts = collections.Counter(row["group"] for row in counted).most_common()
    log.info("%d images: %s", len(typed), ", ".join(f"{count} {group}" for group, count in counts))
    review = sum(bool(row["low"] or row["reasons"]) for row in typed)
    if review:
        log.warning("%d images need review", review)
    failed = len(rows) - len(typed)
    if failed:
        log.error("%d images have no result; they are named above", failed)
    parts = [f"{format_number(count, 'd')} {model.title(group)}" for group, count in counts]
    text = ngettext("{count} image: {parts}.", "{count} images: {parts}.", len(typed))
    terminal.show_end(text.format(count=len(typed), parts=", ".join(parts) or "-"))
