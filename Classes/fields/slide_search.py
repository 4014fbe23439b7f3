"""Find the cells of a band of a slide.

The band and its surroundings are read tile by tile, brought to the working scale on the grid of the slide, and searched
by the network, tile by tile with their halos. Neither the size nor the origin of the tiles changes a pixel of what the
network sees around a cell, so the cells are the same.
"""

import concurrent.futures
import dataclasses
import itertools

import numpy

from Classes.fields import slide_overview, working_scale
from Classes.fields.finder import Cell, CellFinder
from Classes.fields.slide_grid import Band, Grid
from Classes.fields.working_scale import SQUARE, UNIT
from Classes.imaging import color_stats
from Classes.imaging.slide_reader import Slide

# Side of the tiles in which a slide is read, in pixels of the slide.
TILE = 1024

# Pixels at working scale around a square in which a second, higher peak of the same cell can lie.
CONTEXT = 32

# A square is out of focus if the steepest steps between neighbors are a smaller share of its contrast: 0.85 of the
# smallest share in a square with a labelled cell, see slide_overview.
MIN_SHARPNESS = 0.12

READERS = 2


@dataclasses.dataclass(frozen=True)
class BandCells:
    """What was found in a band.

    Attributes:
      cells: from top to bottom, in pixels of the slide.
      codes: uint8 [rows, columns] of slide_overview: SEARCHED or BLURRED where the band is searched.
    """

    cells: tuple[Cell, ...]
    codes: numpy.ndarray


def search_band(
    slide: Slide, grid: Grid, band: Band, finder: CellFinder, tile: int = TILE, origin: tuple[int, int] = (0, 0)
) -> BandCells:
    """Return the white cells whose centers lie in the searched squares of a band.

    Args:
      tile, origin: side and place of the tiles in which the slide is read, in pixels; they change no result.
    Raises:
      ImageError: `damaged_slide`.
      EngineError: OpenVINO failed.
    """
    margin = -(-finder.card.halo // UNIT) * UNIT + CONTEXT
    left, top = max(0, band.column * SQUARE - margin), max(0, band.row * SQUARE - margin)
    rows, columns = band.searched.shape
    right = min(grid.working_size[0], (band.column + columns) * SQUARE + margin)
    bottom = min(grid.working_size[1], (band.row + rows) * SQUARE + margin)
    window = (left, top, right, bottom)
    needed = _around(band, window, margin, UNIT)
    pixels = read_working(slide, grid, window, needed, tile, origin)
    codes = numpy.full(band.searched.shape, slide_overview.SEARCHED, "uint8")
    for row, column in numpy.argwhere(band.searched):
        y, x = (band.row + row) * SQUARE - top, (band.column + column) * SQUARE - left
        if sharpness(pixels[y : y + SQUARE, x : x + SQUARE]) < MIN_SHARPNESS:
            codes[row, column] = slide_overview.BLURRED
    sharp = dataclasses.replace(band, searched=band.searched & (codes == slide_overview.SEARCHED))
    wanted = _around(sharp, window, CONTEXT, finder.card.stride)
    found = finder.find_in_window(pixels, wanted, (left, top), grid, grid.microns)
    return BandCells(tuple(cell for cell in found if _belongs(cell, sharp, grid)), codes)


def sharpness(square: numpy.ndarray) -> float:
    """Return the steepest steps between neighbors as a share of the contrast.

    Args:
      square: uint8 [H, W, 3] at working scale.
    """
    if min(square.shape[:2]) < 3:
        return 1.0
    light = square.astype("float32") @ color_stats.LUMA
    corner = light[:-1, :-1]
    steps = numpy.hypot(light[1:, :-1] - corner, light[:-1, 1:] - corner)
    low, high = numpy.quantile(light, [0.005, 0.995])
    return float(numpy.quantile(steps, 0.99) / max(high - low, 8.0))


def read_working(
    slide: Slide,
    grid: Grid,
    window: tuple[int, int, int, int],
    needed: numpy.ndarray,
    tile: int = TILE,
    origin: tuple[int, int] = (0, 0),
) -> numpy.ndarray:
    """Read a part of a slide at working scale.

    Args:
      window: left, top, right, bottom at working scale, in whole units.
      needed: bool [units down, units across] of the window; other units stay white.
      tile, origin: see search_band.
    Returns:
      uint8 [H, W, 3].
    """
    left, top = window[0] // UNIT, window[1] // UNIT
    pixels = numpy.full((window[3] - window[1], window[2] - window[0], 3), 255, "uint8")

    def work(ranges: tuple[tuple[int, int], tuple[int, int]]) -> None:
        """Read what is needed of one tile."""
        (first, last), (start, end) = ranges
        inside = needed[first - top : last - top, start - left : end - left]
        across, down = numpy.flatnonzero(inside.any(axis=0)), numpy.flatnonzero(inside.any(axis=1))
        if len(across):
            start, end, first, last = start + across[0], start + across[-1] + 1, first + down[0], first + down[-1] + 1
            place = (int(start) * UNIT, int(first) * UNIT, int(end) * UNIT, int(last) * UNIT)
            part = working_scale.read_part(slide.read, grid, place)
            y, x = (first - top) * UNIT, (start - left) * UNIT
            pixels[y : y + part.shape[0], x : x + part.shape[1]] = part

    rows = _tile_ranges(top, window[3] // UNIT, grid.side, tile, origin[1])
    columns = _tile_ranges(left, window[2] // UNIT, grid.side, tile, origin[0])
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        for _done in readers.map(work, itertools.product(rows, columns)):
            pass
    return pixels


def _tile_ranges(first: int, last: int, side: int, tile: int, origin: int) -> list[tuple[int, int]]:
    """Return the (first, end) of the units whose first pixel lies in each tile; together they are first to last."""
    # In 16ths of a pixel of the slide, because a unit is a 16th of a square.
    number = (numpy.arange(first, last) * side - UNIT * origin) // (UNIT * tile)
    edges = [0, *(numpy.flatnonzero(numpy.diff(number)) + 1), len(number)]
    return [(first + int(start), first + int(end)) for start, end in itertools.pairwise(edges)]


def _around(band: Band, window: tuple[int, int, int, int], margin: int, unit: int) -> numpy.ndarray:
    """Return bool [H / unit, W / unit] of a window: the searched squares and what lies within a margin of them."""
    left, top, right, bottom = window
    found = numpy.zeros((-(-(bottom - top) // unit), -(-(right - left) // unit)), bool)
    for row, column in numpy.argwhere(band.searched):
        y, x = (band.row + row) * SQUARE - top, (band.column + column) * SQUARE - left
        rows = slice(max(0, y - margin) // unit, (y + SQUARE + margin) // unit)
        found[rows, max(0, x - margin) // unit : (x + SQUARE + margin) // unit] = True
    return found


def _belongs(cell: Cell, band: Band, grid: Grid) -> bool:
    """Return whether the center of a cell lies in a searched square of a band."""
    row = min(int(cell.y // grid.side), grid.rows - 1) - band.row
    column = min(int(cell.x // grid.side), grid.columns - 1) - band.column
    rows, columns = band.searched.shape
    return 0 <= row < rows and 0 <= column < columns and bool(band.searched[row, column])
