"""What people read about a slide."""

from Classes.common import cell_texts, differential
from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext
from Classes.fields.slide_records import SlideRecord

# Below this many mm² nothing is said, because it would be shown as 0.
LEAST_AREA = 0.005


def describe_area(record: SlideRecord) -> str:
    """Return what was searched and what not, such as "searched 2.31 mm²; not searched: 1.20 mm² empty glass"."""
    areas = record.areas()
    texts = {
        "empty": _("{area} mm² empty glass"),
        "thick": _("{area} mm² with overlapping cells"),
        "pen": _("{area} mm² of pen marks"),
        "blurred": _("{area} mm² out of focus"),
        "unreadable": _("{area} mm² unreadable"),
        "not_reached": _("{area} mm² left to other shares") if record.unfinished else _("{area} mm² not needed"),
    }
    skipped = [text.format(area=format_area(areas[name])) for name, text in texts.items() if areas[name] >= LEAST_AREA]
    searched = _("searched {area} mm²").format(area=format_area(areas["searched"]))
    return f"{searched}; {_('not searched')}: {', '.join(skipped)}" if skipped else searched


def describe_slide(record: SlideRecord) -> str:
    """Return the line of a slide: cells, area and scale."""
    assert record.plan is not None
    counts = [cell_texts.describe_number(record.cells), cell_texts.describe_review(record.review)]
    scale = cell_texts.describe_scale(record.plan.grid.microns, record.plan.scale_source)
    return "; ".join([", ".join(filter(None, counts)), describe_area(record), scale])


def describe_report(record: SlideRecord, shown: int) -> str:
    """Return what the report says about a slide of which so many cells are shown."""
    sentence = f"{describe_slide(record)}."
    if shown < record.cells:
        sentence += " " + _("The picture marks the {shown} cells that are shown above.").format(shown=shown)
    return sentence


def describe_time(seconds: float) -> str:
    """Return a duration such as "40 seconds" or "12 minutes"."""
    if seconds < 90:
        count = max(1, round(seconds))
        return ngettext("{count} second", "{count} seconds", count).format(count=count)
    count = round(seconds / 60)
    return ngettext("{count} minute", "{count} minutes", count).format(count=count)


def describe_stop(wanted: int, found: int) -> str:
    """Return what a run with --cells says at its end, if so many cells are not enough."""
    if found < wanted:
        text = _("--cells asks for {wanted} cells, but only {found} were found in the searched area.")
        return text.format(found=found, wanted=wanted)
    if found < differential.ENOUGH_CELLS:
        text = _("--cells {wanted} is too few for shares: at least {enough} cells are needed.")
        return text.format(wanted=wanted, enough=differential.ENOUGH_CELLS)
    return ""


def format_area(area: float) -> str:
    """Return mm² as text."""
    return format_number(area, ".2f")
