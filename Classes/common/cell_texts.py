"""What people read about the cells of a field: their number and types in one line, and the scale."""

import collections
from collections.abc import Callable, Sequence

from Classes.common import differential, type_names
from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext

# Functions, because the language is chosen after this module is imported.
_SCALE_SOURCES: dict[str, Callable[[], str]] = {
    "given": lambda: _("given"),
    "file": lambda: _("file"),
    "red_cells": lambda: _("red cells"),
    "white_cells": lambda: _("white cells"),
}


def describe_scale(scale: float | None, scale_source: str) -> str:
    """Return the scale and where it comes from, such as "0.10 µm per pixel (red cells)"."""
    if scale is None:
        return _("scale unknown")
    source = _SCALE_SOURCES.get(scale_source)
    return _("{scale} µm per pixel ({source})").format(
        scale=format_number(scale, ".3f"), source=source() if source else scale_source
    )


def scale_sources() -> dict[str, str]:
    """Return {code: words} of where a scale can come from, in the language of the reader."""
    return {code: text() for code, text in _SCALE_SOURCES.items()}


def describe_counts(groups: Sequence[str], review: int) -> str:
    """Return the counts, such as "12 white cells: 8 neutrophil, 4 lymphocyte; 2 need review".

    Args:
      groups: the group of each cell.
      review: how many need review.
    """
    parts = [": ".join(filter(None, [describe_number(len(groups)), describe_types(groups)])), describe_review(review)]
    return "; ".join(filter(None, parts))


def describe_number(cells: int) -> str:
    """Return the number of cells, such as "12 white cells"."""
    return ngettext("{count} white cell", "{count} white cells", cells).format(count=cells)


def describe_types(groups: Sequence[str]) -> str:
    """Return the number of cells of each type in conventional order, such as "8 neutrophil, 4 lymphocyte"."""
    counts = collections.Counter(groups)
    known = {name: place for place, name in enumerate(differential.ORDER)}
    names = sorted(counts, key=lambda name: (known.get(name, len(known)), name))
    return ", ".join(f"{counts[name]} {type_names.type_name(name)}" for name in names)


def describe_review(review: int) -> str:
    """Return how many cells a person should look at, such as "2 need review"; "" for none."""
    return ngettext("{count} needs review", "{count} need review", review).format(count=review) if review else ""
