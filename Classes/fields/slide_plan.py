"""Plan the search of a slide: its scale, which squares are searched, its colors, and how long it takes.

All that holds for the whole slide is decided here, once, on its low-resolution copy and on sample squares, so that no
cell depends on the part in which it is found.
"""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.fields import analyze, field_check, slide_overview, slide_search, stain_matching
from Classes.fields import scale as scales
from Classes.fields.cell_typing import CellTyper
from Classes.fields.finder import CellFinder
from Classes.fields.scale import Scale
from Classes.fields.slide_grid import Band, Grid, make_grid, spread_order
from Classes.fields.stain_matching import StainMap
from Classes.imaging import cell_crops, slide_reader
from Classes.imaging.slide_reader import Slide

# Sample squares on which colors, focus and time are measured, and rows and columns of places at which an unknown scale
# is measured.
SAMPLES, SCALE_PLACES = 9, 5

# Places with enough red cells that are enough for a scale, and side of a place in pixels: 352 at the finest scale.
SCALES, PLACE_SIDE = 5, 2400

# If hardly any red cells are found, those of the training images count.
USUAL_RED_CELLS = float(stain_matching.RED_CELLS[1])


@dataclasses.dataclass(frozen=True)
class SlidePlan:
    """What is known of a slide before it is searched.

    Attributes:
      grid: its grid.
      scale_source: where the scale comes from, see scale.
      codes: uint8 [rows, columns] of slide_overview.
      background: RGB of the empty glass.
      stain: how the cells get the colors of the training images; None if they have them.
      seconds_per_square, seconds_per_cell, cells_per_square: measured on the samples.
    """

    grid: Grid
    scale_source: str
    codes: numpy.ndarray
    background: tuple[int, int, int]
    stain: StainMap | None
    seconds_per_square: float
    seconds_per_cell: float
    cells_per_square: float

    def estimate(self, squares: int) -> float:
        """Return the seconds for this many squares in one process."""
        return squares * (self.seconds_per_square + self.cells_per_square * self.seconds_per_cell)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            **dataclasses.asdict(self.grid),
            "scale_source": self.scale_source,
            "codes": ["".join(map(str, row)) for row in self.codes.tolist()],
            "background": list(self.background),
            "stain": stain_to_json(self.stain),
            "seconds": [self.seconds_per_square, self.seconds_per_cell, self.cells_per_square],
        }


def plan_from_json(values: dict[str, Any]) -> SlidePlan:
    """Return the plan that `SlidePlan.to_json` wrote."""
    grid = Grid(values["width"], values["height"], values["side"], values["microns"])
    codes = numpy.array([[int(code) for code in row] for row in values["codes"]], "uint8")
    red, green, blue = values["background"]
    stain = stain_from_json(values["stain"])
    return SlidePlan(grid, values["scale_source"], codes, (red, green, blue), stain, *values["seconds"])


def stain_to_json(stain: StainMap | None) -> dict[str, Any] | None:
    """Return a stain map as JSON."""
    return {"background": stain.background.tolist(), "matrix": stain.matrix.tolist()} if stain else None


def stain_from_json(values: dict[str, Any] | None) -> StainMap | None:
    """Return the stain map that `stain_to_json` wrote."""
    if not values:
        return None
    return StainMap(numpy.array(values["background"], "float32"), numpy.array(values["matrix"], "float32"))


class SlideCrops(analyze.CellCrops):
    """The cells of a slide with their surroundings, uint8 [S, S, 3] each, read when they are used.

    Args:
      slide, cells: with x, y, width and height in pixels of the slide.
      microns: µm per pixel.
      background: RGB of what lies outside of the slide.
    """

    def __init__(self, slide: Slide, cells: Sequence[Any], microns: float, background: Sequence[int]) -> None:
        super().__init__(cells)
        self._slide, self._microns, self._background = slide, microns, background

    def _crop(self, cell: Any) -> numpy.ndarray:
        side = cell_crops.crop_side(cell.width, cell.height, self._microns)
        # One pixel more on each side, because crop_cell rounds.
        margin = int(side / 2) + 2
        left, top = max(0, int(cell.x) - margin), max(0, int(cell.y) - margin)
        right = min(self._slide.width, int(cell.x) + margin + 1)
        bottom = min(self._slide.height, int(cell.y) + margin + 1)
        image = self._slide.read(left, top, right - left, bottom - top)
        return cell_crops.crop_cell(image, cell.x - left, cell.y - top, side, self._background)


