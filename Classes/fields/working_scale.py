"""Bring photographs and slides to the working scale of the finder: the same pixels, whatever part is read.

A square of SQUARE pixels at working scale is made of a whole number of pixels of the image, so the ratio of both scales
is a multiple of 1/256. Pillow gets the borders of a part in the same steps and as 32-bit numbers, which hold them
exactly, so the weights of a pixel do not depend on the part in which it is computed.
"""

import dataclasses
from collections.abc import Callable

import numpy
import PIL.Image

# Sides in pixels at working scale: of a square, about 0.1 mm wide, and of a unit, in whole numbers of which parts are
# read; the network needs multiples of 16.
SQUARE, UNIT = 256, 16

# From this ratio on, pixels are averaged; below, they are interpolated, which takes this many neighbors on each side.
AVERAGED_RATIO, NEIGHBORS = 1 / 0.7, 3

# (x, y, width, height) in pixels of the image -> uint8 [height, width, 3].
Read = Callable[[int, int, int, int], numpy.ndarray]


@dataclasses.dataclass(frozen=True)
class WorkingScale:
    """How the pixels of an image and those at working scale lie on each other.

    Attributes:
      width, height: of the image in pixels.
      side: of a square in pixels of the image.
    """

    width: int
    height: int
    side: int

    @property
    def ratio(self) -> float:
        """Pixels of the image per pixel at working scale."""
        return self.side / SQUARE

    @property
    def inner_size(self) -> tuple[int, int]:
        """Width and height at working scale."""
        return -(-self.width * SQUARE // self.side), -(-self.height * SQUARE // self.side)

    @property
    def working_size(self) -> tuple[int, int]:
        """Width and height at working scale, filled up to whole units."""
        width, height = self.inner_size
        return -(-width // UNIT) * UNIT, -(-height // UNIT) * UNIT


def square_side(microns: float, working_microns: float) -> int:
    """Return the side of a square in pixels of an image.

    Args:
      microns, working_microns: µm per pixel of the image, and at working scale.
    """
    return max(1, round(SQUARE * working_microns / microns))


def read_part(read: Read, scale: WorkingScale, part: tuple[int, int, int, int]) -> numpy.ndarray:
    """Return a part of an image at working scale.

    Args:
      read: reads the image; what is asked for lies inside of it.
      part: left, top, right and bottom at working scale, in whole units within `working_size`.
    Returns:
      uint8 [bottom - top, right - left, 3]. Pixels outside of the image have the color of its border.
    """
    left, top, right, bottom = part
    more = 0 if scale.ratio > AVERAGED_RATIO else NEIGHBORS
    across, down = scale.working_size
    start, end, behind = _range(left, right, across, scale.width, scale.side, more)
    first, last, below = _range(top, bottom, down, scale.height, scale.side, more)
    source = read(start, first, end - start, last - first)
    if behind or below:
        source = numpy.pad(source, [(0, below), (0, behind), (0, 0)], "edge")
    x, y = left * scale.ratio - start, top * scale.ratio - first
    kind = PIL.Image.Resampling.BILINEAR if more else PIL.Image.Resampling.BOX
    columns, rows = right - left, bottom - top
    # In two steps: Pillow chooses their order by the size of the part, and each step rounds.
    picture = PIL.Image.fromarray(source)
    picture = picture.resize((columns, picture.height), kind, (x, 0, x + columns * scale.ratio, picture.height))
    # A copy, because OpenVINO takes no array that cannot be written.
    return numpy.array(picture.resize((columns, rows), kind, (0, y, columns, y + rows * scale.ratio)))


def _range(first: int, last: int, working: int, length: int, side: int, more: int) -> tuple[int, int, int]:
    """Return (first, end) of the pixels that a range at working scale needs, and how many are missing behind them.

    Args:
      first, last: at working scale.
      working, length: of the image at working scale, filled up, and in its own pixels.
      side: see WorkingScale.
      more: neighbors that are needed on each side.
    """
    # As far as the image at working scale reaches, so that neighbors at its border are the same in all parts.
    end = min(-(-working * side // SQUARE), -(-last * side // SQUARE) + more)
    return max(0, first * side // SQUARE - more), min(end, length), max(0, end - length)
