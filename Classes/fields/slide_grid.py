"""The grid on which a slide is searched: it depends on the slide and its scale only, never on how the slide is read.

The finder sees the slide at its working scale, see working_scale. Squares are searched or skipped as a whole, and bands
of squares are the units of work.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy

from Classes.fields.working_scale import WorkingScale, square_side

# Rows and columns of squares in a band: large enough that its surroundings cost little, small enough for the memory.
BAND_ROWS, BAND_COLUMNS = 8, 8

# So many points leave hardly a place out, see spread_order.
POINTS_PER_PLACE = 8


@dataclasses.dataclass(frozen=True)
class Grid(WorkingScale):
    """The grid of a slide.

    Attributes:
      microns: µm per pixel of the slide.
    """

    microns: float

    @property
    def rows(self) -> int:
        """Rows of squares."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Columns of squares."""
        return -(-self.width // self.side)

    def areas(self) -> numpy.ndarray:
        """Return float64 [rows, columns]: mm² of each square that lie on the slide."""
        across, down = (
            numpy.clip(length - self.side * numpy.arange(count), 0, self.side) * self.microns / 1000
            for length, count in ((self.width, self.columns), (self.height, self.rows))
        )
        return down[:, None] * across[None]


@dataclasses.dataclass(frozen=True)
class Band:
    """A part of a slide that is searched together.

    Attributes:
      row, column: of its first square.
      searched: bool [rows, columns], the squares that are searched.
    """

    row: int
    column: int
    searched: numpy.ndarray


def make_grid(width: int, height: int, microns: float, working_microns: float) -> Grid:
    """Return the grid of a slide.

    Args:
      width, height: in pixels.
      microns, working_microns: µm per pixel of the slide, and of the finder.
    """
    return Grid(width, height, square_side(microns, working_microns), microns)


def bands(searched: numpy.ndarray, rows: int = BAND_ROWS, columns: int = BAND_COLUMNS) -> Iterator[Band]:
    """Yield the bands that have something to search, row by row.

    Args:
      searched: bool [rows, columns], squares of the slide.
      rows, columns: of squares in a band.
    """
    for row in range(0, searched.shape[0], rows):
        for column in range(0, searched.shape[1], columns):
            part = searched[row : row + rows, column : column + columns]
            if part.any():
                yield Band(row, column, part)


def spread_order(places: numpy.ndarray | Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of places in an order whose every beginning is spread evenly over them.

    The points of Halton's sequence (Numerische Mathematik 2 (1960), 84) are spread over the rectangle around the
    places, and each takes the place on which it falls.

    Args:
      places: (row, column) each, at least one.
    """
    corners = numpy.asarray(places) - numpy.min(places, axis=0)
    height, width = (int(side) for side in corners.max(axis=0) + 1)
    numbers = numpy.arange(1, POINTS_PER_PLACE * height * width)
    rows, columns = _van_der_corput(numbers, 2) * height, _van_der_corput(numbers, 3) * width
    fallen_on, first = numpy.unique(rows.astype(int) * width + columns.astype(int), return_index=True)
    index_of = numpy.full(height * width, -1)
    index_of[corners[:, 0] * width + corners[:, 1]] = numpy.arange(len(corners))
    order = index_of[fallen_on[numpy.argsort(first)]]
    order = order[order >= 0]
    # The few on which no point has fallen come last.
    return [*order.tolist(), *sorted(set(range(len(corners))) - set(order.tolist()))]


def _van_der_corput(numbers: numpy.ndarray, base: int) -> numpy.ndarray:
    """Return the digits of numbers mirrored at the point, float64 from 0 to 1."""
    mirrored, scale = numpy.zeros(numbers.shape), 1.0
    while numbers.any():
        scale /= base
        mirrored += numbers % base * scale
        numbers = numbers // base
    return mirrored
