"""Draw a field with a numbered box around each cell, and below it what the colors, lines and symbols mean."""

import collections
import io
import itertools
import unicodedata
from collections.abc import Sequence

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from Classes import Helpers
from Classes.common import type_names
from Classes.common.translation import gettext as _
from Classes.common.translation import localize
from Classes.fields import cell_styles
from Classes.fields.cell_styles import CellStyle
from Classes.fields.typed_cells import NEEDS_REVIEW, TypedCell

# A smaller photograph is enlarged, because numbers need pixels.
SMALLEST_SIDE = 900

QUALITY = 90

Box = tuple[float, float, float, float]
Font = PIL.ImageFont.FreeTypeFont


def draw_overlay(image: numpy.ndarray, cells: Sequence[TypedCell], caption: str = "") -> bytes:
    """Return a JPEG of the field with its cells.

    Args:
      image: uint8 [H, W, 3], RGB.
      cells: of this field.
      caption: a line below the photograph, such as the counts.
    """
    picture = PIL.Image.fromarray(image)
    factor = max(1, -(-SMALLEST_SIDE // max(picture.size)))
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, PIL.Image.Resampling.BICUBIC)
    side = max(picture.size)
    line, font = max(2, round(side / 450)), label_font(max(15, round(side / 62)))
    draw = PIL.ImageDraw.Draw(picture)
    boxes = [_scaled(cell.box, factor, picture.size) for cell in cells]
    for cell, box in zip(cells, boxes, strict=True):
        _draw_box(draw, box, cell_styles.style_of(cell.group), line)
    taken: list[Box] = []
    for cell, box in zip(cells, boxes, strict=True):
        _draw_label(draw, cell, box, font, taken, picture.size)
    result = _add_legend(picture, cells, caption, font)
    content = io.BytesIO()
    # Without EXIF data, which can name a person or a place.
    result.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _scaled(box: Box, factor: int, size: tuple[int, int]) -> Box:
    left, top, right, bottom = (factor * value for value in box)
    return max(1.0, left), max(1.0, top), min(size[0] - 2.0, right), min(size[1] - 2.0, bottom)


def _draw_box(draw: PIL.ImageDraw.ImageDraw, box: Box, style: CellStyle, line: int) -> None:
    """Draw the line around a cell, on a light one that shows it on any background."""
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    width = max(2, round(line * style.weight))
    halo = (255, 255, 255) if style.text_color == (255, 255, 255) else (0, 0, 0)
    draw.line(corners, fill=halo, width=width + max(2, line // 2) * 2, joint="curve")
    for start, end in itertools.pairwise(corners):
        for first, last in dashes(start, end, [width * length for length in style.dash]):
            draw.line([first, last], fill=style.color, width=width)


def dashes(
    start: tuple[float, float], end: tuple[float, float], pattern: Sequence[float]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return (start, end) of the drawn parts of a line; `pattern` are the lengths drawn, left out, drawn, …"""
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    if not pattern or not length:
        return [(start, end)]
    parts: list[tuple[tuple[float, float], tuple[float, float]]] = []
    place = 0.0
    for index, step in enumerate(itertools.cycle(pattern)):
        if place >= length:
            return parts
        if index % 2 == 0:
            first, last = place / length, min(length, place + step) / length
            parts.append((_between(start, end, first), _between(start, end, last)))
        place += step
    return parts


def _between(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _draw_label(
    draw: PIL.ImageDraw.ImageDraw, cell: TypedCell, box: Box, font: Font, taken: list[Box], size: tuple[int, int]
) -> None:
    """Write the number and the symbol of a cell at a corner of its box where no other number is."""
    style = cell_styles.style_of(cell.group)
    text = f"{cell.number}?" if NEEDS_REVIEW in cell.flags else str(cell.number)
    height, pad = font.size * 1.25, font.size * 0.25
    width = draw.textlength(text, font) + font.size + 3 * pad
    left, top, right, bottom = box
    corners = (
        *((left, top - height), (right - width, top - height), (left, bottom), (right - width, bottom)),
        *((left, top), (right - width, bottom - height)),
    )
    inside = [
        (min(max(0.0, x), size[0] - width), min(max(0.0, y), size[1] - height), width, height) for x, y in corners
    ]
    place = next((each for each in inside if not any(_overlap(each, other) for other in taken)), inside[0])
    taken.append(place)
    x, y = place[:2]
    draw.rectangle((x, y, x + width, y + height), fill=style.color, outline=style.text_color)
    draw_symbol(draw, style, (x + pad + font.size / 2, y + height / 2), font.size * 0.38, style.text_color)
    draw.text((x + font.size + 2 * pad, y + height / 2), text, style.text_color, font, anchor="lm")


def draw_symbol(
    draw: PIL.ImageDraw.ImageDraw,
    style: CellStyle,
    center: tuple[float, float],
    radius: float,
    fill: tuple[int, int, int],
) -> None:
    """Draw the symbol of a type."""
    points = cell_styles.SYMBOLS[style.symbol]
    draw.polygon([(center[0] + radius * x, center[1] + radius * y) for x, y in points], fill=fill)


def _overlap(one: Box, other: Box) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in range(2)
    )


def _add_legend(picture: PIL.Image.Image, cells: Sequence[TypedCell], caption: str, font: Font) -> PIL.Image.Image:
    """Return the picture with a strip below it: the types with their numbers, the caption, and the notice."""
    counts = collections.Counter(cell.group for cell in cells)
    known = [*cell_styles.STYLES]
    groups = sorted(counts, key=lambda group: (known.index(group) if group in known else len(known), group))
    row, pad = round(font.size * 1.7), round(font.size * 0.6)
    draw = PIL.ImageDraw.Draw(picture)
    places, x, y = [], pad, pad
    for group in groups:
        text = plain_letters(f"{type_names.type_name(group)} {counts[group]}")
        width = round(draw.textlength(text, font) + 3.6 * font.size)
        if x + width > picture.width and x > pad:
            x, y = pad, y + row
        places.append((group, text, x, y))
        x += width
    notes = [caption] if caption else []
    if any(NEEDS_REVIEW in cell.flags for cell in cells):
        notes.append(_("? = a person should look at this cell."))
    notes.append(localize(Helpers.DISCLAIMER))
    lines = [line for note in notes for line in wrap_text(draw, plain_letters(note), font, picture.width - 2 * pad)]
    top = y + row if places else pad
    result = PIL.Image.new("RGB", (picture.width, picture.height + top + row * len(lines) + pad), "white")
    result.paste(picture)
    draw = PIL.ImageDraw.Draw(result)
    for group, text, left, height in places:
        style, middle = cell_styles.style_of(group), picture.height + height + row // 2
        unit = max(2, font.size // 7)
        for first, last in dashes((left, middle), (left + 2 * font.size, middle), [unit * each for each in style.dash]):
            draw.line([first, last], fill=style.color, width=round(unit * style.weight))
        draw_symbol(draw, style, (left + font.size, middle), font.size * 0.45, style.color)
        draw.text((left + 2.5 * font.size, middle), text, "black", font, anchor="lm")
    for index, line in enumerate(lines):
        draw.text((pad, picture.height + top + row * index + row // 2), line, "black", font, anchor="lm")
    return result


def plain_letters(text: str) -> str:
    """Return a text in ASCII, without accents, because the font that Pillow brings along has no other letters."""
    text = unicodedata.normalize("NFKD", text.replace("\N{MICRO SIGN}", "u"))
    return text.encode("ascii", "ignore").decode()


def wrap_text(draw: PIL.ImageDraw.ImageDraw, text: str, font: Font, width: float) -> list[str]:
    """Return a text as lines that are at most `width` pixels wide, unless a single word is wider."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def label_font(size: int) -> Font:
    """Return the font of numbers and names, in pixels."""
    font = PIL.ImageFont.load_default(size)
    if not isinstance(font, PIL.ImageFont.FreeTypeFont):
        # A Pillow that was built without FreeType.
        raise TypeError("Pillow has no FreeType, so no numbers can be drawn; install Pillow from PyPI")
    return font
