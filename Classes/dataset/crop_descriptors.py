"""Describe images so that overlapping crops of one picture are found: the first of two stages, see overlapping_crops.

A crop has other borders but the same nuclei, so each image is described around its most prominent dark blobs: extrema
of the difference of Gaussians in place and scale (Lowe 2004, International Journal of Computer Vision 60:91) give
center and radius, and the picture on a polar grid there is kept as Fourier coefficients along each ring, as in
perceptual_hash.
"""

import functools
from collections.abc import Sequence

import numpy
import PIL.Image
from scipy import ndimage

from Classes.dataset import crop_surroundings, pair_search, perceptual_hash
from Classes.dataset.array_file import Arrays

RINGS, WAVES, ANGLES = 8, 12, 64

# Shorter side in pixels of the pictures that are described and aligned, and in which blobs are searched.
SIDE, COARSE = 96, 48

# Standard deviations of the Gaussians, in pixels of the coarse picture: nuclei of 0.07 to 0.37 of the shorter side.
SIGMAS = 2.0 * 2 ** (numpy.arange(9) / 3)

# Blobs per image; those with less than PROMINENT of the strongest contrast are red cells and platelets.
BLOBS, PROMINENT, CONTRAST = 2, 0.6, 1.5

# Radius of the outermost ring in radii of the blob, and the fraction of it that has to lie within the image. Beyond the
# border a ring has its mean, which no wave contains.
REACH, WITHIN = 1.5, 0.55

# Similarity of descriptors from which a pair is aligned.
CANDIDATE = 0.72

# Levels of a cut-out cell's background, and the fraction of the image from which the image is a cut-out cell.
BLACK, WHITE, CUT_OUT = 12, 254, 0.1

# Gray values, float32 [h, w], and bool [h, w]: False in the background of a cut-out cell.
Picture = tuple[numpy.ndarray, numpy.ndarray]


def describe(image: numpy.ndarray) -> numpy.ndarray:
    """Return the descriptors of an image's blobs, see `describe_with_surroundings`."""
    return describe_with_surroundings(image)[0]


