"""Give the cells of a field the stain of the images that the shipped model of cell types was trained on.

A model that has seen one laboratory calls most neutrophils of another one eosinophils, because red cells and plasma are
redder there. In the optical density (Ruifrok & Vaughn, Analytical and Quantitative Cytology and Histology 23 (2001)
291-299), which is linear in the amount of dye, the colors of nuclei and of red cells of the field are mapped to those
of the training images. docs/fields.md says what that gains; in fields whose colors are those of the training images it
loses, so there it is left out.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from Classes.imaging import color_stats, network_input
from Classes.imaging.cell_features import DARK

# Measured on 400 of the training images of Model/WhiteCells: the empty background, and the median optical density of
# nuclei and of red cells in red, green and blue.
BACKGROUND = numpy.array([254, 227, 202], "float32")
NUCLEI = numpy.array([1.017, 1.519, 0.389], "float32")
RED_CELLS = numpy.array([0.173, 0.303, 0.130], "float32")

# Share of the cells with foreign colors from which a field is matched, and the most cells that are looked at for it.
FOREIGN_CELLS, MOST_MEASURED = 0.5, 40

# Pixels that are measured, and the fewest of a kind that tell its color.
MEASURED_PIXELS, MIN_PIXELS = 60_000, 40

# A map that multiplies a density by more belongs to a field without nuclei or red cells.
MAX_GAIN = 12.0

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class StainMap:
    """A map from the colors of a field to those of the training images.

    Attributes:
      background: float32 [3], the empty background of the field, RGB.
      matrix: float32 [3, 3], maps optical densities.
    """

    background: numpy.ndarray
    matrix: numpy.ndarray

    def apply(self, image: numpy.ndarray) -> numpy.ndarray:
        """Return uint8 [H, W, 3] with the colors of the training images."""
        density = optical_density(image, self.background) @ self.matrix.T
        return ((BACKGROUND + DARK) * numpy.exp(-density) - DARK).clip(0, 255).round().astype("uint8")


def match_stain(
    image: numpy.ndarray, boxes: Sequence[Box], crops: Sequence[numpy.ndarray], reference: dict[str, Any] | None
) -> StainMap | None:
    """Return how to give the cells of a field the colors of the training images.

    Args:
      image: uint8 [H, W, 3], RGB, the field.
      boxes: (left, top, right, bottom) of each cell in pixels.
      crops: uint8 [H, W, 3] of each cell.
      reference: field `colours` of the model card.
    Returns:
      None if most cells have the colors of the training images already, or if the colors of the field are unclear.
    """
    if not crops or not reference:
        return None
    some = range(0, len(crops), 1 + len(crops) // MOST_MEASURED)
    shown = [network_input.center_crop_resize(crops[index], 64) for index in some]
    if sum(color_stats.domain_shift_warning(each, reference) is not None for each in shown) < FOREIGN_CELLS * len(
        shown
    ):
        return None
    background = numpy.array(color_stats.background_color(image), "float32")
    nuclei, red_cells = _nuclei(image, boxes, background), _red_cells(image, boxes, background)
    if nuclei is None or red_cells is None:
        return None
    matrix = _basis(NUCLEI, RED_CELLS) @ numpy.linalg.pinv(_basis(nuclei, red_cells))
    return StainMap(background, matrix) if numpy.abs(matrix).max() <= MAX_GAIN else None


def optical_density(pixels: numpy.ndarray, background: numpy.ndarray) -> numpy.ndarray:
    """Return float32 [..., 3]: the logarithm of background over pixel, uint8 [..., 3]."""
    return numpy.log((background + DARK) / (pixels.astype("float32") + DARK))


def _nuclei(image: numpy.ndarray, boxes: Iterable[Box], background: numpy.ndarray) -> numpy.ndarray | None:
    """Return the median optical density of the nuclei in the boxes, which absorb the most red light."""
    parts = [image[_inside(box)].reshape(-1, 3) for box in boxes]
    pixels = numpy.concatenate([part[:: 1 + len(part) // 2000] for part in parts])
    if len(pixels) < MIN_PIXELS:
        return None
    density = optical_density(pixels, background)
    found = density[:, 0] > max(0.2, 0.7 * float(numpy.quantile(density[:, 0], 0.97)))
    return numpy.median(density[found], axis=0) if found.sum() >= MIN_PIXELS else None


def _red_cells(image: numpy.ndarray, boxes: Iterable[Box], background: numpy.ndarray) -> numpy.ndarray | None:
    """Return the median optical density of the red cells: they absorb green light and let red light pass."""
    step = 1 + int((image.shape[0] * image.shape[1] / MEASURED_PIXELS) ** 0.5)
    outside = numpy.ones(image.shape[:2], bool)
    for box in boxes:
        outside[_inside(box)] = False
    pixels = image[::step, ::step][outside[::step, ::step]]
    density = optical_density(pixels, background)
    found = (density[:, 1] > 0.12) & (density[:, 0] < 0.6 * density[:, 1])
    return numpy.median(density[found], axis=0) if found.sum() >= MIN_PIXELS else None


def _inside(box: Box) -> tuple[slice, slice]:
    left, top, right, bottom = (max(0, round(value)) for value in box)
    return slice(top, bottom), slice(left, right)


def _basis(nuclei: numpy.ndarray, red_cells: numpy.ndarray) -> numpy.ndarray:
    """Return float [3, 3] with the two dyes and what is perpendicular to both as columns."""
    rest = numpy.cross(nuclei, red_cells)
    return numpy.stack([nuclei, red_cells, rest / max(float(numpy.linalg.norm(rest)), 1e-6)], axis=1)
