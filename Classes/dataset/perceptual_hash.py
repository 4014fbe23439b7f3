"""Which images show the same picture, also turned by any angle, mirrored, resized, brightened, blurred or saved again.

A fingerprint is the picture on a polar grid around its middle, as Fourier coefficients along each ring. Turning the
picture only changes their phases and mirroring conjugates them, so one transform compares all angles at once, and the
product of their sizes is an upper bound that spares nearly all comparisons without missing a pair.
"""

import functools

import numpy
import PIL.Image

RINGS = 16
HARMONICS = 16
ANGLES = 64
SIDE = 96

# Similarity from which two images are one picture. Of 620 real cells no two are above 0.45; a copy turned by any
# angle, mirrored, resized, blurred or saved again is above 0.93, one cropped by a twentieth above 0.75.
MATCH_THRESHOLD = 0.9

# Shorter side in pixels below which an image has too little detail to be known by.
MIN_SIDE = 32

# Levels of contrast along the rings below which there is no picture that could be compared.
MIN_CONTRAST = 1.0

# Images of one block of the comparison: 1,024 x 1,024 bounds take 4 MiB.
BLOCK = 1024


def descriptor(image):
    """The fingerprint of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      float16 [2, RINGS, WAVES], the real and imaginary parts of a vector of length 1 (a hundred thousand of them are
      100 MB); zeros for an image without structure, which is similar to nothing.
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
    # Every cell is round and dark in the middle; what tells pictures apart are the short waves.
    waves = waves * numpy.arange(1, HARMONICS + 1)
    waves /= numpy.linalg.norm(waves)
    return numpy.stack([waves.real, waves.imag]).astype("float16")


@functools.cache
def _polar_grid():
    """Of the polar grid: int [4, RINGS, ANGLES] neighbours of each point, their weights, [RINGS, 1] ring weights."""
    radii = numpy.linspace(0.08, 0.48, RINGS)[:, None] * SIDE
    angles = numpy.arange(ANGLES) * 2 * numpy.pi / ANGLES
    # Pillow's pixels have their middles at halves.
    across, down = (SIDE / 2 - 0.5 + radii * turn for turn in (numpy.cos(angles), numpy.sin(angles)))
    column, row = numpy.floor(across).astype(int), numpy.floor(down).astype(int)
    right, below = across - column, down - row
    corners = numpy.stack([row * SIDE + column, row * SIDE + column + 1])
    corners = numpy.concatenate([corners, corners + SIDE])
    weights = numpy.stack([(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below])
    # An outer ring stands for a larger part of the picture.
    return corners, weights.astype("float32"), numpy.sqrt(radii / radii.mean())


def similarity(ones, others):
    """How alike pictures are in the best of all turns, mirrored or not.

    Args:
      ones, others: float16 [N, 2, rings, waves] fingerprints.
    Returns:
      float32 [N], from -1 to 1.
    """
    return numpy.maximum(*(turns.max(axis=1) for turns in _turns(ones, others)))


def turn(one, other):
    """The turn in which two pictures are most alike.

    Args:
      one, other: float16 [2, rings, waves] fingerprints.
    Returns:
      (radians, mirrored): an angle in the first picture is that in the second plus the radians, or, mirrored, the
      radians less that in the second.
    """
    plain, mirrored = (turns[0] for turns in _turns(one[None], other[None]))
    best = mirrored if mirrored.max() > plain.max() else plain
    return 2 * numpy.pi * int(best.argmax()) / len(best), best is mirrored


def _turns(ones, others):
    """float32 [N, 2 * ANGLES] twice: the similarity in every turn, plain and mirrored."""
    ones, others = _complex(ones), _complex(others)
    for mirrored in (numpy.conj(others), others):
        products = (ones * mirrored).sum(axis=1)
        spectrum = numpy.zeros((len(ones), ANGLES // 2 + 1), "complex64")
        spectrum[:, 1 : products.shape[1] + 1] = products
        # Twice as many angles as were sampled, since the best turn lies between two of them.
        yield numpy.fft.irfft(spectrum, 2 * ANGLES, axis=1).astype("float32") * ANGLES


def _complex(fingerprints):
    """complex64 [N, rings, waves]"""
    parts = fingerprints.astype("float32")
    return parts[:, 0] + 1j * parts[:, 1]


def _magnitudes(fingerprints):
    """float32 [N, RINGS * WAVES]: what no turn and no mirror changes."""
    sizes = numpy.empty((len(fingerprints), RINGS * HARMONICS), "float32")
    for start in range(0, len(sizes), BLOCK):
        part = numpy.stack(fingerprints[start : start + BLOCK])
        sizes[start : start + BLOCK] = numpy.abs(_complex(part)).reshape(len(part), -1)
    return sizes


def matching_pairs(fingerprints, others=None, same=MATCH_THRESHOLD, enough=False):
    """The pairs of images that show the same picture.

    Args:
      fingerprints: list of N fingerprints.
      others: list of M to compare with; None compares every two of `fingerprints`.
      same: similarity from which a pair counts.
      enough: only as many pairs as connect all images of one picture, so that a thousand copies are not half a
        million pairs; without others only.
    Returns:
      list of (index, index, similarity), ordered; indices of `fingerprints` and `others`, the first below the second
      where there are no others.
    """
    others = fingerprints if others is None else others
    found, company = [], numpy.arange(len(fingerprints))
    for rows, columns in _candidates(fingerprints, others, same):
        if enough:
            strangers = company[rows] != company[columns]
            rows, columns = rows[strangers], columns[strangers]
        if not len(rows):
            continue
        # Only the few are copied side by side; all of a large set would take its memory once more.
        ones = numpy.stack([fingerprints[row] for row in rows])
        alike = similarity(ones, numpy.stack([others[column] for column in columns]))
        for place in numpy.flatnonzero(alike >= same):
            one, other = int(rows[place]), int(columns[place])
            if enough and company[one] == company[other]:
                continue
            found.append((one, other, float(alike[place])))
            if enough:
                company[company == company[other]] = company[one]
    return sorted(found)


def _candidates(ones, twos, same):
    """Pairs of indices whose upper bound reaches `same`, up to BLOCK at a time; every pair once where both are one."""
    sizes = _magnitudes(ones)
    others = sizes if ones is twos else _magnitudes(twos)
    for top in range(0, len(ones), BLOCK):
        for left in range(top if ones is twos else 0, len(twos), BLOCK):
            bound = sizes[top : top + BLOCK] @ others[left : left + BLOCK].T
            # A flat search for the few is ten times as fast as one by rows and columns. Half a thousandth is more than
            # half precision takes from a bound.
            rows, columns = numpy.divmod(numpy.flatnonzero(bound >= same - 0.0005), bound.shape[1])
            rows, columns = rows + top, columns + left
            if ones is twos:
                rows, columns = rows[rows < columns], columns[rows < columns]
            for start in range(0, len(rows), BLOCK):
                yield rows[start : start + BLOCK], columns[start : start + BLOCK]
