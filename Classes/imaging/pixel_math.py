"""Arithmetic on small pictures, faster than the general functions of numpy and without threads.

The image check was fitted to features that these functions give: a result may change by roundings only.
"""

import numpy
import PIL.Image

# Side in pixels of the image on which texture is measured.
TEXTURE_SIDE = 128


def resize(
    image: numpy.ndarray | PIL.Image.Image, side: int, box: tuple[float, float, float, float] | None = None
) -> numpy.ndarray:
    """Return an image, uint8 [H, W, 3] or a picture in RGB, as uint8 [side, side, 3].

    Args:
      image: the image.
      side: pixels per side of the result.
      box: (left, top, right, bottom), the part that is taken; None: all of the image.
    """
    picture = PIL.Image.fromarray(image) if isinstance(image, numpy.ndarray) else image
    left, top, right, bottom = box or (0, 0, *picture.size)
    if (left, top, right, bottom) == (0, 0, side, side) == (0, 0, *picture.size):
        return numpy.asarray(image)
    method = PIL.Image.Resampling.BOX if bottom - top >= 2 * side else PIL.Image.Resampling.BICUBIC
    # A very large image is first averaged over whole pixels, which takes a fraction of the time.
    return numpy.asarray(picture.resize((side, side), method, (left, top, right, bottom), reducing_gap=2))


def sample(image: numpy.ndarray, most: int) -> numpy.ndarray:
    """Return every n-th row and column of an image, at most `most` of each, as float32 [3, pixels].

    Args:
      image: uint8 [H, W, 3].
      most: the smallest n is chosen that leaves so many.
    """
    height, width = image.shape[:2]
    return to_planes(image[:: -(-height // most), :: -(-width // most)]).reshape(3, -1)


def to_planes(image: numpy.ndarray) -> numpy.ndarray:
    """Return uint8 [H, W, 3] as float32 [3, H, W]; with an axis of three at the end, numpy takes longer."""
    planes = numpy.empty((3, *image.shape[:2]), "float32")
    for channel in range(3):
        planes[channel] = image[..., channel]
    return planes


def median_level(levels: numpy.ndarray) -> int:
    """Return the rounded median of whole numbers, float32 [N]; numpy.median takes three times as long."""
    ordered = numpy.sort(levels)
    return round(float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def halve(values: numpy.ndarray) -> numpy.ndarray:
    """Return the means of squares of two by two pixels, [..., H / 2, W / 2] of [..., H, W]."""
    pairs = values[..., 0::2, :] + values[..., 1::2, :]
    return (pairs[..., 0::2] + pairs[..., 1::2]) / 4


def double(values: numpy.ndarray) -> numpy.ndarray:
    """Return [2 * H, 2 * W] of [H, W]: each pixel four times."""
    return values.repeat(2, axis=1).repeat(2, axis=0)


def subtract_doubled(values: numpy.ndarray, coarse: numpy.ndarray) -> numpy.ndarray:
    """Return values, [N, H, W], without the coarse ones, [N, H / 2, W / 2], each of which counts for four pixels."""
    count, height, width = coarse.shape
    rows = values.reshape(count, height, 2, 2 * width) - coarse.repeat(2, axis=2)[:, :, None]
    return rows.reshape(values.shape)


def share(mask: numpy.ndarray) -> float:
    """Return the share of the pixels that are set in a bool array."""
    return numpy.count_nonzero(mask) / mask.size


def quantiles(values: numpy.ndarray, *shares: float) -> list[float]:
    """Return the values below which these shares lie; numpy.quantile interpolates and takes five times as long."""
    # For several ranks, sorting is not slower than numpy.partition.
    return ranks(numpy.sort(values, axis=None), *shares)


def ranks(ordered: numpy.ndarray, *shares: float) -> list[float]:
    """Return the `quantiles` of sorted values, [N]."""
    return [float(ordered[round(share * (ordered.size - 1))]) for share in shares]


def mean(values: numpy.ndarray) -> numpy.ndarray:
    """Return the mean of each row or picture, [N] of [N, ...]."""
    rows = values.reshape(len(values), -1)
    return numpy.add.reduce(rows, axis=1) / rows.dtype.type(rows.shape[1])


def mean_square(values: numpy.ndarray) -> numpy.ndarray:
    """Return the mean of the squares of each row or picture, [N] of [N, ...]."""
    return mean(values * values)


def equal_neighbors(pixels: numpy.ndarray) -> float:
    """Return the share of pixels, uint8 [H, W, 3], that are equal to their left neighbor."""
    height, width, _ = pixels.shape
    if width < 2:
        return 1.0
    rows = pixels.reshape(height, -1)
    # Whole rows of bytes, of which every third one counts: numpy is slow on an axis of three.
    same = (rows[:, 3:] == rows[:, :-3]).ravel()
    equal = same[:-2] & same[1:-1] & same[2:]
    return numpy.count_nonzero(equal[::3]) / (height * (width - 1))


def otsu_threshold(values: numpy.ndarray) -> tuple[float, float]:
    """Return Otsu's threshold (IEEE Transactions on Systems, Man, and Cybernetics 9 (1979), 62) of values from 0 on.

    Args:
      values: float32 [H, W].
    Returns:
      (threshold, variance between the two parts as a fraction of all variance, 0..1).
    """
    high = max(float(values.max()), 1e-3)
    counts = numpy.bincount((values / high * 63.999).astype(int).ravel().clip(0), minlength=64).astype("float64")
    fractions = counts / counts.sum()
    middle = numpy.arange(64) + 0.5
    below, mass = fractions.cumsum(), (fractions * middle).cumsum()
    total = mass[-1]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        between = ((total * below - mass) ** 2 / (below * (1 - below)))[:-1]
    between[~numpy.isfinite(between)] = 0
    variance = float((fractions * (middle - total) ** 2).sum())
    best = int(between.argmax())
    return (best + 1) * high / 64, float(between[best] / max(variance, 1e-9))


def connected_components(mask: numpy.ndarray) -> numpy.ndarray:
    """Return int [H, W]: 0 outside of the mask, else a number for each component of neighbors in eight directions."""
    height, width = mask.shape
    # Small numbers: copies of them take most of the time.
    kind = numpy.min_scalar_type(-mask.size - 1)
    numbers = numpy.arange(1, mask.size + 1, dtype=kind).reshape(mask.shape) * mask
    padded = numpy.zeros((height + 2, width + 2), kind)
    table = numpy.zeros(mask.size + 1, kind)
    while True:
        padded[1:-1, 1:-1] = numbers
        rows = numpy.maximum(numpy.maximum(padded[:-2], padded[1:-1]), padded[2:])
        spread = numpy.maximum(numpy.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]) * mask
        # A label is a position: taking the label of that position doubles the distance in each step.
        table[1:] = spread.ravel()
        spread = table[spread]
        if (spread == numbers).all():
            return spread
        numbers = spread


def dilate(mask: numpy.ndarray) -> numpy.ndarray:
    """Return bool [H, W]: the mask and its neighbors in eight directions."""
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    wide = rows.copy()
    wide[:, 1:] |= rows[:, :-1]
    wide[:, :-1] |= rows[:, 1:]
    return wide


def erode(mask: numpy.ndarray) -> numpy.ndarray:
    """Return bool [H, W]: the mask without the pixels that have a neighbor outside of it."""
    return ~dilate(~mask)
