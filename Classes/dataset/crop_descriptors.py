"""Describe images so that overlapping crops of one picture are found: the first of two stages, see overlapping_crops.

A crop has other borders but the same nuclei, so each image is described around its most prominent ones: the picture on
a polar grid around each nucleus is kept as Fourier coefficients along each ring, as in perceptual_hash.
"""

from collections.abc import Sequence

import numpy
from scipy import ndimage

from Classes.dataset import nuclei, pair_search, perceptual_hash
from Classes.dataset.array_file import Arrays

RINGS, WAVES, ANGLES = 8, 12, 64

# Radius of the outermost ring in radii of the nucleus. A ring that leaves the image has its mean there, which no wave
# contains.
REACH = 1.5

# Similarity of descriptors from which a pair is aligned. Copies of an image are far above it, but two photographs of a
# cell with another light and focus have less: of 20 such pairs among 8,796 real cells, 18 are above it, and 14 have
# 0.85. Of the 38.7 million pairs of these cells, 46 are above it; 8,543 have 0.65 or more, and were all aligned.
CANDIDATE = 0.8


def describe(image: numpy.ndarray) -> numpy.ndarray:
    """Return the descriptors of an image's nuclei.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      float16 [up to nuclei.BLOBS, 2, RINGS, WAVES], real and imaginary parts of vectors of length 1; none for an image
      without a dark blob or with a shorter side below perceptual_hash.MIN_SIDE.
    """
    if min(image.shape[:2]) < perceptual_hash.MIN_SIDE:
        return numpy.zeros((0, 2, RINGS, WAVES), "float16")
    picture = nuclei.gray_picture(image, nuclei.SIDE)
    return describe_nuclei(picture, nuclei.find(image, picture))


def describe_nuclei(picture: nuclei.Picture, found: numpy.ndarray) -> numpy.ndarray:
    """Return the descriptors, as from `describe`, of nuclei from nuclei.find; of those with any contrast."""
    if not len(found):
        return numpy.zeros((0, 2, RINGS, WAVES), "float16")
    gray, known = picture
    radii = numpy.linspace(0.12, 1, RINGS)[:, None] * REACH
    angles = numpy.arange(ANGLES) * 2 * numpy.pi / ANGLES
    unit = numpy.stack([radii * numpy.sin(angles), radii * numpy.cos(angles)])
    places = found[:, :2, None, None] - 0.5 + found[:, 2, None, None, None] * unit
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
    waves = (waves / numpy.maximum(norms, 1e-6))[norms[:, 0, 0] >= perceptual_hash.MIN_CONTRAST]
    return numpy.stack([waves.real, waves.imag], axis=1).astype("float16")


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
) -> list[tuple[int, int]]:
    """Return the pairs of images with similar descriptors.

    Args:
      ones, twos: float16 [2, RINGS, WAVES] descriptors, lists or ArrayFiles; None compares every two of `ones`.
      owners, others_of: int [N], the image that each is of; images in rising order.
    Returns:
      as `candidates`.
    """
    second, others_of = (ones, owners) if twos is None or others_of is None else (twos, others_of)
    found: set[tuple[int, int]] = set()
    # Half precision takes less than 0.002 from a bound.
    for rows, columns in pair_search.candidates(ones, twos, _invariants, CANDIDATE**2 - 0.002):
        if twos is None:
            apart = owners[rows] < others_of[columns]
            rows, columns = rows[apart], columns[apart]
        if not len(rows):
            continue
        agree, _ = perceptual_hash.most_similar(
            pair_search.take(ones, rows), pair_search.take(second, columns), CANDIDATE
        )
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
