"""Find shifted or overlapping crops of one picture, also scaled, rotated, mirrored or re-encoded.

Two stages. crop_descriptors finds the candidate pairs. They are then aligned on each other by Gauss-Newton steps
(Lucas, Kanade 1981, IJCAI 7:674), and the correlation of their fine detail in the tiles of the overlap decides.
"""

import numpy
from scipy import ndimage

from Classes.dataset import nuclei, perceptual_hash
from Classes.dataset.crop_descriptors import describe_nuclei
from Classes.dataset.nuclei import SIDE, Picture, gray_picture

# Median over tiles of the correlation of fine detail from which two images are crops of one picture: of two different
# ones among 2,120 real cells none has more than 0.40, and true crops have 0.96 and more.
SAME = 0.8

# Fraction of the smaller picture that has to overlap.
OVERLAP = 0.3

# Magnifications between two crops that are considered: 1 / LARGEST to LARGEST.
LARGEST = 1.4

# Pixels at SIDE that two cut-out cells have to share.
LEAST = 300

# Correlation of brightness that the aligned overlap has at least, else the alignment ends early.
COARSELY = 0.7

# Agreement of a picture with itself turned by a quarter from which it is ignored, see is_round.
ROUND = 0.5

# Side in pixels at SIDE of the tiles whose correlations are compared.
TILE = 12

# Largest stretching of one axis against the other that an alignment may need.
STRETCH = 1.15


