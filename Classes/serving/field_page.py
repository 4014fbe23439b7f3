"""What the page shows of fields: styles and names of the types, and the counts of all cells of its photographs."""

import collections
import json
from typing import Any

import flask

from Classes.common import cell_counts, cell_texts, type_names
from Classes.common.blast_fraction import MeasuredRate, measured_rate
from Classes.common.cell_counts import RunCounts
from Classes.fields import cell_styles, field_texts, typed_cells
from Classes.fields.cell_styles import CellStyle
from Classes.serving.api_errors import ApiError

# The types that a person can give a cell, in conventional order; the number is the key.
CHOICES = (
    "neutrophil",
    "lymphocyte",
    "monocyte",
    "eosinophil",
    "basophil",
    "immature granulocyte",
    "lymphoblast",
    "myeloblast",
    "erythroblast",
)

# Limits of a request for counts.
MAX_CELLS, MAX_TYPES, MAX_NAME = 1_000_000, 50, 60


def page_data() -> dict[str, Any]:
    """Return what the page's scripts need, in the language of the reader."""
    return {
        "choices": list(CHOICES),
        "types": {name: _style(style) for name, style in cell_styles.STYLES.items()},
        "blast": _style(cell_styles.BLAST),
        "other": _style(cell_styles.OTHER),
        "names": {name: type_names.type_name(name) for name in type_names.NAMES},
        "flags": {flag: field_texts.flag_text(flag) for flag in typed_cells.FLAGS},
        "sources": cell_texts.scale_sources(),
    }


def counts_json(text: str) -> dict[str, Any]:
    """Return the counts of cells as the page shows them, in the language of the reader.

    Args:
      text: JSON with the number of cells of each type (`groups`) and, of the own model, `blast` (what it detects),
        `blasts` and `unlike` (numbers of cells), `sensitivity` and `specificity` (as in the answer for a field).
    Raises:
      ApiError: `bad_request`.
    """
    try:
        counts = _count(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ApiError("bad_request", "counts is not valid. See field_page.py.") from error
    rows = zip(counts.differential.rows, counts.differential.table()[1:], strict=True)
    return {
        "heads": list(counts.differential.table()[0]),
        "rows": [
            {"group": row.name, "title": title, "percent": percent, "count": count, "interval": interval}
            for row, (title, percent, count, interval) in rows
        ],
        "sentences": counts.sentences(),
        "counts": counts.to_json(),
    }


def send_counts() -> flask.Response:
    """Answer the page's request for counts."""
    return flask.jsonify(counts_json(flask.request.args.get("counts", "")))


def _count(sent: dict[str, Any]) -> RunCounts:
    groups = {_text(name): _number(count) for name, count in sent["groups"].items()}
    if len(groups) > MAX_TYPES or sum(groups.values()) > MAX_CELLS:
        raise ValueError("groups")
    return cell_counts.count_groups(
        collections.Counter({name: count for name, count in groups.items() if count}),
        _text(sent.get("blast") or ""),
        _number(sent.get("blasts") or 0),
        _number(sent.get("unlike") or 0),
        _rate(sent.get("sensitivity")),
        _rate(sent.get("specificity")),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError("text")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_CELLS:
        raise ValueError("number")
    return value


def _rate(metric: Any) -> MeasuredRate | None:
    found = measured_rate(metric)
    if found is not None and not (0 <= found.value <= 1 and 0 < found.size < 1e12):
        raise ValueError("rate")
    return found


def _style(style: CellStyle) -> dict[str, Any]:
    symbol = " ".join(f"{x},{y}" for x, y in cell_styles.SYMBOLS[style.symbol])
    ink = "#000000" if style.text_color == (0, 0, 0) else "#ffffff"
    return {"color": style.hex, "ink": ink, "dash": list(style.dash), "symbol": symbol, "weight": style.weight}
