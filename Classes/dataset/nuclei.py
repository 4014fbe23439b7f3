"""Find the nuclei of an image so exactly that the same ones are found again in a crop, a turned or a scaled copy of it.

Dark blobs are extrema of the difference of Gaussians in place and scale (Lowe 2004, International Journal of Computer
Vision 60:91). Such an extremum is flat, and what lies around the nucleus moves it: in two crops of one picture by a
twentieth of the radius. So each blob is then moved onto the dark area that it covers: the threshold is halfway between
its middle and its surroundings, and the area within has the new center and, as a disc, the new radius. After a few
steps, they differ by a hundredth of the radius.
"""

import functools

import numpy
import PIL.Image
from scipy import ndimage

# Shorter side in pixels of the pictures that nuclei are measured in, and of those that they are searched in.
SIDE, COARSE = 96, 48

# Standard deviations of the Gaussians, in pixels of the coarse picture: nuclei of 0.07 to 0.37 of the shorter side.
SIGMAS = 2.0 * 2 ** (numpy.arange(9) / 3)

# Blobs per image; those with less than PROMINENT of the strongest contrast are red cells and platelets.
BLOBS, PROMINENT, CONTRAST = 2, 0.6, 1.5

# Distance from the border, in radii, at which a blob can be described.
INSIDE = 0.825

# The grid on which a blob is measured: rings up to REACH radii.
RINGS, ANGLES, REACH = 24, 48, 1.4

# Radii within which is the middle of a blob, and beyond which are its surroundings.
MIDDLE, AROUND = 0.5, 1.05

# Steps of the measurement. Of 1,200 real cells, more of them improve nothing.
STEPS = 5

# Smallest difference in gray levels of the middle and the surroundings, and that of the first and the last level of the
# soft threshold as a fraction of it.
FAINT, SOFT = 4.0, 0.5

# Smallest and largest factor of a radius by which it is corrected.
SHRINKS, GROWS = 0.6, 1.6

# Levels of a cut-out cell's background, and the fraction of the image from which the image is a cut-out cell.
BLACK, WHITE, CUT_OUT = 12, 254, 0.1

# Gray values, float32 [h, w], and bool [h, w]: False in the background of a cut-out cell.
Picture = tuple[numpy.ndarray, numpy.ndarray]


def find(image: numpy.ndarray, picture: Picture) -> numpy.ndarray:
    """Return the most prominent nuclei of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
      picture: its `gray_picture` at SIDE.
    Returns:
      float64 [up to BLOBS, 3]: row, column (pixel corners at whole numbers) and radius in pixels of `picture`.
    """
    found = _measured(picture, _blobs(gray_picture(image, COARSE)[0]) * (SIDE / COARSE))
    kept: list[numpy.ndarray] = []
    for nucleus in found:
        # Two blobs of one nucleus end in the same place.
        if all(numpy.hypot(*(nucleus - other)[:2]) > min(nucleus[2], other[2]) / 2 for other in kept):
            kept.append(nucleus)
    return numpy.array(kept).reshape(-1, 3)


def gray_picture(image: numpy.ndarray, side: int) -> Picture:
    """Brightness, float32 [h, w] with the shorter side `side` pixels long, and bool [h, w]: where it shows anything.

    The background of a cut-out cell becomes the cell's median, so that an outline, which all cells have, is not what
    is compared.
    """
    picture = PIL.Image.fromarray(image).convert("L")
    scale = side / min(picture.size)
    width, height = (max(side, round(length * scale)) for length in picture.size)
    values = numpy.asarray(picture.resize((width, height), PIL.Image.Resampling.BILINEAR), "float32")
    known = numpy.ones(values.shape, bool)
    for empty in (values <= BLACK, values >= WHITE):
        if CUT_OUT <= empty.mean() < 1:
            known &= ~ndimage.binary_dilation(empty)
    if not known.any():
        return values, ~known
    return numpy.where(known, values, numpy.median(values[known])), known


@functools.lru_cache(16)
def _gaussians(length: int) -> numpy.ndarray:
    """float32 [SIGMAS, length, length]: matrices that smooth along one axis; beyond the border nothing is assumed."""
    places = numpy.arange(length)
    weights = numpy.exp(-0.5 * ((places[:, None] - places) / SIGMAS[:, None, None]) ** 2)
    return (weights / weights.sum(axis=2, keepdims=True)).astype("float32")


