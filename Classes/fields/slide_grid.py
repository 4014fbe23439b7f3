"""The grid on which a slide is searched: it depends on the slide and its scale only, never on how the slide is read.

The finder sees the slide at its working scale, see working_scale. Squares are searched or skipped as a whole, and bands
of squares are the units of work.
"""

import dataclasses
from collections.abc import Iterator

import numpy

from Classes.fields.working_scale import WorkingScale, square_side

# Rows and columns of squares in a band: large enough that its surroundings cost little, small enough for the memory.
BAND_ROWS, BAND_COLUMNS = 8, 8


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


def spread_order(count: int) -> list[int]:
    """Return 0 … count - 1 in an order whose every beginning is spread evenly (van der Corput, base 2)."""
    bits = max(1, (count - 1).bit_length())
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [place for place in order if place < count]
