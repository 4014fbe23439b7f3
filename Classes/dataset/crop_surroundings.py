"""Compare what surrounds two similar blobs, so that few candidates of overlapping_crops have to be read and aligned.

Two crops of one picture agree in all that both of them show; two cells whose nuclei resemble each other do not. So the
coarse picture around each blob is kept on a polar grid, which reaches beyond the border of most images. The turn of a
candidate is known from its descriptors. The small error of its place, turn and scale is found in a few Gauss-Newton
steps (Lucas, Kanade 1981, IJCAI 7:674): the second grid as a combination of the first one and of its derivatives.
"""

import numpy
from scipy import ndimage

# The grid, and the radius of its outermost ring in radii of the blob.
RINGS, ANGLES, REACH = 16, 64, 6.0

# Correlation from which two crops can be of one picture, and below which the second is not moved onto the first, too.
# Of 2,100 pairs of crops that the alignment confirms none is below 0.90; of 549 other pairs with similar nuclei among
# 8,176 real cells, 98 of 100 are below 0.85. benchmarks/data_scale.py measures both on other images.
FITS, HOPELESS = 0.85, 0.6

# Gray levels along a ring below which it counts less: the outline of a nucleus may not outweigh all that is around it.
FAINT = 10.0

# How often the second grid is fitted; each time, the first one is moved by what the fit before has found.
STEPS = 3

# Points that both pictures must show; otherwise nothing can be said.
LEAST = 60

# Pairs that are compared at once, so that their numbers fit into the cache of a processor.
BATCH = 32


def sample(picture: numpy.ndarray, known: numpy.ndarray, blobs: numpy.ndarray) -> numpy.ndarray:
    """Return the surroundings of blobs.

    Args:
      picture: float32 [h, w], smooth.
      known: bool [h, w]; False in the background of a cut-out cell.
      blobs: float64 [N, 3]: row, column (pixel corners at whole numbers) and radius.
    Returns:
      uint8 [N, RINGS, ANGLES]: 0 outside the picture and in its background, 1 to 255 from its darkest to its brightest.
    """
    unit = _radii() * numpy.stack([numpy.sin(_directions()), numpy.cos(_directions())])[:, None]
    places = blobs[:, :2, None, None] - 0.5 + blobs[:, 2, None, None, None] * unit
    places = places.transpose(1, 0, 2, 3)
    values = ndimage.map_coordinates(picture, places, order=1, mode="nearest")
    limits = numpy.array(picture.shape)[:, None, None, None]
    rows, columns = numpy.clip(places.round().astype(int), 0, limits - 1)
    shown = ((places >= -0.5) & (places <= limits - 0.5)).all(axis=0) & known[rows, columns]
    low, high = float(picture.min()), float(picture.max())
    levels = 1 + (values - low) * (254 / max(high - low, 1e-6))
    return numpy.where(shown, levels.round(), 0).astype("uint8")


def agreement(
    ones: numpy.ndarray, others: numpy.ndarray, turns: numpy.ndarray, mirrored: numpy.ndarray
) -> numpy.ndarray:
    """Return how well the surroundings of blobs agree.

    Args:
      ones, others: uint8 [N, RINGS, ANGLES], from `sample`.
      turns, mirrored: [N], see perceptual_hash.turns.
    Returns:
      float32 [N], 0 to 1: the multiple correlation of the brightness along the rings; 1 if both show too little.
    """
    found = _moved_onto(ones, others, turns, mirrored)
    again = (found >= HOPELESS) & (found < FITS)
    back = numpy.where(mirrored, turns, -turns)
    found[again] = numpy.maximum(found[again], _moved_onto(others[again], ones[again], back[again], mirrored[again]))
    return found


def _moved_onto(
    ones: numpy.ndarray, others: numpy.ndarray, turns: numpy.ndarray, mirrored: numpy.ndarray
) -> numpy.ndarray:
    """As `agreement`, but only the first grids are moved; one that is cut by a border may show too little for that."""
    found = numpy.ones(len(ones), "float32")
    for start in range(0, len(ones), BATCH):
        some = slice(start, start + BATCH)
        found[some] = _agreement(ones[some], _turned(others[some], turns[some], mirrored[some]))
    return found


def _radii() -> numpy.ndarray:
    return numpy.linspace(REACH / RINGS, REACH, RINGS, dtype="float32")[:, None]


def _directions() -> numpy.ndarray:
    return numpy.arange(ANGLES, dtype="float32") * numpy.float32(2 * numpy.pi / ANGLES)


def _turned(grids: numpy.ndarray, turns: numpy.ndarray, mirrored: numpy.ndarray) -> numpy.ndarray:
    """Grids with the angles of those that they are compared with."""
    steps = numpy.round(turns * (ANGLES / (2 * numpy.pi))).astype(int)[:, None]
    angles = numpy.arange(ANGLES)
    sources = numpy.where(mirrored[:, None], steps - angles, angles - steps) % ANGLES
    return numpy.take_along_axis(grids, sources[:, None], axis=2)