def make_plan(slide: Slide, finder: CellFinder, typer: CellTyper, given: float | None = None) -> SlidePlan:
    """Plan the search of a slide.

    Args:
      given: µm per pixel that the user states.
    Raises:
      ImageError: `fluorescence_slide`, `not_a_smear`, `field_out_of_focus`, `no_cells_layer`, `damaged_slide`.
      EngineError: a device failed.
    """
    scale = slide_scale(slide, finder, given)
    grid = make_grid(slide.width, slide.height, scale.microns, finder.card.microns)
    overview = slide_overview.survey(slide, grid)
    candidates = numpy.argwhere(overview.codes == slide_overview.SEARCHED)
    if not len(candidates):
        raise ImageError(
            Message("{name}: nothing but glass and marks was found, so there is nothing to search.", name=slide.path),
            "no_content",
        )
    places = [tuple(candidates[index]) for index in spread_order(candidates)[:SAMPLES]]
    squares = [_square(slide, grid, row, column) for row, column in places]
    codes = overview.codes.copy()
    codes[slide_overview.thick_squares(overview, _red_cells(squares, overview.background))] = slide_overview.THICK
    kept = [index for index, place in enumerate(places) if codes[place] == slide_overview.SEARCHED]
    if not (codes == slide_overview.SEARCHED).any():
        raise ImageError(
            Message(
                "{name}: cells overlap everywhere, or this is not a smear, so nothing was counted. Scan a part "
                "where the cells lie side by side.",
                name=slide.path,
            ),
            "no_single_layer",
        )
    samples = [(places[index], squares[index]) for index in kept] or list(zip(places, squares, strict=True))
    if not field_check.is_stained(_mosaic([square for _place, square in samples])):
        raise field_check.not_a_smear(str(slide.path))
    return _measure(slide, grid, samples, codes, overview.background, scale.source, finder, typer)


def slide_scale(slide: Slide, finder: CellFinder, given: float | None) -> Scale:
    """Return the scale of a slide: given, stated by its file, or measured on cells all over it.

    Raises:
      ConfigurationError: `invalid_scale`.
    """
    if given is not None:
        return scales.given_scale(given)
    if slide.microns is not None and scales.LOWEST <= slide.microns <= scales.HIGHEST:
        return Scale(slide.microns, scales.FILE)
    with slide_reader.any_size():
        stated = scales.scale_from_file(slide.path)
    if stated is not None:
        return stated
    found = []
    for part in _places(slide):
        if field_check.is_stained(part):
            measured = finder.measure_scale(part)
            found += [measured] if measured.source == scales.RED_CELLS else []
        if len(found) == SCALES:
            break
    if not found:
        return Scale(scales.USUAL_MICRONS, scales.ASSUMED)
    # Rounded, so that another processor finds the same.
    return Scale(round(statistics.median(each.microns for each in found), 4), scales.RED_CELLS)


def _places(slide: Slide) -> Iterator[numpy.ndarray]:
    side = min(PLACE_SIDE, slide.width, slide.height)
    places = list(itertools.product(range(SCALE_PLACES), repeat=2))
    for row, column in (places[index] for index in spread_order(places)):
        x, y = (
            round((length - side) * (index + 0.5) / SCALE_PLACES)
            for length, index in ((slide.width, column), (slide.height, row))
        )
        yield slide.read(x, y, side, side)


def _measure(
    slide: Slide,
    grid: Grid,
    samples: Sequence[tuple[Any, numpy.ndarray]],
    codes: numpy.ndarray,
    background: tuple[int, int, int],
    source: str,
    finder: CellFinder,
    typer: CellTyper,
) -> SlidePlan:
    """Find and type the cells of the samples: for the stain, for the time, and to see whether they are cells."""
    started, cells = time.perf_counter(), []
    boxes: list[stain_matching.Box] = []
    for index, ((row, column), _square_pixels) in enumerate(samples):
        band = Band(row, column, numpy.ones((1, 1), bool))
        for cell in slide_search.search_band(slide, grid, band, finder).cells:
            cells.append(cell)
            left, top, right, bottom = analyze.cell_box(cell)
            x, y = column * grid.side, row * grid.side - index * grid.side
            boxes.append((max(left - x, 0), max(top - y, index * grid.side), right - x, bottom - y))
    # A single square is read with much more of its surroundings than a square of a band.
    searching = (time.perf_counter() - started) / len(samples) / 3
    crops = SlideCrops(slide, cells, grid.microns, background)
    image = numpy.concatenate([square for _place, square in samples])
    stain = stain_matching.match_stain(image, boxes, crops, typer.card.colours)
    if stain is not None:
        stain = StainMap(stain.background, numpy.round(stain.matrix, 4))
    started = time.perf_counter()
    analyze.check_types(analyze.type_cells(cells, crops, typer, stain), str(slide.path))
    typing = (time.perf_counter() - started) / max(1, len(cells))
    return SlidePlan(grid, source, codes, background, stain, searching, typing, len(cells) / len(samples))


def _square(slide: Slide, grid: Grid, row: int, column: int) -> numpy.ndarray:
    return slide.read(column * grid.side, row * grid.side, grid.side, grid.side)


def _mosaic(squares: Sequence[numpy.ndarray]) -> numpy.ndarray:
    return numpy.concatenate(
        [square[:: max(1, len(square) // 256), :: max(1, len(square) // 256)] for square in squares]
    )


def _red_cells(squares: Sequence[numpy.ndarray], background: tuple[int, int, int]) -> float:
    """Return the optical density of red cells in green, from the thinner half of the samples."""
    found = []
    for square in squares:
        density = stain_matching.optical_density(square[::4, ::4].reshape(-1, 3), numpy.array(background, "float32"))
        stained = density[(density[:, 1] > 0.1) & (density[:, 0] < 0.6 * density[:, 1]), 1]
        if len(stained) >= 100:
            found.append(float(numpy.median(stained)))
    return round(float(numpy.quantile(found, 0.25)), 3) if found else USUAL_RED_CELLS
