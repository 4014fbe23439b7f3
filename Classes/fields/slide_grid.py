"""The grid on which a slide is searched: it depends on the slide and its scale only, never on how the slide is read.

The finder sees the slide at its working scale. BLOCK pixels at that scale are a whole number of pixels of the slide, so
every pixel at working scale is made of the same pixels of the slide, whatever part is read. Squares are searched or
skipped as a whole, and bands of squares are the units of work.
"""

import dataclasses
from collections.abc import Iterator

import numpy

# Sides in pixels at working scale; the network needs multiples of 16. A square is about 0.1 mm wide.
BLOCK, SQUARE = 16, 256

# Rows and columns of squares in a band: large enough that its surroundings cost little, small enough for the memory.
BAND_ROWS, BAND_COLUMNS = 8, 8


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid of a slide.

    Attributes:
      width, height: of the slide in pixels.
      microns: µm per pixel of the slide.
      block: side in pixels of the slide of what is BLOCK pixels wide at working scale.
    """

    width: int
    height: int
    microns: float
    block: int

    @property
    def side(self) -> int:
        """Side of a square in pixels of the slide."""
        return self.block * SQUARE // BLOCK

    @property
    def rows(self) -> int:
        """Rows of squares."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Columns of squares."""
        return -(-self.width // self.side)

    @property
    def working_size(self) -> tuple[int, int]:
        """Width and height at working scale, in whole blocks."""
        return -(-self.width // self.block) * BLOCK, -(-self.height // self.block) * BLOCK

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
    """Return the grid of a slide, whose working scale is as near to that of the finder as whole pixels allow."""
    return Grid(width, height, microns, max(1, round(BLOCK * working_microns / microns)))


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