def _blobs(coarse: numpy.ndarray) -> numpy.ndarray:
    """float64 [up to BLOBS, 3], as from `find`: the most prominent dark blobs of a picture, float32 [h, w]."""
    height, width = coarse.shape
    smooth = _gaussians(height) @ coarse @ _gaussians(width).transpose(0, 2, 1)
    # Positive in the middle of what is darker than its surroundings.
    response = smooth[1:] - smooth[:-1]
    inner = response[1:-1, 1:-1, 1:-1]
    peaks = inner > CONTRAST
    for shift in numpy.ndindex(3, 3, 3):
        window = tuple(slice(each, each + length) for each, length in zip(shift, inner.shape, strict=True))
        peaks &= inner >= response[window]
    scales, rows, columns = (each + 1 for each in numpy.nonzero(peaks))
    values = response[scales, rows, columns]
    scale = scales + _vertex(response[scales - 1, rows, columns], values, response[scales + 1, rows, columns])
    row = rows + 0.5 + _vertex(response[scales, rows - 1, columns], values, response[scales, rows + 1, columns])
    column = columns + 0.5 + _vertex(response[scales, rows, columns - 1], values, response[scales, rows, columns + 1])
    # A disc of radius r answers most to a Gaussian of r / sqrt(2).
    radius = SIGMAS[0] * 2 ** ((scale + 0.5) / 3) * 2**0.5
    border = numpy.min([row, height - row, column, width - column], axis=0)
    good = (border >= INSIDE * radius) & (values >= PROMINENT * values.max(initial=0))
    best = numpy.flatnonzero(good)[numpy.argsort(-values[good], kind="stable")][:BLOBS]
    return numpy.stack([row, column, radius], axis=1)[best]


def _vertex(before: numpy.ndarray, middle: numpy.ndarray, after: numpy.ndarray) -> numpy.ndarray:
    """Where the parabola through three neighboring values has its vertex: -0.5 to 0.5."""
    curvature = numpy.minimum(before - 2 * middle + after, -1e-6)
    return numpy.clip((before - after) / (2 * curvature), -0.5, 0.5)


def _measured(picture: Picture, blobs: numpy.ndarray) -> numpy.ndarray:
    """Blobs, float64 [N, 3] as from `find`, with the center and the radius of the dark areas that they cover."""
    if not len(blobs):
        return blobs
    gray, known = picture
    unit, shares = _grid()
    limits = numpy.array(gray.shape)[:, None, None, None] - 1
    smallest, largest = SHRINKS * blobs[:, 2], GROWS * blobs[:, 2]
    cut_out = not known.all()
    for _ in range(STEPS):
        places = (blobs[:, :2, None, None] - 0.5 + blobs[:, 2, None, None, None] * unit).transpose(1, 0, 2, 3)
        levels = ndimage.map_coordinates(gray, places, order=1, mode="nearest")
        shown = ((places >= -0.5) & (places <= limits + 0.5)).all(axis=0)
        if cut_out:
            rows, columns = numpy.clip(places.round().astype(int), 0, limits)
            shown &= known[rows, columns]
        weights = shown * shares
        middle = _mean(levels, weights, slice(None, round(MIDDLE / REACH * RINGS)))
        around = _mean(levels, weights, slice(round(AROUND / REACH * RINGS), None))
        steepness = 1 / (SOFT * numpy.maximum(around - middle, FAINT))
        darkness = ((middle + around) / 2)[:, None, None] - levels
        dark = numpy.clip(darkness * steepness[:, None, None] + 0.5, 0, 1) * weights
        area = numpy.maximum(dark.sum(axis=(1, 2)), 1e-3)
        moved = numpy.einsum("nra,dra->nd", dark, unit) / area[:, None]
        radii = numpy.clip(blobs[:, 2] * numpy.sqrt(area), smallest, largest)
        blobs = numpy.column_stack([blobs[:, :2] + moved * blobs[:, 2:], radii])
    return blobs


def _mean(levels: numpy.ndarray, weights: numpy.ndarray, rings: slice) -> numpy.ndarray:
    """float [N]: weighted means of some rings of [N, RINGS, ANGLES]."""
    some = weights[:, rings]
    return (levels[:, rings] * some).sum(axis=(1, 2)) / numpy.maximum(some.sum(axis=(1, 2)), 1e-6)


@functools.cache
def _grid() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Points around the origin, float32 [2, RINGS, ANGLES], and the areas around them, of which a unit disc has 1."""
    radii = ((numpy.arange(RINGS) + 0.5) * (REACH / RINGS))[:, None]
    angles = numpy.arange(ANGLES) * (2 * numpy.pi / ANGLES)
    points = numpy.stack([radii * numpy.sin(angles), radii * numpy.cos(angles)]).astype("float32")
    areas = (radii * (2 * REACH / RINGS / ANGLES)).astype("float32")
    return points, numpy.repeat(areas, ANGLES, axis=1)
