"""What people read about a field: its counts in one line, its scale, and the flags of its cells."""

from collections.abc import Callable

from Classes.common import cell_texts
from Classes.common.translation import gettext as _
from Classes.fields import typed_cells
from Classes.fields.analyze import Field

# Functions, because the language is chosen after this module is imported.
_FLAGS: dict[str, Callable[[], str]] = {
    typed_cells.CUT_BY_BORDER: lambda: _("cut by the border"),
    typed_cells.TOUCHING: lambda: _("touches another cell"),
    typed_cells.OUT_OF_FOCUS: lambda: _("out of focus"),
    typed_cells.UNLIKE_TRAINING: lambda: _("unlike the training images"),
    typed_cells.NEEDS_REVIEW: lambda: _("needs review"),
}


def flag_text(flag: str) -> str:
    """Return a flag of typed_cells.FLAGS in the language of the reader; another one unchanged."""
    return _FLAGS[flag]() if flag in _FLAGS else flag


def describe_scale(field: Field) -> str:
    """Return the scale and where it comes from, such as "0.10 µm per pixel (red cells)"."""
    return cell_texts.describe_scale(field.scale, field.scale_source)


def describe_counts(field: Field) -> str:
    """Return the counts, such as "12 white cells: 8 neutrophil, 4 lymphocyte; 2 need review"."""
    return cell_texts.describe_counts(_groups(field), _review(field))


def describe_caption(field: Field) -> str:
    """Return the line below an overlay: counts and scale."""
    return f"{describe_counts(field)}. {describe_scale(field)}"


def describe_searched(field: Field) -> str:
    """Return the sentence of a field in the report: counts, scale and what was searched."""
    text = _("searched: all {width} × {height} pixels.")  # noqa: RUF001 - a multiplication sign
    searched = text.format(width=field.width, height=field.height)
    return f"{describe_counts(field)}. {describe_scale(field)}; {searched}"


def describe_number(field: Field) -> str:
    """Return the number of cells, such as "12 white cells"."""
    return cell_texts.describe_number(len(field.cells))


def describe_types(field: Field) -> str:
    """Return the number of cells of each type in conventional order, such as "8 neutrophil, 4 lymphocyte"."""
    return cell_texts.describe_types(_groups(field))


def describe_review(field: Field) -> str:
    """Return how many cells a person should look at, such as "2 need review"; "" for none."""
    return cell_texts.describe_review(_review(field))


def _groups(field: Field) -> list[str]:
    return [cell.group for cell in field.cells]


def _review(field: Field) -> int:
    return sum(typed_cells.NEEDS_REVIEW in cell.flags for cell in field.cells)