def correlation(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """Return how well two images match in their overlap.

    Args:
      one, other: uint8 [H, W, 3], RGB; of a candidate pair.
    Returns:
      the median over tiles of the correlation of fine detail in the best alignment, -1 to 1; 0 if there is none. Of
      plain discs (see is_round) it says nothing.
    """
    pictures = [gray_picture(image, SIDE) for image in (one, other)]
    found = [nuclei.find(image, picture) for image, picture in zip((one, other), pictures, strict=True)]
    starts = []
    for first in found[0]:
        for second in found[1]:
            ours, theirs = describe_nuclei(pictures[0], first[None]), describe_nuclei(pictures[1], second[None])
            if len(ours) and len(theirs):
                angles, mirrored = perceptual_hash.turns(ours, theirs)
                start = _alignment(first, second, float(angles[0]), bool(mirrored[0]))
                starts.append((float(perceptual_hash.similarity(ours, theirs)[0]), start))
    if not starts:
        return 0.0
    start = max(starts, key=lambda each: each[0])[1]
    matrix = _refined(pictures[0][0], pictures[1][0], start)
    return 0.0 if matrix is None else _agreement(pictures[0], pictures[1], matrix)


def is_round(image: numpy.ndarray) -> bool:
    """Return whether an image matches its copy rotated by 90 degrees, so that a match with another image means nothing.

    This is true for a plain disc, but for no image of a microscope in focus.

    Args:
      image: uint8 [H, W, 3], RGB.
    """
    values, _ = picture = gray_picture(image, SIDE)
    darkness = numpy.maximum(numpy.median(values) - values, 0)
    if darkness.sum() < darkness.size:
        darkness = numpy.maximum(values - numpy.median(values), 0)
    middle = numpy.array(ndimage.center_of_mass(darkness + 1e-6))
    turn = numpy.array([[0.0, -1.0], [1.0, 0.0]])
    matrix = _refined(values, values, numpy.column_stack([turn, middle - turn @ middle]))
    return matrix is not None and _agreement(picture, picture, matrix) >= ROUND


def _alignment(first: numpy.ndarray, second: numpy.ndarray, angle: float, mirrored: bool) -> numpy.ndarray:
    """float64 [2, 3]: from (row, column, 1) in one picture to (row, column) in the other, by two nuclei and a turn."""
    cosine, sine = numpy.cos(angle), numpy.sin(angle)
    # Of angles that are measured from the columns' axis towards the rows'.
    turn = numpy.array([[-cosine, sine], [sine, cosine]] if mirrored else [[cosine, -sine], [sine, cosine]])
    turn = turn * second[2] / first[2]
    return numpy.column_stack([turn, second[:2] - 0.5 - turn @ (first[:2] - 0.5)])


def _refined(one: numpy.ndarray, other: numpy.ndarray, matrix: numpy.ndarray) -> numpy.ndarray | None:
    """The affine alignment with the least difference of brightness, by Gauss-Newton steps from coarse to fine.

    None if the pictures do not overlap enough, or do not even agree coarsely.
    """
    for blur, steps, stride in ((3, 8, 3), (1.2, 5, 2)):
        target, source = (ndimage.gaussian_filter(each, blur) for each in (one, other))
        slopes = numpy.gradient(source)
        for _ in range(steps):
            places, inside = _places(target.shape, source.shape, matrix, stride)
            if inside.sum() * stride**2 < OVERLAP * min(one.size, other.size):
                return None
            points = [each[inside] for each in places]
            rows, columns = (each[::stride, ::stride][inside] for each in numpy.indices(target.shape, "float32"))
            values, down, across = (
                ndimage.map_coordinates(each, points, order=1, mode="nearest") for each in (source, *slopes)
            )
            ours = target[::stride, ::stride][inside]
            spread = max(float(values.std()), 1e-3)
            ours = (ours - ours.mean()) / max(float(ours.std()), 1e-3)
            values = (values - values.mean()) / spread
            system = numpy.stack([down * rows, down * columns, down, across * rows, across * columns, across]) / spread
            step = numpy.linalg.lstsq(system @ system.T, system @ (ours - values), rcond=1e-6)[0]
            matrix = matrix + step.reshape(2, 3)
        # Of the last step but one, which is where they agree by then.
        if float(ours @ values) < COARSELY * len(ours):
            return None
    return matrix


def _places(
    shape: tuple[int, ...], other: tuple[int, ...], matrix: numpy.ndarray, stride: int = 1
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Where every stride-th pixel of one picture lies in the other, [2, h, w], and which of them lie within it."""
    rows, columns = (each[::stride, ::stride] for each in numpy.indices(shape))
    places = numpy.stack([line[0] * rows + line[1] * columns + line[2] for line in matrix])
    limits = numpy.array(other)[:, None, None] - 1
    return places, numpy.all((places >= 0) & (places <= limits), axis=0)


def _agreement(one: Picture, other: Picture, matrix: numpy.ndarray) -> float:
    """The median over tiles of the correlation of fine detail; 0 for an alignment that two crops cannot have."""
    (ours_gray, known), (theirs_gray, known_too) = one, other
    stretches = numpy.linalg.svd(matrix[:, :2], compute_uv=False)
    if stretches[0] > STRETCH * stretches[1] or not 1 / LARGEST <= stretches[1] <= stretches[0] <= LARGEST:
        return 0.0
    places, inside = _places(ours_gray.shape, theirs_gray.shape, matrix)
    if inside.sum() < OVERLAP * min(ours_gray.size, theirs_gray.size / numpy.prod(stretches)):
        return 0.0
    rows, columns = (each.round().astype(int) for each in places[:, inside])
    inside[inside] = known[inside] & known_too[rows, columns]
    if inside.sum() < max(LEAST, OVERLAP * min(known.sum(), known_too.sum() / numpy.prod(stretches))):
        return 0.0
    ours = _detail(ours_gray, known)[inside]
    theirs = ndimage.map_coordinates(_detail(theirs_gray, known_too), [each[inside] for each in places], order=1)
    rows, columns = numpy.nonzero(inside)
    return _typical(ours, theirs, rows // TILE * inside.shape[1] + columns // TILE)


def _typical(ours: numpy.ndarray, theirs: numpy.ndarray, tiles: numpy.ndarray) -> float:
    """The median over tiles of the correlation within each.

    The outline of a round nucleus fills a few tiles; texture and neighbors, which only one picture has, fill most.

    Args:
      ours, theirs: float [N]; tiles: int [N], each pixel's tile.
    """
    counts = numpy.maximum(numpy.bincount(tiles), 1)
    ours, theirs = (each - (numpy.bincount(tiles, each) / counts)[tiles] for each in (ours, theirs))
    products, first, second = (numpy.bincount(tiles, each) for each in (ours * theirs, ours * ours, theirs * theirs))
    full = counts >= TILE * TILE / 2
    return (
        float(numpy.median((products / numpy.maximum(numpy.sqrt(first * second), 1e-6))[full])) if full.any() else 0.0
    )


def _detail(values: numpy.ndarray, known: numpy.ndarray) -> numpy.ndarray:
    """float32 [h, w]: what is finer than a nucleus and coarser than noise; unknown places have no share in it."""
    mask = known.astype("float32")
    fine, coarse = (
        ndimage.gaussian_filter(values * mask, sigma) / numpy.maximum(ndimage.gaussian_filter(mask, sigma), 1e-3)
        for sigma in (1.2, 3)
    )
    return fine - coarse
