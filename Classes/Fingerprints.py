"""Which images show the same picture, also turned by any angle, mirrored, resized, brightened, blurred or saved again.

A fingerprint is the picture on a polar grid around its middle, as Fourier coefficients along each ring. Turning the
picture only changes their phases and mirroring conjugates them, so one transform compares all angles at once, and the
product of their sizes is an upper bound that spares nearly all comparisons without missing a pair.
"""

import functools

import numpy
import PIL.Image

RINGS = 16
WAVES = 16
ANGLES = 64
SIDE = 96

# Similarity from which two images are one picture. Of 620 real cells no two are above 0.45; a copy turned by any
# angle, mirrored, resized, blurred or saved again is above 0.93, one cropped by a twentieth above 0.75.
SAME = 0.9

# Shorter side in pixels below which an image has too little detail to be known by.
SMALLEST = 32

# Levels of contrast along the rings below which there is no picture that could be compared.
FLAT = 1.0

# Images of one block of the comparison: 1,024 x 1,024 bounds take 4 MiB.
BLOCK = 1024


def fingerprint(image):
    """The fingerprint of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      complex64 [RINGS, WAVES] of length 1; zeros for an image without structure, which is similar to nothing.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    if side < SMALLEST:
        return numpy.zeros((RINGS, WAVES), "complex64")
    left, top = (width - side) / 2, (height - side) / 2
    picture = PIL.Image.fromarray(image).convert("L")
    picture = picture.resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    corners, weights, areas = _grid()
    rings = (numpy.asarray(picture, "float32").ravel()[corners] * weights).sum(axis=0)
    waves = numpy.fft.rfft(rings, axis=1)[:, 1 : WAVES + 1] * areas / ANGLES
    if numpy.linalg.norm(waves) < FLAT:
        return numpy.zeros((RINGS, WAVES), "complex64")
    # Every cell is round and dark in the middle; what tells pictures apart are the short waves.
    waves = waves * numpy.arange(1, WAVES + 1)
    return (waves / numpy.linalg.norm(waves)).astype("complex64")


@functools.cache
def _grid():
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
      ones, others: complex [N, RINGS, WAVES] fingerprints.
    Returns:
      float32 [N], from -1 to 1.
    """
    best = numpy.full(len(ones), -1.0, "float32")
    for mirrored in (numpy.conj(others), others):
        products = (ones * mirrored).sum(axis=1)
        spectrum = numpy.zeros((len(ones), ANGLES // 2 + 1), "complex64")
        spectrum[:, 1 : WAVES + 1] = products
        # Twice as many angles as were sampled, since the best turn lies between two of them.
        turns = numpy.fft.irfft(spectrum, 2 * ANGLES, axis=1) * ANGLES
        best = numpy.maximum(best, turns.max(axis=1))
    return best


def pairs(fingerprints, others=None, same=SAME, enough=False):
    """The pairs of images that show the same picture.

    Args:
      fingerprints: complex64 [N, RINGS, WAVES].
      others: complex64 [M, RINGS, WAVES] to compare with; None compares every two of `fingerprints`.
      same: similarity from which a pair counts.
      enough: only as many pairs as connect all images of one picture, so that a thousand copies are not half a
        million pairs; without others only.
    Returns:
      list of (index, index, similarity), ordered; indices of `fingerprints` and `others`, the first below the second
      where there are no others.
    """
    ones = numpy.asarray(fingerprints, "complex64").reshape(-1, RINGS, WAVES)
    twos = ones if others is None else numpy.asarray(others, "complex64").reshape(-1, RINGS, WAVES)
    bounds = [numpy.abs(each).reshape(len(each), RINGS * WAVES) for each in (ones, twos)]
    found, company = [], numpy.arange(len(ones))
    for top in range(0, len(ones), BLOCK):
        for left in range(top if others is None else 0, len(twos), BLOCK):
            bound = bounds[0][top : top + BLOCK] @ bounds[1][left : left + BLOCK].T
            rows, columns = numpy.nonzero(bound >= same)
            rows, columns = rows + top, columns + left
            if others is None:
                rows, columns = rows[rows < columns], columns[rows < columns]
            for start in range(0, len(rows), BLOCK):
                part = rows[start : start + BLOCK], columns[start : start + BLOCK]
                if enough:
                    strangers = company[part[0]] != company[part[1]]
                    part = part[0][strangers], part[1][strangers]
                alike = similarity(ones[part[0]], twos[part[1]])
                for place in numpy.nonzero(alike >= same)[0]:
                    one, other = int(part[0][place]), int(part[1][place])
                    if enough and company[one] == company[other]:
                        continue
                    found.append((one, other, float(alike[place])))
                    if enough:
                        company[company == company[other]] = company[one]
    return sorted(found)
