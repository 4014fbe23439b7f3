"""Read the JSON of Classifier.py Field or of the page: one row per cell, with field, center, box and type.

The type that a person gave a cell (`corrected_type`) replaces the suggested one.
"""

from typing import Any

from Classes.imaging.annotations.record import AnnotatedCell, Entry

# What people call a found cell that is not one, such as a smudge.
NO_WHITE_CELL = "no white cell"


def is_cell_rows(document: Any) -> bool:
    """Return whether a parsed JSON document has rows of cells, or at least of fields, one of which may be empty."""
    return _rows(document, ("field", "x", "y")) is not None or _rows(document, ("field", "white_cells")) is not None


def parse(document: Any) -> list[Entry]:
    """Return the annotations of all fields, also of those without a cell.

    Raises:
      KeyError, TypeError, ValueError: a row is not a cell.
    """
    fields: dict[str, list[AnnotatedCell]] = {}
    for row in _rows(document, ("field", "white_cells")) or ():
        # No cell was found in a field that could not be read, but nobody has looked.
        if not row.get("error"):
            fields[str(row["field"])] = []
    for row in _rows(document, ("field", "x", "y")) or ():
        width, height = (float(row.get(side) or 0) for side in ("width", "height"))
        label = str(row.get("corrected_type") or row.get("type") or "").strip()
        if label == NO_WHITE_CELL:
            continue
        cell = AnnotatedCell(float(row["x"]), float(row["y"]), width, height, label)
        fields.setdefault(str(row["field"]), []).append(cell)
    return [Entry((name,), tuple(cells)) for name, cells in fields.items()]


def _rows(document: Any, keys: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """Return the list of objects with these keys, the document itself or one of its values."""
    places = [document] if isinstance(document, list) else list(document.values()) if isinstance(document, dict) else []
    for rows in places:
        if isinstance(rows, list) and rows and all(isinstance(row, dict) and row.keys() >= set(keys) for row in rows):
            return rows
    return None
