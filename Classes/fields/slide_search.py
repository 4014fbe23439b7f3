"""Find the cells of a band of a slide.

The band and its surroundings are read tile by tile, brought to the working scale on the grid of the slide, and searched
by the network, tile by tile with their halos. Neither the size nor the origin of the tiles changes a pixel of what the
network sees around a cell, so the cells are the same.
"""

import concurrent.futures
import dataclasses
import itertools

import numpy
import PIL.Image

from Classes.fields import slide_overview
from Classes.fields.finder import Cell, CellFinder
from Classes.fields.slide_grid import BLOCK, SQUARE, Band, Grid
from Classes.imaging import color_stats
from Classes.imaging.slide_reader import Slide

# Side of the tiles in which a slide is read, in pixels of the slide.
TILE = 1024

# Pixels at working scale around a square in which a second, higher peak of the same cell can lie.
CONTEXT = 32

# A square is out of focus if the steepest steps between neighbors are a smaller share of its contrast.
MIN_SHARPNESS = 0.26

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
    margin = -(-finder.card.halo // BLOCK) * BLOCK + CONTEXT
    left, top = max(0, band.column * SQUARE - margin), max(0, band.row * SQUARE - margin)
    rows, columns = band.searched.shape
    right = min(grid.working_size[0], (band.column + columns) * SQUARE + margin)
    bottom = min(grid.working_size[1], (band.row + rows) * SQUARE + margin)
    window = (left, top, right, bottom)
    needed = _around(band, window, margin, BLOCK)
    pixels = read_working(slide, grid, window, needed, tile, origin)
    codes = numpy.full(band.searched.shape, slide_overview.SEARCHED, "uint8")
    for row, column in numpy.argwhere(band.searched):
        y, x = (band.row + row) * SQUARE - top, (band.column + column) * SQUARE - left
        if sharpness(pixels[y : y + SQUARE, x : x + SQUARE]) < MIN_SHARPNESS:
            codes[row, column] = slide_overview.BLURRED
    sharp = dataclasses.replace(band, searched=band.searched & (codes == slide_overview.SEARCHED))
    wanted = _around(sharp, window, CONTEXT, finder.card.stride)
    ratio = grid.block / BLOCK
    found = finder.find_in_window(pixels, wanted, (left, top), ratio, (grid.width, grid.height), grid.microns)
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
    low, high = numpy.quantile(light, [0.02, 0.98])
    return float(numpy.quantile(steps, 0.995) / max(high - low, 8.0))


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
      window: left, top, right, bottom at working scale, in whole blocks.
      needed: bool [blocks down, blocks across] of the window; other blocks stay white.
      tile, origin: see search_band.
    Returns:
      uint8 [H, W, 3].
    """
    left, top = window[0] // BLOCK, window[1] // BLOCK
    pixels = numpy.full((window[3] - window[1], window[2] - window[0], 3), 255, "uint8")

    def work(place: tuple[tuple[int, int], tuple[int, int]]) -> None:
        (first, last), (start, end) = place
        inside = needed[first - top : last - top, start - left : end - left]
        across, down = numpy.flatnonzero(inside.any(axis=0)), numpy.flatnonzero(inside.any(axis=1))
        if len(across):
            start, end, first, last = start + across[0], start + across[-1] + 1, first + down[0], first + down[-1] + 1
            part = _read_blocks(slide, grid, start, first, end, last)
            y, x = (first - top) * BLOCK, (start - left) * BLOCK
            pixels[y : y + part.shape[0], x : x + part.shape[1]] = part

    rows = _tile_ranges(top, window[3] // BLOCK, grid.block, tile, origin[1])
    columns = _tile_ranges(left, window[2] // BLOCK, grid.block, tile, origin[0])
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        for _done in readers.map(work, itertools.product(rows, columns)):
            pass
    return pixels


def _tile_ranges(first: int, last: int, block: int, tile: int, origin: int) -> list[tuple[int, int]]:
    """Return the (first, end) of the blocks whose first pixel lies in each tile; together they are first to last."""
    starts = numpy.arange(first, last) * block
    number = (starts - origin) // tile
    edges = [0, *(numpy.flatnonzero(numpy.diff(number)) + 1), len(starts)]
    return [(first + int(start), first + int(end)) for start, end in itertools.pairwise(edges)]


def _read_blocks(slide: Slide, grid: Grid, left: int, top: int, right: int, bottom: int) -> numpy.ndarray:
    """Return the blocks from left to right and top to bottom at working scale.

    One more block on each side is read where there is one, so that every pixel is made of the same neighbors.
    """
    block, across, down = grid.block, grid.working_size[0] // BLOCK, grid.working_size[1] // BLOCK
    factor = BLOCK / block
    # Averaging needs no neighbors.
    more = 0 if factor < 0.7 else 1
    start, first, end, last = (
        max(0, left - more),
        max(0, top - more),
        min(across, right + more),
        min(down, bottom + more),
    )
    width, height = min(grid.width, end * block) - start * block, min(grid.height, last * block) - first * block
    source = slide.read(start * block, first * block, width, height)
    missing = ((last - first) * block - height, (end - start) * block - width)
    if any(missing):
        source = numpy.pad(source, [(0, missing[0]), (0, missing[1]), (0, 0)], "edge")
    kind = PIL.Image.Resampling.BILINEAR if more else PIL.Image.Resampling.BOX
    size = ((end - start) * BLOCK, (last - first) * BLOCK)
    # In two steps: Pillow chooses their order by the size of the part, and each step rounds.
    picture = numpy.asarray(PIL.Image.fromarray(source).resize((size[0], source.shape[0]), kind).resize(size, kind))
    y, x = (top - first) * BLOCK, (left - start) * BLOCK
    return picture[y : y + (bottom - top) * BLOCK, x : x + (right - left) * BLOCK]


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
