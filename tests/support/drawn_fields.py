"""Blood films drawn by hand, with known cells: nothing in them is random."""

import numpy
import scipy.ndimage

GLASS, RED_CELL, CYTOPLASM, NUCLEUS = (238, 228, 222), (205, 150, 150), (178, 160, 205), (85, 45, 130)


def draw_field(width, height, microns, white=(), red=True):
    """A film with white cells at the given centers.

    Args:
      width, height: pixels.
      microns: µm per pixel.
      white: list of (x, y, diameter in µm).
      red: whether red cells of 7.5 µm fill the rest, in rows 11 µm apart.
    Returns:
      uint8 [height, width, 3].
    """
    image = numpy.empty((height, width, 3), "float32")
    image[:] = GLASS
    if red:
        for x, y in red_centers(width, height, microns):
            if all(numpy.hypot(x - a, y - b) > (size / 2 + 5) / microns for a, b, size in white):
                _disk(image, x, y, 3.75 / microns, RED_CELL)
                _disk(image, x, y, 1.2 / microns, (225, 195, 192))
    for x, y, size in white:
        radius = size / 2 / microns
        _disk(image, x, y, radius, CYTOPLASM)
        _disk(image, x + 0.1 * radius, y - 0.05 * radius, 0.72 * radius, NUCLEUS)
    sigma = 0.25 / microns
    return scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0)).round().astype("uint8")


def red_centers(width, height, microns):
    """Centers of the red cells of a film without white cells, list of (x, y)."""
    step, offset = 11 / microns, 7 / microns
    return [
        (x, y)
        for row, y in enumerate(numpy.arange(offset, height, step))
        for x in numpy.arange(offset + (row % 2) * step / 2, width, step)
    ]


def _disk(image, x, y, radius, color):
    rows, columns = numpy.ogrid[: image.shape[0], : image.shape[1]]
    image[(columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2] = color
