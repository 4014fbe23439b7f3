"""Find images of the same picture, also rotated by any angle, mirrored, resized, brightened, blurred or re-encoded.

A descriptor is the image on a polar grid around its center, as Fourier coefficients along each ring. Rotation only
changes their phases and mirroring conjugates them, so one transform compares all angles at once. The product of their
magnitudes is an upper bound, which makes nearly all comparisons unnecessary without missing a pair.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy
import PIL.Image

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

# Images of one block of the comparison: 1,024 x 1,024 bounds take 4 MiB.
BLOCK = 1024


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


def turn(one: numpy.ndarray, other: numpy.ndarray) -> tuple[float, bool]:
    """Return the rotation in which two images are most similar.

    Args:
      one, other: float16 [2, rings, waves] descriptors.
    Returns:
      (radians, mirrored): an angle in the first picture is that in the second plus the radians, or, mirrored, the
      radians less that in the second.
    """
    plain, mirrored = (turns[0] for turns in _turns(one[None], other[None]))
    best = mirrored if mirrored.max() > plain.max() else plain
    return 2 * numpy.pi * int(best.argmax()) / len(best), best is mirrored


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


def _magnitudes(descriptors: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """Return float32 [N, RINGS * HARMONICS], which rotation and mirroring do not change."""
    sizes = numpy.empty((len(descriptors), RINGS * HARMONICS), "float32")
    for start in range(0, len(sizes), BLOCK):
        part = numpy.stack(descriptors[start : start + BLOCK])
        sizes[start : start + BLOCK] = numpy.abs(_complex(part)).reshape(len(part), -1)
    return sizes


def matching_pairs(
    descriptors: Sequence[numpy.ndarray],
    others: Sequence[numpy.ndarray] | None = None,
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
    others = descriptors if others is None else others
    found, component = [], numpy.arange(len(descriptors))
    for rows, columns in _candidates(descriptors, others, same):
        if enough:
            unconnected = component[rows] != component[columns]
            rows, columns = rows[unconnected], columns[unconnected]
        if not len(rows):
            continue
        # Only candidates are copied into one array; all descriptors would need the memory twice.
        ones = numpy.stack([descriptors[row] for row in rows])
        alike = similarity(ones, numpy.stack([others[column] for column in columns]))
        for place in numpy.flatnonzero(alike >= same):
            one, other = int(rows[place]), int(columns[place])
            if enough and component[one] == component[other]:
                continue
            found.append((one, other, float(alike[place])))
            if enough:
                component[component == component[other]] = component[one]
    return sorted(found)


def _candidates(
    ones: Sequence[numpy.ndarray], twos: Sequence[numpy.ndarray], same: float
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Yield up to BLOCK pairs of indices whose upper bound reaches `same`; each pair once if both lists are one."""
    sizes = _magnitudes(ones)
    others = sizes if ones is twos else _magnitudes(twos)
    for top in range(0, len(ones), BLOCK):
        for left in range(top if ones is twos else 0, len(twos), BLOCK):
            bound = sizes[top : top + BLOCK] @ others[left : left + BLOCK].T
            # A flat search is ten times as fast as one by rows and columns. The error of half precision is below
            # 0.0005.
            rows, columns = numpy.divmod(numpy.flatnonzero(bound >= same - 0.0005), bound.shape[1])
            rows, columns = rows + top, columns + left
            if ones is twos:
                rows, columns = rows[rows < columns], columns[rows < columns]
            for start in range(0, len(rows), BLOCK):
                yield rows[start : start + BLOCK], columns[start : start + BLOCK]
