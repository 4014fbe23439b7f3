"""Render what was measured on annotated photographs as one HTML page, with the photographs of the most errors."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import PIL.Image
import PIL.ImageDraw

from Classes import Helpers
from Classes.common import html
from Classes.common.translation import Message, localize, ngettext
from Classes.common.translation import gettext as _
from Classes.evaluation import classification_metrics
from Classes.evaluation.field_metrics import MeasuredField
from Classes.imaging.annotations import record

# In ReportDir.
JSON_FILE, PAGE = "FieldValidation.json", "FieldValidation.html"

METRIC_NAMES = {
    "recall": Message("Recall"),
    "precision": Message("Precision"),
    "f1": Message("F1"),
    "exact_count": Message("Exact counts"),
    "count_error": Message("Count error"),
    "absolute_count_error": Message("Absolute error"),
}

# Photographs with errors that are shown, and rows of the table; the JSON file has all.
MAX_PICTURES, MAX_ROWS = 12, 200
# Longer side of a picture in pixels.
PICTURE_SIDE = 900

# Colors of Okabe and Ito, https://jfly.uni-koeln.de/color/. The shapes differ too: rectangles are annotated, ellipses
# were found, and what was missed has a thick line.
RIGHT, MISSED, FALSE = "#009e73", "#d55e00", "#0072b2"


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the rows of a table for people: (name, value, interval, details)."""
    rows: list[tuple[str, str, str, str]]
    rows = [(name, *classification_metrics.format_metric(metrics[key])) for key, name in METRIC_NAMES.items()]
    if metrics["types"]:
        accuracy = classification_metrics.format_metric(metrics["types"]["accuracy"])
        rows.append((Message("Right types"), *accuracy))
    return rows


class Picture(NamedTuple):
    """A photograph with its annotated and found cells.

    Attributes:
      name: of the photograph.
      missed, false: numbers of cells.
      src: source of an <img>.
    """

    name: str
    missed: int
    false: int
    src: str


class Pictures:
    """Keeps the photographs with the most errors, so that memory does not grow with the number of photographs."""

    def __init__(self) -> None:
        self._kept: list[Picture] = []

    def add(self, field: MeasuredField, image: numpy.ndarray) -> None:
        """Draw a photograph if it has more errors than those that are kept."""
        rows, columns = ({pair[side] for pair in field.pairs} for side in (0, 1))
        missed = len(field.annotated) - len(rows)
        # If only some cells are annotated, the others do not count as errors.
        false = len(field.found) - len(columns) if field.complete else 0
        full = len(self._kept) == MAX_PICTURES
        if not missed + false or (full and missed + false <= _errors(self._kept[-1])):
            return
        picture = Picture(field.name, missed, false, html.data_uri(draw_field(field, image), "jpeg"))
        self._kept = sorted([*self._kept, picture], key=_errors, reverse=True)[:MAX_PICTURES]

    @property
    def drawn(self) -> list[Picture]:
        """The photographs, those with the most errors first."""
        return list(self._kept)


def _errors(picture: Picture) -> int:
    return picture.missed + picture.false


def draw_field(field: MeasuredField, image: numpy.ndarray) -> bytes:
    """Return a JPEG with rectangles around annotated cells and ellipses around found cells that are not annotated."""
    picture = PIL.Image.fromarray(image)
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    factor = picture.width / image.shape[1]
    draw = PIL.ImageDraw.Draw(picture)
    partner = dict(field.pairs)
    for number, cell in enumerate(field.annotated):
        size = field.found[partner[number]] if cell.is_point and number in partner else cell
        box = _corners(cell.x, cell.y, size.width, size.height, factor)
        draw.rectangle(box, outline=RIGHT if number in partner else MISSED, width=2 if number in partner else 5)
    for number, found in enumerate(field.found):
        if number not in partner.values():
            draw.ellipse(_corners(found.x, found.y, found.width, found.height, factor), outline=FALSE, width=4)
    content = io.BytesIO()
    # Without EXIF data, which can name a person or a place.
    picture.save(content, "JPEG", quality=80)
    return content.getvalue()


def _corners(x: float, y: float, width: float, height: float, factor: float) -> tuple[float, float, float, float]:
    # A point that was missed has no size.
    across, down = (max(side * factor / 2, 12) for side in (width, height))
    return x * factor - across, y * factor - down, x * factor + across, y * factor + down


def render_page(report: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """Return the page as HTML text that contains its pictures.

    Args:
      report: content of the JSON file.
      pictures: of photographs with errors.
    """
    problems: dict[str, list[str]] = {code: [] for code in record.PROBLEMS}
    for problem in report["problems"]:
        problems[problem["code"]].append(problem["text"])
    fields = sorted(report["fields"], key=lambda row: -abs(row["found"] - row["annotated"]))
    types = report["types"]
    return html.render(
        "Classes.evaluation",
        "fields.html",
        title=_("Cells of annotated photographs"),
        disclaimer=Helpers.DISCLAIMER,
        report=report,
        headline=_headline(report),
        metric_rows=metric_rows(report),
        confusion_head=["", *(Message(name) for name in types["types"])] if types else [],
        confusion_rows=[
            (Message(label) if label else "-", *map(str, counts))
            for label, counts in zip(types["annotated"], types["confusion"], strict=True)
        ]
        if types
        else [],
        field_rows=[
            (
                row["photograph"],
                str(row["annotated"]),
                str(row["found"]),
                str(row["matched"]),
                row["refused"] or ("" if row["complete"] else localize(Message("only some cells annotated"))),
            )
            for row in fields[:MAX_ROWS]
        ],
        max_rows=MAX_ROWS,
        pictures=pictures,
        problems=[(record.PROBLEMS[code], texts) for code, texts in problems.items() if texts],
    )


def _headline(report: Mapping[str, Any]) -> str:
    recall, precision = report["recall"]["value"], report["precision"]["value"]
    cells = ngettext("{count} annotated white cell", "{count} annotated white cells", report["annotated"]).format(
        count=report["annotated"]
    )
    if recall is None:
        return _("No white cell is annotated; {found} were found.").format(found=report["found"])
    found = _("{share} % of {cells} were found.").format(share=f"{100 * recall:.1f}", cells=cells)
    if precision is None:
        return found
    wrong = _("{share} % of the found cells are annotated.").format(share=f"{100 * precision:.1f}")
    return f"{found} {wrong}"
