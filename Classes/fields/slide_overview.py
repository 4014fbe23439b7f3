"""Decide at low resolution which squares of a slide can hold cells in a single layer.

Glass without cells, marks of a pen and places where cells lie on each other are told apart by the optical density
(logarithm of background over pixel), which is linear in the amount of dye; see stain_matching.
"""

import dataclasses
import itertools

import numpy
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.fields.slide_grid import Grid, spread_order
from Classes.fields.stain_matching import optical_density
from Classes.imaging import color_stats
from Classes.imaging.slide_reader import Slide

# What is known of a square. BLURRED and UNREADABLE are decided when it is searched.
SEARCHED, EMPTY, THICK, PEN, BLURRED, UNREADABLE = range(6)
NAMES = ("searched", "empty", "thick", "pen", "blurred", "unreadable")

# Side of a square in this pass: 4.3 µm per pixel.
PIXELS = 24

# Squares that are read together, and squares on which the color of the glass is measured.
CHUNK, MEASURED = 12, 225

# A darker background is that of a fluorescence or dark-field slide, in levels.
DARK_BACKGROUND = 90.0

# A square is empty if fewer of its pixels than the share absorb as much: a lone cell of 9 µm covers 0.6 % of it.
STAINED, MIN_STAINED = 0.10, 0.005

# A square that is skipped hides its cells, and one that is searched in vain only takes time. So the limits of MIN_PEN,
# MAX_LIGHTEST and slide_search.MIN_SHARPNESS are far from every square with a labelled cell, see benchmarks/slides.py.

# Pixels of a pen: dye that absorbs red light most, or black; and the share of such pixels in a square.
PEN_DENSITY, PEN_RATIO, BLACK_DENSITY, MIN_PEN = 0.25, 1.25, 0.9, 0.5

# In a single layer, glass shows between the cells, so a tenth of the pixels absorbs little; in multiples of what red
# cells absorb.
LIGHTEST, MAX_LIGHTEST = 0.1, 0.75


@dataclasses.dataclass(frozen=True)
class Overview:
    """What the pass measured.

    Attributes:
      background: RGB of the empty glass.
      codes: uint8 [rows, columns]: SEARCHED, EMPTY or PEN.
      lightest: float32 [rows, columns]: optical density in green that a tenth of the pixels stays below.
    """

    background: tuple[int, int, int]
    codes: numpy.ndarray
    lightest: numpy.ndarray


def survey(slide: Slide, grid: Grid) -> Overview:
    """Look at a slide at low resolution, a few squares at a time.

    Raises:
      ImageError: `fluorescence_slide`; `damaged_slide`.
    """
    background = measure_background(slide, grid)
    codes = numpy.empty((grid.rows, grid.columns), "uint8")
    lightest = numpy.empty((grid.rows, grid.columns), "float32")
    for row in range(grid.rows):
        for column in range(0, grid.columns, CHUNK):
            count = min(CHUNK, grid.columns - column)
            picture = read_squares(slide, grid, row, column, count)
            density = optical_density(picture, numpy.array(background, "float32"))
            for index in range(count):
                # Without what lies outside of the slide.
                down, across = (
                    max(1, min(PIXELS, (length - place * grid.side) * PIXELS // grid.side))
                    for length, place in ((grid.height, row), (grid.width, column + index))
                )
                part = density[:down, index * PIXELS : index * PIXELS + across].reshape(-1, 3)
                codes[row, column + index] = _judge(part)
                lightest[row, column + index] = numpy.quantile(part[:, 1], LIGHTEST)
    return Overview(background, codes, lightest)


def measure_background(slide: Slide, grid: Grid) -> tuple[int, int, int]:
    """Return the color of the empty glass, from squares all over the slide.

    Raises:
      ImageError: `fluorescence_slide`.
    """
    places = list(itertools.product(range(grid.rows), range(grid.columns)))
    chosen = sorted(places[index] for index in spread_order(places)[:MEASURED])
    squares = [read_squares(slide, grid, row, column, 1) for row, column in chosen]
    pixels = numpy.concatenate(squares)
    if float(numpy.median(pixels @ color_stats.LUMA)) < DARK_BACKGROUND:
        raise ImageError(
            Message(
                "{name}: the background is dark, as on a fluorescence slide. Only smears that were stained and scanned "
                "in bright light can be counted.",
                name=slide.path,
            ),
            "fluorescence_slide",
        )
    return color_stats.background_color(pixels)


def read_squares(slide: Slide, grid: Grid, row: int, column: int, count: int, pixels: int = PIXELS) -> numpy.ndarray:
    """Return uint8 [pixels, count * pixels, 3]: squares of a row at low resolution, from the best level for it."""
    wanted = grid.side / pixels
    index = max((i for i, level in enumerate(slide.levels) if level.downsample <= wanted), default=0)
    factor = slide.levels[index].downsample
    left, top = round(column * grid.side / factor), round(row * grid.side / factor)
    right, bottom = round((column + count) * grid.side / factor), round((row + 1) * grid.side / factor)
    picture = PIL.Image.fromarray(slide.read(left, top, max(1, right - left), max(1, bottom - top), index))
    return numpy.asarray(picture.resize((count * pixels, pixels), PIL.Image.Resampling.BOX))


def thick_squares(overview: Overview, red_cells: float) -> numpy.ndarray:
    """Return bool [rows, columns]: where cells lie on each other.

    Args:
      red_cells: optical density of red cells in green.
    """
    return (overview.codes == SEARCHED) & (overview.lightest > MAX_LIGHTEST * red_cells)


def _judge(density: numpy.ndarray) -> int:
    """Return the code of a square from the optical densities of its pixels, float32 [N, 3]."""
    red, green, blue = density.T
    if float((green > STAINED).mean()) < MIN_STAINED and float((red > STAINED).mean()) < MIN_STAINED:
        return EMPTY
    pen = ((red > PEN_DENSITY) & (red > PEN_RATIO * green)) | (numpy.minimum(red, blue) > BLACK_DENSITY)
    return PEN if float(pen.mean()) > MIN_PEN else SEARCHED
