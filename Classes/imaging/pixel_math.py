"""Arithmetic on small pictures, faster than the general functions of numpy and with the same roundings.

The image check was fitted to features with these roundings, so no function may change the last bit of a result.
"""

import numpy
import PIL.Image


def resize(image: numpy.ndarray, side: int) -> numpy.ndarray:
    """Return an image as uint8 [side, side, 3]."""
    if image.shape[:2] == (side, side):
        return image
    method = PIL.Image.Resampling.BOX if len(image) >= 2 * side else PIL.Image.Resampling.BICUBIC
    return numpy.asarray(PIL.Image.fromarray(image).resize((side, side), method))


def halve(values: numpy.ndarray) -> numpy.ndarray:
    """Return the means of squares of two by two pixels, float32 [H / 2, W / 2] of [H, W]."""
    pairs = values[0::2] + values[1::2]
    return (pairs[:, 0::2] + pairs[:, 1::2]) / 4


def double(values: numpy.ndarray) -> numpy.ndarray:
    """Return [2 * H, 2 * W] of [H, W]: each pixel four times."""
    return values.repeat(2, axis=1).repeat(2, axis=0)


def subtract_doubled(values: numpy.ndarray, coarse: numpy.ndarray) -> numpy.ndarray:
    """Return values - double(coarse)."""
    height, width = values.shape
    return (values.reshape(-1, 2, width) - coarse.repeat(2, axis=1)[:, None]).reshape(height, width)


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


def deviation(values: numpy.ndarray) -> float:
    """Return what values.std() returns for float32, in half of its time."""
    count = numpy.float32(values.size)
    distances = values - numpy.add.reduce(values, axis=None) / count
    distances *= distances
    return float(numpy.sqrt(numpy.add.reduce(distances, axis=None) / count))


def sum_in_order(values: numpy.ndarray) -> numpy.ndarray:
    """Return the sums of float32 [3, N] over N, rounded as numpy rounds the sums over the first axis of [N, 3]."""
    return numpy.add.accumulate(values, axis=1)[:, -1]


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
    padded = numpy.zeros((height + 2, width + 2), int)
    padded[1:-1, 1:-1] = numpy.where(mask, numpy.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        rows = numpy.maximum(numpy.maximum(padded[:-2], padded[1:-1]), padded[2:])
        spread = numpy.maximum(numpy.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]) * mask
        # A label is a position: taking the label of that position doubles the distance in each step.
        spread = numpy.concatenate([[0], spread.ravel()])[spread]
        if (spread == padded[1:-1, 1:-1]).all():
            return spread
        padded[1:-1, 1:-1] = spread


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