def _agreement(ones: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
    """As `agreement`, of grids with equal angles."""
    found = numpy.zeros(len(ones), "float32")
    values, shown = ones.astype("float32"), ones > 0
    # A point z of the second picture, as a complex number, is at turned * z + shifted in the first one.
    turned, shifted = numpy.ones(len(ones), "complex64"), numpy.zeros(len(ones), "complex64")
    for step in range(STEPS):
        if step:
            values, shown = _moved(ones, turned, shifted)
        correlation, shares, judged = _fit(values, shown, others)
        # What shows too little without being moved can be of one picture.
        found = numpy.maximum(found, numpy.where(judged, correlation, 0 if step else 1))
        # Further away, a step of Gauss and Newton means nothing.
        change = numpy.clip(shares[:, 1:] / numpy.maximum(shares[:, :1], 0.1), -0.5, 0.5)
        shifted = shifted + turned * (change[:, 0] + 1j * change[:, 1])
        turned = turned * (1 + change[:, 3] + 1j * change[:, 2])
    return found


def _moved(grids: numpy.ndarray, turned: numpy.ndarray, shifted: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The values of grids at other points, float32 [N, RINGS, ANGLES], and where they are known."""
    points = turned[:, None, None] * (_radii() * numpy.exp(1j * _directions())) + shifted[:, None, None]
    ring = numpy.abs(points).astype("float32") * (RINGS / REACH) - 1
    angle = numpy.angle(points).astype("float32") * (ANGLES / (2 * numpy.pi))
    lower, before = numpy.floor(ring).astype(int), numpy.floor(angle).astype(int)
    outwards, onwards = ring - lower, angle - before
    inside = lower < RINGS - 1
    first = numpy.arange(len(grids))[:, None, None] * (RINGS * ANGLES)
    rows = [first + numpy.clip(each, 0, RINGS - 1) * ANGLES for each in (lower, lower + 1)]
    columns = [each % ANGLES for each in (before, before + 1)]
    corners = [grids.ravel()[row + column].astype("float32") for row in rows for column in columns]
    near, far = (one + (other - one) * onwards for one, other in (corners[:2], corners[2:]))
    return near + (far - near) * outwards, inside & numpy.all([each > 0 for each in corners], axis=0)


def _fit(values: numpy.ndarray, shown: numpy.ndarray, others: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
    """Fit grids to others by themselves and their derivatives.

    Args:
      values, shown: [N, RINGS, ANGLES]: brightness, and where it is known.
      others: uint8 [N, RINGS, ANGLES].
    Returns:
      (multiple correlation, float32 [N]; share of the grid and of each derivative, float32 [N, 5]; whether enough is
      known, bool [N]).
    """
    # A derivative needs both neighbors on the ring and between the rings.
    both = shown & (others > 0) & numpy.roll(shown, 1, 2) & numpy.roll(shown, -1, 2)
    both[:, 1:] &= shown[:, :-1]
    both[:, :-1] &= shown[:, 1:]
    mask = both.astype("float32")
    counts = numpy.maximum(mask.sum(axis=2, keepdims=True), 1)

    def along_rings(brightness: numpy.ndarray) -> numpy.ndarray:
        """Differences from the mean of each ring; all cells are dark inside and bright outside."""
        means = numpy.einsum("nra,nra->nr", brightness, mask)[..., None] / counts
        return (brightness - means) * mask

    theirs = along_rings(others.astype("float32"))
    variances = numpy.einsum("nra,nra->nr", theirs, theirs)[..., None] / counts
    weights = numpy.sqrt(_radii() / (variances + FAINT**2))
    theirs = (theirs * weights).reshape(len(others), -1)
    ours = numpy.stack([along_rings(each) * weights for each in _with_derivatives(values)], axis=1)
    ours = ours.reshape(*ours.shape[:2], -1)
    system, products = ours @ ours.transpose(0, 2, 1), (ours @ theirs[..., None])[..., 0]
    # A picture without structure has no direction in which it could be moved.
    diagonal = numpy.einsum("nii->ni", system)
    diagonal *= 1 + 1e-4
    diagonal += 1e-6
    shares = numpy.linalg.solve(system, products[..., None])[..., 0]
    lengths = numpy.einsum("np,np->n", theirs, theirs)
    explained = numpy.einsum("nk,nk->n", shares, products) / numpy.maximum(lengths, 1e-6)
    judged = (both.sum(axis=(1, 2)) >= LEAST) & (lengths > 1e-3)
    return numpy.sqrt(numpy.clip(explained, 0, 1)), shares, judged


def _with_derivatives(values: numpy.ndarray) -> list[numpy.ndarray]:
    """Pictures, and how they change if they are shifted along both axes, turned, or scaled."""
    around = (numpy.roll(values, -1, 2) - numpy.roll(values, 1, 2)) * numpy.float32(ANGLES / (4 * numpy.pi))
    outwards = numpy.gradient(values, REACH / RINGS, axis=1)
    across, sine, cosine = around / _radii(), numpy.sin(_directions()), numpy.cos(_directions())
    shifts = [cosine * outwards - sine * across, sine * outwards + cosine * across]
    return [values, *shifts, around, outwards * _radii()]
