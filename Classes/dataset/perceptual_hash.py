"""Find images of the same picture, also rotated by any angle, mirrored, resized, brightened, blurred or re-encoded.

A descriptor is the image on a polar grid around its center, as Fourier coefficients along each ring. Rotation only
changes their phases and mirroring conjugates them, so one transform compares all angles at once. The product of their
magnitudes is an upper bound, which makes nearly all comparisons unnecessary without missing a pair.
"""

import functools
from collections.abc import Iterator

import numpy
import PIL.Image

from Classes.dataset import pair_search
from Classes.dataset.array_file import Arrays

RINGS = 16
HARMONICS = 16
ANGLES = 64
SIDE = 96

# Similarity from which two images are one picture. No two of 620 real cells are above 0.45; a copy that is rotated,
# mirrored, resized, blurred or re-encoded is above 0.93, a copy cropped by a twentieth above 0.75.
MATCH_THRESHOLD = 0.9

# Smallest shorter side in pixels of an image that is compared.
MIN_SIDE = 32

# Smallest contrast along the rings, in gray levels, of an image that is compared.
MIN_CONTRAST = 1.0


def descriptor(image: numpy.ndarray) -> numpy.ndarray:
    """Return the descriptor of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      float16 [2, RINGS, HARMONICS], real and imaginary parts of a vector of length 1 (100 MB for 100,000 images); zeros
      for an image without structure, which matches no other.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    if side < MIN_SIDE:
        return numpy.zeros((2, RINGS, HARMONICS), "float16")
    left, top = (width - side) / 2, (height - side) / 2
    picture = PIL.Image.fromarray(image).convert("L")
    picture = picture.resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    corners, weights, areas = _polar_grid()
    rings = (numpy.asarray(picture, "float32").ravel()[corners] * weights).sum(axis=0)
    waves = numpy.fft.rfft(rings, axis=1)[:, 1 : HARMONICS + 1] * areas / ANGLES
    if numpy.linalg.norm(waves) < MIN_CONTRAST:
        return numpy.zeros((2, RINGS, HARMONICS), "float16")
    # Every cell is round and has a dark center; only high frequencies distinguish images.
    waves = waves * numpy.arange(1, HARMONICS + 1)
    waves /= numpy.linalg.norm(waves)
    return numpy.stack([waves.real, waves.imag]).astype("float16")


@functools.cache
def _polar_grid() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return int [4, RINGS, ANGLES] neighbors of each grid point, their weights, and [RINGS, 1] ring weights."""
    radii = numpy.linspace(0.08, 0.48, RINGS)[:, None] * SIDE
    angles = numpy.arange(ANGLES) * 2 * numpy.pi / ANGLES
    # In Pillow, the centers of pixels are at halves.
    across, down = (SIDE / 2 - 0.5 + radii * turn for turn in (numpy.cos(angles), numpy.sin(angles)))
    column, row = numpy.floor(across).astype(int), numpy.floor(down).astype(int)
    right, below = across - column, down - row
    corners = numpy.stack([row * SIDE + column, row * SIDE + column + 1])
    corners = numpy.concatenate([corners, corners + SIDE])
    weights = numpy.stack([(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below])
    # An outer ring represents a larger area.
    return corners, weights.astype("float32"), numpy.sqrt(radii / radii.mean())


def similarity(ones: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
    """Return the similarity of images in the best rotation, mirrored or not.

    Args:
      ones, others: float16 [N, 2, rings, waves] descriptors.
    Returns:
      float32 [N], from -1 to 1.
    """
    return numpy.maximum(*(turns.max(axis=1) for turns in _turns(ones, others)))


def turns(ones: numpy.ndarray, others: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the rotations in which images are most similar.

    Args:
      ones, others: float16 [N, 2, rings, waves] descriptors.
    Returns:
      (radians, float64 [N]; mirrored, bool [N]): an angle in the first picture is that in the second plus the radians,
      or, mirrored, the radians less that in the second.
    """
    plain, reverse = _turns(ones, others)
    mirrored = reverse.max(axis=1) > plain.max(axis=1)
    best = numpy.where(mirrored[:, None], reverse, plain)
    return 2 * numpy.pi * best.argmax(axis=1) / best.shape[1], mirrored


def most_similar(ones: numpy.ndarray, others: numpy.ndarray, same: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return which images have at least a similarity, and that similarity.

    Args:
      ones, others, same: as for `similarity`, and its smallest value.
    Returns:
      (int [K], places in the N pairs; float32 [K]).
    """
    # No turn makes the sum over waves larger than the sum of their lengths.
    near = numpy.flatnonzero(_sums_of_lengths(ones, others) >= same - 1e-4)
    if not len(near):
        return near, numpy.zeros(0, "float32")
    alike = similarity(ones[near], others[near])
    return near[alike >= same], alike[alike >= same]


def _sums_of_lengths(ones: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
    """float32 [N]: the lengths of the products of all waves together, plain or mirrored."""
    first, second = ones.astype("float32"), others.astype("float32")
    # Of real and imaginary parts; complex numbers take twice as long.
    (same, crossed), (crossed_too, opposite) = (
        [numpy.einsum("nrk,nrk->nk", first[:, part], second[:, each]) for each in (0, 1)] for part in (0, 1)
    )
    plain, mirrored = (
        numpy.hypot(same + sign * opposite, crossed_too - sign * crossed).sum(axis=1) for sign in (1, -1)
    )
    return numpy.maximum(plain, mirrored)


def _turns(ones: numpy.ndarray, others: numpy.ndarray) -> Iterator[numpy.ndarray]:
    """float32 [N, 2 * ANGLES] twice: the similarity in every turn, plain and mirrored."""
    ones, others = _complex(ones), _complex(others)
    for mirrored in (numpy.conj(others), others):
        products = (ones * mirrored).sum(axis=1)
        spectrum = numpy.zeros((len(ones), ANGLES // 2 + 1), "complex64")
        spectrum[:, 1 : products.shape[1] + 1] = products
        # Twice as many angles as were sampled, since the best turn lies between two of them.
        yield numpy.fft.irfft(spectrum, 2 * ANGLES, axis=1).astype("float32") * ANGLES


def _complex(descriptors: numpy.ndarray) -> numpy.ndarray:
    """complex64 [N, rings, waves]"""
    parts = descriptors.astype("float32")
    return parts[:, 0] + 1j * parts[:, 1]


def _magnitudes(descriptors: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return float32 [N, RINGS * HARMONICS], which rotation and mirroring do not change, and [N, 0]."""
    sizes = numpy.abs(_complex(descriptors)).reshape(len(descriptors), -1)
    return sizes, sizes[:, :0]


def matching_pairs(
    descriptors: Arrays,
    others: Arrays | None = None,
    same: float = MATCH_THRESHOLD,
    enough: bool = False,
) -> list[tuple[int, int, float]]:
    """Return the pairs of images that show the same picture.

    Args:
      descriptors: N descriptors.
      others: M descriptors to compare with; None compares every two of `descriptors`.
      same: smallest similarity of a pair.
      enough: return only as many pairs as connect all images of one picture, because 1,000 copies have half a million
        pairs; only without `others`.
    Returns:
      sorted (index, index, similarity); the first index is smaller than the second if there are no `others`.
    """
    found, connected = [], _Connected(len(descriptors))
    twos = descriptors if others is None else others
    # The error of half precision is below 0.0005.
    for rows, columns in pair_search.candidates(descriptors, others, _magnitudes, same - 0.0005):
        if enough:
            apart = connected.component[rows] != connected.component[columns]
            rows, columns = rows[apart], columns[apart]
        if not len(rows):
            continue
        # Only candidates are copied into one array; all descriptors would need the memory twice.
        pairs = pair_search.take(descriptors, rows), pair_search.take(twos, columns)
        for place, alike in zip(*most_similar(*pairs, same), strict=True):
            one, other = int(rows[place]), int(columns[place])
            if not enough or connected.join(one, other):
                found.append((one, other, float(alike)))
    return sorted(found)


class _Connected:
    """Which of N nodes are connected.

    Attributes:
      component: int [N], the number of each node's component.
    """

    def __init__(self, count: int) -> None:
        self.component = numpy.arange(count)
        self._members: dict[int, list[int]] = {}

    def join(self, one: int, other: int) -> bool:
        """Connect two nodes; return False if they were connected."""
        first, second = int(self.component[one]), int(self.component[other])
        if first == second:
            return False
        ours, theirs = (self._members.pop(each, [each]) for each in (first, second))
        if len(ours) < len(theirs):
            first, ours, theirs = second, theirs, ours
        self.component[theirs] = first
        ours.extend(theirs)
        self._members[first] = ours
        return True
