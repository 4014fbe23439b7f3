"""What people read about a field: its counts in one line, its scale, and the flags of its cells."""

import collections
from collections.abc import Callable

from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext
from Classes.fields import differential, type_names, typed_cells
from Classes.fields.analyze import Field

# Functions, because the language is chosen after this module is imported.
_FLAGS: dict[str, Callable[[], str]] = {
    typed_cells.CUT_BY_BORDER: lambda: _("cut by the border"),
    typed_cells.TOUCHING: lambda: _("touches another cell"),
    typed_cells.OUT_OF_FOCUS: lambda: _("out of focus"),
    typed_cells.UNLIKE_TRAINING: lambda: _("unlike the training images"),
    typed_cells.NEEDS_REVIEW: lambda: _("needs review"),
}
_SCALE_SOURCES: dict[str, Callable[[], str]] = {
    "given": lambda: _("given"),
    "file": lambda: _("file"),
    "red_cells": lambda: _("red cells"),
    "white_cells": lambda: _("white cells"),
}


def flag_text(flag: str) -> str:
    """Return a flag of typed_cells.FLAGS in the language of the reader; another one unchanged."""
    return _FLAGS[flag]() if flag in _FLAGS else flag


def describe_scale(field: Field) -> str:
    """Return the scale and where it comes from, such as "0.10 µm per pixel (red cells)"."""
    if field.scale is None:
        return _("scale unknown")
    source = _SCALE_SOURCES.get(field.scale_source)
    return _("{scale} µm per pixel ({source})").format(
        scale=format_number(field.scale, ".3f"), source=source() if source else field.scale_source
    )


def describe_counts(field: Field) -> str:
    """Return the counts, such as "12 white cells: 8 neutrophil, 4 lymphocyte; 2 need review"."""
    parts = [": ".join(filter(None, [describe_number(field), describe_types(field)])), describe_review(field)]
    return "; ".join(filter(None, parts))


def describe_caption(field: Field) -> str:
    """Return the line below an overlay: counts and scale."""
    return f"{describe_counts(field)}. {describe_scale(field)}"


def describe_number(field: Field) -> str:
    """Return the number of cells, such as "12 white cells"."""
    return ngettext("{count} white cell", "{count} white cells", len(field.cells)).format(count=len(field.cells))


def describe_types(field: Field) -> str:
    """Return the number of cells of each type in conventional order, such as "8 neutrophil, 4 lymphocyte"."""
    counts = collections.Counter(cell.group for cell in field.cells)
    known = {name: place for place, name in enumerate(differential.ORDER)}
    names = sorted(counts, key=lambda name: (known.get(name, len(known)), name))
    return ", ".join(f"{counts[name]} {type_names.type_name(name)}" for name in names)


def describe_review(field: Field) -> str:
    """Return how many cells a person should look at, such as "2 need review"; "" for none."""
    review = sum(typed_cells.NEEDS_REVIEW in cell.flags for cell in field.cells)
    return ngettext("{count} needs review", "{count} need review", review).format(count=review) if review else ""
