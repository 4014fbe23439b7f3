"""The scale of a photograph in µm per pixel: given, stated by its file, or measured on its cells."""

import dataclasses
import io
import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy
import PIL.Image

from Classes.common.errors import ConfigurationError
from Classes.common.scale_option import HIGHEST, LOWEST
from Classes.common.translation import Message

# Diameter of a human red cell in a smear, in µm: 7 to 8 (Bain, Blood Cells: A Practical Guide, 5th edition, 2015).
RED_CELL_MICRONS = 7.5

# Middle of the diameters of white cells in a smear, in µm: small lymphocytes have 9, monocytes up to 20 (Bain 2015).
WHITE_CELL_MICRONS = 13.0

# Fewer red cells do not give a scale; a photograph of white cells only may show a few that are none.
LEAST_RED_CELLS = 6

GIVEN, FILE, RED_CELLS, WHITE_CELLS, ASSUMED = "given", "file", "red_cells", "white_cells", "assumed"

# A trial counts less the more the measured scale differs from the tried one; a natural logarithm.
AGREEMENT = 0.35

# How far the scales of two trials that confirm each other may differ; a natural logarithm.
CONSENSUS = 0.25

# Photographs through a 100x objective have about this scale; most lie within a few times this factor (its natural
# logarithm), which decides only if the trials are nearly equal.
USUAL_MICRONS, USUAL_SPREAD = 0.12, 1.0

# Units of TIFF's and PNG's resolution and of OME-XML in µm.
_UNITS = {"µm": 1.0, "um": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3}


@dataclasses.dataclass(frozen=True)
class Scale:
    """The scale of a photograph.

    Attributes:
      microns: µm per pixel.
      source: GIVEN by the user, stated by the FILE, measured on RED_CELLS or WHITE_CELLS, or ASSUMED because the
        photograph shows neither.
      cells: number of cells on which it was measured; 0 if it was not measured.
    """

    microns: float
    source: str
    cells: int = 0


def given_scale(microns: float) -> Scale:
    """Return a scale that the user states.

    Raises:
      ConfigurationError: `invalid_scale`, if no microscope has it.
    """
    if not (math.isfinite(microns) and LOWEST <= microns <= HIGHEST):
        raise ConfigurationError(
            Message(
                "{microns} µm per pixel: the scale of a smear is between {lowest} and {highest}. Leave it out to "
                "measure it on the red cells.",
                microns=microns,
                lowest=LOWEST,
                highest=HIGHEST,
            ),
            "invalid_scale",
        )
    return Scale(float(microns), GIVEN)


def scale_from_file(source: str | os.PathLike[str] | bytes) -> Scale | None:
    """Return the scale that an image file states, or None.

    Read are the µm per pixel of Aperio, OME-TIFF and ImageJ, and the resolution of TIFF, PNG and JPEG if it is that of
    a microscope; 72 or 300 dots per inch say nothing about a smear.

    Args:
      source: path or content of the file; the first page counts.
    """
    try:
        with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            tags = getattr(image, "tag_v2", {})
            text = str(tags.get(270, ""))
            dpi = image.info.get("dpi", (0, 0))
            unit = tags.get(296, 2)
            per_unit = tags.get(282)
    # Pillow raises errors of many kinds on damaged files; such a file states no scale.
    except Exception:
        return None
    found = _from_description(text, per_unit)
    if found is None and per_unit is not None and unit in (2, 3):
        found = _divide(25400.0 if unit == 2 else 10000.0, per_unit)
    elif found is None and isinstance(dpi, tuple):
        found = _divide(25400.0, dpi[0])
    return Scale(found, FILE) if found is not None and LOWEST <= found <= HIGHEST else None


def _from_description(text: str, per_unit: object) -> float | None:
    aperio = re.search(r"\bMPP *= *([0-9.]+)", text)
    if aperio:
        return _divide(aperio[1], 1)
    ome = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', text)
    if ome:
        unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
        factor = _UNITS.get(unit[1] if unit else "µm")
        return _divide(ome[1], 1 / factor) if factor else None
    imagej = re.search(r"^unit=(.+)$", text, re.MULTILINE) if text.startswith("ImageJ") else None
    factor = _UNITS.get(imagej[1].strip().replace("\\u00B5", "µ")) if imagej else None
    return _divide(factor, per_unit) if factor else None


def _divide(length: object, pixels: object) -> float | None:
    try:
        found = float(length) / float(pixels)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return found if math.isfinite(found) else None


class Trial(NamedTuple):
    """What the finder sees in a photograph if it takes it to be of a certain scale.

    Attributes:
      microns: µm per pixel.
      red, white: diameters of the red and the white cells in pixels of the photograph, and their scores.
    """

    microns: float
    red: tuple[numpy.ndarray, numpy.ndarray]
    white: tuple[numpy.ndarray, numpy.ndarray]


def choose_scale(trials: Sequence[Trial]) -> Scale:
    """Return the scale on which the trials agree most.

    Every trial measures a scale on its red cells, because all of them have nearly the same size, or on its white cells
    if it shows too few red ones. Far from its working scale the network finds wrong cells; their sizes contradict the
    scale that was tried, and the other trials.
    """
    measured = [found for found in map(_measure, trials) if found is not None]
    best, highest = Scale(USUAL_MICRONS, ASSUMED), 0.0
    for candidate, _ in measured:
        support = sum(
            weight * _near(other.microns, candidate.microns, CONSENSUS) for other, weight in measured
        ) * _near(candidate.microns, USUAL_MICRONS, USUAL_SPREAD)
        if support > highest:
            best, highest = candidate, support
    # The trial nearest to its own answer worked at the best scale.
    near = [(found, weight * _near(found.microns, best.microns, CONSENSUS)) for found, weight in measured]
    return max(near, key=lambda each: each[1])[0] if near else best


def _measure(trial: Trial) -> tuple[Scale, float] | None:
    """Return (scale, weight) of a trial; None if it shows no cell."""
    support, scales = 0.0, []
    for source, (diameters, scores), typical, least in (
        (RED_CELLS, trial.red, RED_CELL_MICRONS, LEAST_RED_CELLS),
        (WHITE_CELLS, trial.white, WHITE_CELL_MICRONS, 1),
    ):
        if len(diameters):
            microns = min(HIGHEST, max(LOWEST, typical / weighted_median(diameters, scores)))
            support += float(scores.sum()) * _near(microns, trial.microns, AGREEMENT)
            if len(diameters) >= least:
                scales.append(Scale(microns, source, len(diameters)))
    return (scales[0], support) if scales else None


def _near(first: float, second: float, spread: float) -> float:
    """Return 1 for equal values, less the more their logarithms differ in multiples of a spread."""
    return math.exp(-0.5 * (math.log(first / second) / spread) ** 2)


def weighted_median(values: numpy.ndarray, weights: numpy.ndarray) -> float:
    """Return the value at which half of the weight is reached."""
    order = numpy.argsort(values)
    reached = numpy.cumsum(weights[order])
    return float(values[order][numpy.searchsorted(reached, reached[-1] / 2)])
