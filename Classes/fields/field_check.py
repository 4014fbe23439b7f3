"""Decide whether a photograph is a field of a stained smear, and if not, what it is.

An answer with a stable code is better than a count of something that is no smear.
"""

from collections.abc import Iterator

import numpy
import PIL.Image

from Classes.common.errors import ImageError
from Classes.common.translation import Message
from Classes.imaging import cell_features, color_stats, content_check

# A photographed field has 1 to 40 white cells, a dense one of bone marrow some hundreds.
MAX_CELLS = 2000

# Sides in pixels of the pictures on which colors and sharpness are measured, and of the part with a screen's grid.
COLOR_SIDE, FOCUS_SIDE, GRID_SIDE = 512, 384, 512

# Side in pixels of the parts that are searched for anything at all.
PART_SIDE = 400

# Measured with benchmarks/fields.py on fields of smears, photographs, drawings and pictures of screens.
MIN_BACKGROUND = 90.0
MIN_STAINED = 0.7
MAX_BRIGHTER = 0.2
MIN_SHARPNESS = 0.07
MAX_GRID = 4.2


def check_field(image: numpy.ndarray, name: str) -> None:
    """Raise ImageError unless the image can be a photograph of a stained smear in bright light.

    Args:
      image: uint8 [H, W, 3], RGB.
      name: of the image in messages.
    Raises:
      ImageError: `no_content`, `not_a_smear`, `photograph_of_a_screen`, `field_out_of_focus`.
    """
    if not any(map(content_check.has_content, _parts(image))):
        content_check.require_content(image, name)
    if screen_grid(image) > MAX_GRID:
        raise ImageError(
            Message(
                "{name}: this looks like a photograph of a screen, whose grid and colors hide the cells. Use the file "
                "that the screen showed.",
                name=name,
            ),
            "photograph_of_a_screen",
        )
    if not is_stained(image):
        raise not_a_smear(name)
    if sharpness(image) < MIN_SHARPNESS:
        raise out_of_focus(name)


def check_cells(count: int, name: str) -> None:
    """Raise ImageError `too_many_cells` if no photographed field can hold this many white cells."""
    if count > MAX_CELLS:
        raise ImageError(
            Message(
                "{name}: {count} objects look like white cells, but a field has at most {most}. If it is a scan or a "
                "panorama, cut it into fields.",
                name=name,
                count=count,
                most=MAX_CELLS,
            ),
            "too_many_cells",
        )


def not_a_smear(name: str) -> ImageError:
    """Return the error for an image that is no photograph of a stained smear."""
    return ImageError(
        Message(
            "{name}: this does not look like a field of a stained smear, so nothing was counted. Send a photograph "
            "that was taken through the microscope.",
            name=name,
        ),
        "not_a_smear",
    )


def out_of_focus(name: str) -> ImageError:
    """Return the error for a field whose cells are all out of focus."""
    return ImageError(
        Message("{name}: the field is out of focus, so nothing was counted. Focus and take it again.", name=name),
        "field_out_of_focus",
    )


def is_stained(image: numpy.ndarray) -> bool:
    """Return whether an image has a bright background with objects that are dyed like blood cells.

    Eosin and azure dyes absorb green more than red or blue, so a stained object is pink, violet or blue.

    Args:
      image: uint8 [H, W, 3], RGB.
    """
    brightness, stained, brighter = stain_features(image)
    return brightness >= MIN_BACKGROUND and stained >= MIN_STAINED and brighter <= MAX_BRIGHTER


def stain_features(image: numpy.ndarray) -> tuple[float, float, float]:
    """Return (brightness of the background, share of the darker pixels that absorb green most, share brighter)."""
    step = -(-max(image.shape[:2]) // COLOR_SIDE)
    small = image[::step, ::step].reshape(-1, 3).astype("float32")
    background = numpy.array(color_stats.background_color(image), "float32")
    dark = cell_features.DARK
    density = numpy.log((background + dark) / (small + dark))
    darker = density.mean(axis=1) > 0.08
    green = density[:, 1] - numpy.minimum(density[:, 0], density[:, 2]) > 0.03
    green &= density[:, 1] > numpy.maximum(density[:, 0], density[:, 2]) - 0.15
    light, level = small @ color_stats.LUMA, float(background @ color_stats.LUMA)
    return level, float(green[darker].mean()) if darker.any() else 0.0, float((light > level + 25).mean())


def _parts(image: numpy.ndarray) -> Iterator[numpy.ndarray]:
    """Yield parts of an image: the cells of a large one are too small to be seen in all of it."""
    side = min(PART_SIDE, *image.shape[:2])
    for row in range(3):
        for column in range(3):
            top, left = (
                (length - side) * place // 2 for length, place in zip(image.shape, (row, column), strict=False)
            )
            yield image[top : top + side, left : left + side]


def sharpness(image: numpy.ndarray) -> float:
    """Return the steepest steps between neighbors as a fraction of the contrast, in a picture of FOCUS_SIDE pixels.

    Args:
      image: uint8 [H, W, 3], RGB.
    """
    factor = FOCUS_SIDE / max(image.shape[:2])
    size = (max(2, round(factor * image.shape[1])), max(2, round(factor * image.shape[0])))
    method = PIL.Image.Resampling.BOX if factor < 1 else PIL.Image.Resampling.BICUBIC
    light = numpy.asarray(PIL.Image.fromarray(image).resize(size, method), "float32") @ color_stats.LUMA
    corner = light[:-1, :-1]
    steps = numpy.hypot(light[1:, :-1] - corner, light[:-1, 1:] - corner)
    low, high = numpy.quantile(light, [0.02, 0.98])
    return float(numpy.quantile(steps, 0.99) / max(high - low, 1.0))


def screen_grid(image: numpy.ndarray) -> float:
    """Return how far the strongest regular pattern of fine detail stands out of its surroundings.

    A screen's pixels make sharp peaks in the spectrum, which neither cells nor noise do. The grid of JPEG, with 8 or 16
    pixels, is on the axes of the spectrum and does not count.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      height of the highest peak as the logarithm of the power over the median around it, in units of its spread.
    """
    side = min(GRID_SIDE, *image.shape[:2])
    if side < 64:
        return 0.0
    top, left = ((length - side) // 2 for length in image.shape[:2])
    patch = image[top : top + side, left : left + side].astype("float32") @ color_stats.LUMA
    window = numpy.hanning(side).astype("float32")
    spectrum = numpy.abs(numpy.fft.rfft2((patch - patch.mean()) * window[:, None] * window))
    power = numpy.log(spectrum + 1e-3)
    rows = numpy.fft.fftfreq(side)[:, None]
    columns = numpy.fft.rfftfreq(side)[None]
    radius = numpy.hypot(rows, columns)
    # JPEG's blocks, and what is left of a picture that was enlarged, lie on the axes.
    used = (radius > 0.06) & (numpy.abs(rows) > 0.012) & (columns > 0.012)
    ring = (radius * 100).astype(int)
    best = 0.0
    for number in range(6, 50):
        values = power[used & (ring == number)]
        if values.size > 50:
            middle, high = numpy.quantile(values, [0.5, 0.9])
            best = max(best, float((values.max() - middle) / max(high - middle, 1e-3)))
    return best
