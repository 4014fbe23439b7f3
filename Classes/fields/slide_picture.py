"""Draw a small picture of a slide with the density of its cells and of its blasts."""

import io
from collections.abc import Sequence

import numpy
import PIL.Image
import PIL.ImageDraw

from Classes import Helpers
from Classes.common.number_format import format_number
from Classes.common.translation import gettext as _
from Classes.common.translation import localize
from Classes.fields import overlay, slide_overview
from Classes.fields.slide_records import NOT_REACHED, SlideRecord
from Classes.imaging import color_stats
from Classes.imaging.slide_reader import Slide

# Longer side of the picture in pixels, and the most pixels per square.
SIDE, MOST_PER_SQUARE = 1400, 48

# From few to many cells per mm²: colors that color-blind people can order by their brightness (viridis; van der Walt
# and Smith 2015).
COLORS = ((253, 231, 37), (94, 201, 98), (33, 145, 140), (59, 82, 139), (68, 1, 84))

# How much of the slide shows through a color, and through what was not searched.
THROUGH, DIMMED = 0.45, 0.45


def draw_thumbnail(slide: Slide, record: SlideRecord) -> numpy.ndarray:
    """Return uint8 [H, W, 3]: the whole slide, each square as many pixels wide as fit."""
    assert record.plan is not None
    grid = record.plan.grid
    pixels = max(2, min(MOST_PER_SQUARE, SIDE // max(grid.rows, grid.columns)))
    rows = []
    for row in range(grid.rows):
        starts = range(0, grid.columns, slide_overview.CHUNK)
        parts = [
            slide_overview.read_squares(
                slide, grid, row, start, min(slide_overview.CHUNK, grid.columns - start), pixels
            )
            for start in starts
        ]
        rows.append(numpy.concatenate(parts, axis=1))
    picture = numpy.concatenate(rows)
    return picture[: round(pixels * grid.height / grid.side), : round(pixels * grid.width / grid.side)]


def draw_density(thumbnail: numpy.ndarray, record: SlideRecord, blast: str = "") -> bytes:
    """Return a JPEG: the density of the cells, beside it that of the blasts if a model looked for them.

    Args:
      thumbnail: from draw_thumbnail.
      blast: what is called a blast; "" without a model of blasts.
    """
    panels = [_panel(thumbnail, record, record.density, _("White cells per mm²"))]
    if blast:
        panels.append(_panel(thumbnail, record, record.blast_density, _("Blasts per mm²")))
    gap = numpy.full((panels[0].shape[0], 12, 3), 255, "uint8")
    joined = numpy.concatenate([each for panel in panels for each in (panel, gap)][:-1], axis=1)
    content = io.BytesIO()
    PIL.Image.fromarray(joined).save(content, "JPEG", quality=overlay.QUALITY)
    return content.getvalue()


def _panel(thumbnail: numpy.ndarray, record: SlideRecord, counts: numpy.ndarray, title: str) -> numpy.ndarray:
    assert record.plan is not None
    grid, height, width = record.plan.grid, *thumbnail.shape[:2]
    areas = grid.areas()
    density = _smooth(counts) / numpy.maximum(_smooth(areas * (record.codes == slide_overview.SEARCHED)), 1e-9)
    highest = float(density[record.codes == slide_overview.SEARCHED].max(initial=0))
    rows = numpy.minimum(numpy.arange(height) * grid.height // height // grid.side, grid.rows - 1)
    columns = numpy.minimum(numpy.arange(width) * grid.width // width // grid.side, grid.columns - 1)
    colors = _colors(density / highest if highest else density)[rows][:, columns]
    codes = record.codes[rows][:, columns]
    picture = thumbnail.astype("float32")
    searched = (codes == slide_overview.SEARCHED)[..., None]
    # Without color, because a pen can have the colors of the scale.
    dimmed = (picture @ color_stats.LUMA)[..., None] * DIMMED + 255 * (1 - DIMMED)
    # Hatched, so that it differs from empty glass.
    stripes = ((numpy.arange(height)[:, None] + numpy.arange(width)[None]) % 8 < 2)[..., None]
    hatched = stripes & ~searched & (codes != slide_overview.EMPTY)[..., None]
    picture = numpy.where(searched, picture * THROUGH + colors * (1 - THROUGH), numpy.where(hatched, 150, dimmed))
    return _with_legend(picture.clip(0, 255).astype("uint8"), record, title, highest)


def _smooth(values: numpy.ndarray) -> numpy.ndarray:
    """Return the sums of each square and its eight neighbors, because a square has few cells."""
    padded = numpy.pad(values.astype("float64"), 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _colors(shares: numpy.ndarray) -> numpy.ndarray:
    """Return float32 [..., 3] for values of 0 to 1."""
    steps = numpy.linspace(0, 1, len(COLORS))
    channels = [numpy.interp(shares, steps, [color[channel] for color in COLORS]) for channel in range(3)]
    return numpy.stack(channels, axis=-1).astype("float32")


def _with_legend(picture: numpy.ndarray, record: SlideRecord, title: str, highest: float) -> numpy.ndarray:
    """Return a panel with its title, the colors, a scale bar, and what was not searched."""
    assert record.plan is not None
    image = PIL.Image.fromarray(picture)
    width = max(image.width, 420)
    font = overlay.label_font(max(14, width // 70))
    line = round(font.size * 1.6)
    lines = [f"{title} (0 - {format_number(highest, '.0f')})", *_skipped(record), localize(Helpers.DISCLAIMER)]
    draw = PIL.ImageDraw.Draw(image)
    wrapped = [
        part for text in lines for part in overlay.wrap_text(draw, overlay.plain_letters(text), font, width - 20)
    ]
    result = PIL.Image.new("RGB", (width, image.height + line * (len(wrapped) + 2)), "white")
    result.paste(image)
    draw = PIL.ImageDraw.Draw(result)
    top = image.height + line // 3
    strip = _colors(numpy.linspace(0, 1, 200))[None].repeat(line // 2, axis=0).astype("uint8")
    result.paste(PIL.Image.fromarray(strip), (10, top))
    grid = record.plan.grid
    length = _round_length(grid.width * grid.microns / 1000 / 4)
    bar = round(length * 1000 / grid.microns * image.width / grid.width)
    draw.rectangle((230, top + 2, 230 + bar, top + 6), fill="black")
    draw.text((240 + bar, top + 4), f"{format_number(length, 'g')} mm", "black", font, anchor="lm")
    for index, text in enumerate(wrapped):
        draw.text((10, top + line * (index + 1)), text, "black", font)
    return numpy.asarray(result)


def _skipped(record: SlideRecord) -> Sequence[str]:
    hatched = (slide_overview.THICK, slide_overview.PEN, slide_overview.BLURRED, slide_overview.UNREADABLE, NOT_REACHED)
    return [_("Hatched: not searched.")] if numpy.isin(record.codes, hatched).any() else []


def _round_length(length: float) -> float:
    """Return the largest of 1, 2, 5, 10, … that is at most a length."""
    power = 10.0 ** numpy.floor(numpy.log10(max(length, 1e-6)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length + 1e-12))