def describe_with_surroundings(image: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the descriptors of an image's blobs, and what surrounds them.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      (float16 [up to BLOBS, 2, RINGS, WAVES], real and imaginary parts of vectors of length 1; of the same blobs, uint8
      as from crop_surroundings.sample); none for an image without a dark blob or with a shorter side below
      perceptual_hash.MIN_SIDE.
    """
    if min(image.shape[:2]) < perceptual_hash.MIN_SIDE:
        empty = numpy.zeros((0, crop_surroundings.RINGS, crop_surroundings.ANGLES), "uint8")
        return numpy.zeros((0, 2, RINGS, WAVES), "float16"), empty
    coarse, known = gray_picture(image, COARSE)
    smooth = _smoothed(coarse)
    blobs = _blobs(smooth)
    descriptors, distinct = _described(*gray_picture(image, SIDE), blobs * (SIDE / COARSE))
    return descriptors, crop_surroundings.sample(smooth[0], known, blobs[distinct])


def find_blobs(image: numpy.ndarray) -> numpy.ndarray:
    """Return the blobs of an image in pixels of its copy at SIDE."""
    return _blobs(_smoothed(gray_picture(image, COARSE)[0])) * (SIDE / COARSE)


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


def _smoothed(coarse: numpy.ndarray) -> numpy.ndarray:
    """float32 [SIGMAS, h, w]: a picture after each of the Gaussians."""
    height, width = coarse.shape
    smooth: numpy.ndarray = _gaussians(height) @ coarse @ _gaussians(width).transpose(0, 2, 1)
    return smooth


def _blobs(smooth: numpy.ndarray) -> numpy.ndarray:
    """float64 [up to BLOBS, 3]: row, column (pixel corners at whole numbers) and radius of the most prominent blobs."""
    height, width = smooth.shape[1:]
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
    good = (border >= WITHIN * REACH * radius) & (values >= PROMINENT * values.max(initial=0))
    best = numpy.flatnonzero(good)[numpy.argsort(-values[good], kind="stable")][:BLOBS]
    return numpy.stack([row, column, radius], axis=1)[best]


def _vertex(before: numpy.ndarray, middle: numpy.ndarray, after: numpy.ndarray) -> numpy.ndarray:
    """Where the parabola through three neighboring values has its vertex: -0.5 to 0.5."""
    curvature = numpy.minimum(before - 2 * middle + after, -1e-6)
    return numpy.clip((before - after) / (2 * curvature), -0.5, 0.5)


def describe_blobs(gray: numpy.ndarray, known: numpy.ndarray, blobs: numpy.ndarray) -> numpy.ndarray:
    """float16 [N, 2, RINGS, WAVES] of blobs (row, column, radius) in a picture; of those with any contrast."""
    return _described(gray, known, blobs)[0]


def _described(gray: numpy.ndarray, known: numpy.ndarray, blobs: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """As `describe_blobs`, and which blobs these are, bool [blobs]."""
    if not len(blobs):
        return numpy.zeros((0, 2, RINGS, WAVES), "float16"), numpy.zeros(0, bool)
    radii = numpy.linspace(0.12, 1, RINGS)[:, None] * REACH
    angles = numpy.arange(ANGLES) * 2 * numpy.pi / ANGLES
    unit = numpy.stack([radii * numpy.sin(angles), radii * numpy.cos(angles)])
    places = blobs[:, :2, None, None] - 0.5 + blobs[:, 2, None, None, None] * unit
    rings = ndimage.map_coordinates(gray, places.transpose(1, 0, 2, 3), order=1, mode="nearest")
    limits = numpy.array(gray.shape)[:, None, None] - 1
    outside = ((places < 0) | (places > limits)).any(axis=1)
    rows, columns = numpy.clip(places.round().astype(int), 0, limits).transpose(1, 0, 2, 3)
    outside |= ~known[rows, columns]
    inside = numpy.maximum((~outside).sum(axis=2, keepdims=True), 1)
    rings = numpy.where(outside, (rings * ~outside).sum(axis=2, keepdims=True) / inside, rings)
    waves = numpy.fft.rfft(rings, axis=2)[:, :, 1 : WAVES + 1] * numpy.sqrt(radii / radii.mean()) / ANGLES
    # Every nucleus is round and dark; the short waves are what distinguishes them.
    waves = waves * numpy.arange(1, WAVES + 1)
    norms = numpy.linalg.norm(waves, axis=(1, 2), keepdims=True)
    distinct = norms[:, 0, 0] >= perceptual_hash.MIN_CONTRAST
    waves = (waves / numpy.maximum(norms, 1e-6))[distinct]
    return numpy.stack([waves.real, waves.imag], axis=1).astype("float16"), distinct


def candidates(
    descriptors: Sequence[numpy.ndarray | None], others: Sequence[numpy.ndarray | None] | None = None
) -> list[tuple[int, int]]:
    """Return the pairs of images with similar descriptors.

    Args:
      descriptors: N results of `describe`.
      others: list of M to compare with; None compares every two of `descriptors`.
    Returns:
      sorted list of (index, index); the first below the second if there are no others.
    """
    ones, owners = _stacked(descriptors)
    twos, others_of = (None, owners) if others is None else _stacked(others)
    return similar_pairs(ones, owners, twos, others_of)


def similar_pairs(
    ones: Arrays,
    owners: numpy.ndarray,
    twos: Arrays | None = None,
    others_of: numpy.ndarray | None = None,
    surroundings: Arrays | None = None,
) -> list[tuple[int, int]]:
    """Return the pairs of images with similar descriptors.

    Args:
      ones, twos: float16 [2, RINGS, WAVES] descriptors, lists or ArrayFiles; None compares every two of `ones`.
      owners, others_of: int [N], the image that each is of; images in rising order.
      surroundings: uint8 arrays of what surrounds `ones`, if there are no `twos`: leaves out pairs that differ there.
    Returns:
      as `candidates`.
    """
    second, others_of = (ones, owners) if twos is None or others_of is None else (twos, others_of)
    found: set[tuple[int, int]] = set()
    first_of, second_of = pair_search.Reader(ones), pair_search.Reader(second)
    # Half precision takes less than 0.002 from a bound.
    for rows, columns in pair_search.candidates(ones, twos, _invariants, CANDIDATE**2 - 0.002):
        if twos is None:
            apart = owners[rows] < others_of[columns]
            rows, columns = rows[apart], columns[apart]
        if not len(rows):
            continue
        firsts, seconds = first_of.take(rows), second_of.take(columns)
        agree, _ = perceptual_hash.most_similar(firsts, seconds, CANDIDATE)
        if surroundings is not None and len(agree):
            first, other = (numpy.stack([surroundings[i] for i in each[agree].tolist()]) for each in (rows, columns))
            turns, mirrored = perceptual_hash.turns(firsts[agree], seconds[agree])
            agree = agree[crop_surroundings.agreement(first, other, turns, mirrored) >= crop_surroundings.FITS]
        found.update(zip(owners[rows[agree]].tolist(), others_of[columns[agree]].tolist(), strict=True))
    return sorted(found)


def _stacked(descriptors: Sequence[numpy.ndarray | None]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """All descriptors as one array, and the image that each is of."""
    empty = numpy.zeros((0, 2, RINGS, WAVES), "float16")
    arrays = [empty if each is None else each for each in descriptors]
    counts = [len(each) for each in arrays]
    return numpy.concatenate([empty, *arrays]), numpy.repeat(numpy.arange(len(counts)), counts)


def _invariants(descriptors: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """float32 [N, dims] twice, whose products bound the squared similarity; no turn changes them.

    With u and v the rings of one wave, |u·v|² is the product of the Gram matrices of u and v; mirroring v changes the
    sign of the imaginary part's share. By the Cauchy-Schwarz inequality the sum over waves of |u·v|² / (|u||v|) is at
    least the square of the similarity in the best turn.
    """
    parts = descriptors.astype("float32")
    waves = parts[:, 0] + 1j * parts[:, 1]
    lengths = numpy.linalg.norm(waves, axis=1)[:, None, None]
    gram = waves[:, :, None] * waves.conj()[:, None] / numpy.maximum(lengths, 1e-9)
    upper, strict = numpy.triu_indices(RINGS), numpy.triu_indices(RINGS, 1)
    weights = numpy.where(upper[0] == upper[1], 1, 2**0.5)[:, None]
    real = gram.real[:, upper[0], upper[1]] * weights
    imaginary = gram.imag[:, strict[0], strict[1]] * 2**0.5
    return real.reshape(len(parts), -1).astype("float32"), imaginary.reshape(len(parts), -1).astype("float32")
