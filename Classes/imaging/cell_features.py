"""Measure whether an image looks like a photograph of one centered, stained white cell.

All features are ratios, shares or optical densities relative to the image's own background, so that they depend little
on stain, light and camera. The optical density (Ruifrok and Vaughn, Analytical and Quantitative Cytology and Histology
23 (2001), 291) of red separates the blue dye of nuclei from red cells.
"""

import functools

import numpy
import PIL.Image

from Classes.imaging.color_stats import LUMA, background_color

# Sides in pixels of the images on which texture and shapes are measured.
TEXTURE_SIDE, SHAPE_SIDE = 128, 64

# Added to pixels before the logarithm: keeps black finite and noise in dark parts small.
DARK = 16.0

RINGS = 8


def measure(image: numpy.ndarray, background: tuple[int, int, int] | None = None) -> numpy.ndarray:
    """Return the features of an image.

    Args:
      image: uint8 [S, S, 3], RGB, the part that a network sees.
      background: its background_color, if that is known already.
    Returns:
      float32 [N_FEATURES], finite.
    """
    small = _resize(image, TEXTURE_SIDE)
    background = background or background_color(image)
    density = numpy.log((numpy.array(background, "float32") + DARK) / (small.astype("float32") + DARK)).clip(-1, 3)
    light = small @ LUMA
    nuclear = _halve(density[..., 0].clip(0))
    # numpy takes ten times as long for the mean of an axis that short.
    stain = _halve((density[..., 0] + density[..., 1] + density[..., 2]) / numpy.float32(3))
    level, separation = otsu_threshold(nuclear)
    mask = nuclear > level
    found = [
        *_background(background, light),
        *_histogram(nuclear, level, separation),
        *_profile(nuclear, stain),
        *_shapes(mask, nuclear),
        *_sharpness(light, density[..., 0]),
        *_colors(density, _double(mask)),
        *_flatness(image, small, light),
    ]
    return numpy.nan_to_num(numpy.array(found, "float32"), posinf=0, neginf=0)


def otsu_threshold(values: numpy.ndarray) -> tuple[float, float]:
    """Return Otsu's threshold (IEEE Transactions on Systems, Man, and Cybernetics 9 (1979), 62) of values from 0 on.

    Returns:
      (threshold, variance between the two parts as a fraction of all variance, 0..1).
    """
    high = max(float(values.max()), 1e-3)
    counts = numpy.bincount((values / high * 63.999).astype(int).ravel().clip(0), minlength=64).astype("float64")
    share = counts / counts.sum()
    middle = numpy.arange(64) + 0.5
    below, mass = share.cumsum(), (share * middle).cumsum()
    total = mass[-1]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        between = numpy.nan_to_num((total * below - mass) ** 2 / (below * (1 - below)), posinf=0)[:-1]
    variance = float((share * (middle - total) ** 2).sum())
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


def _background(background: tuple[int, int, int], light: numpy.ndarray) -> list[float]:
    level = float(numpy.array(background) @ LUMA)
    low, high = _quantiles(light, 0.02, 0.98)
    return [
        level / 255,
        (max(background) - min(background)) / 255,
        float((numpy.abs(light - level) < 8).mean()),
        float((light > level + 20).mean()),
        float(high - low) / 255,
    ]


def _histogram(nuclear: numpy.ndarray, level: float, separation: float) -> list[float]:
    return [level, separation, *_quantiles(nuclear, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995)]


def _profile(nuclear: numpy.ndarray, stain: numpy.ndarray) -> list[float]:
    """Return means over rings around the middle, and how much they vary along a ring and between places."""
    rings, sizes = _rings()
    found: list[float] = []
    for values in (nuclear, stain):
        scale = max(_quantiles(values, 0.97)[0], 0.05)
        means = numpy.bincount(rings, values.ravel()) / sizes
        squares = numpy.bincount(rings, values.ravel() ** 2) / sizes
        found += [float(value) / scale for value in means]
        found += [float(value) / scale for value in (squares - means**2).clip(0) ** 0.5]
    blocks = nuclear.reshape(4, SHAPE_SIDE // 4, 4, SHAPE_SIDE // 4).mean(axis=(1, 3))
    mean = max(float(blocks.mean()), 0.01)
    inner = float(blocks[1:3, 1:3].mean())
    return [*found, float(blocks.std()) / mean, inner / mean, float(blocks.max()) / mean, float(blocks.min()) / mean]


def _shapes(mask: numpy.ndarray, nuclear: numpy.ndarray) -> list[float]:
    """Return the number, sizes and places of the dark parts, and the shape of the one nearest to the middle."""
    closed = _dilate(mask)
    labels = connected_components(closed)
    names, places = numpy.unique(labels, return_inverse=True)
    areas = numpy.bincount(places.ravel()) / mask.size
    keep = (names > 0) & (areas >= 0.004)
    found = [float(mask.mean()), float(keep.sum()), float(((names > 0) & (areas >= 0.02)).sum())]
    rows, columns = _grid()
    weights = nuclear * mask
    mass = max(float(weights.sum()), 1e-6)
    middle = (float((weights * columns).sum()) / mass, float((weights * rows).sum()) / mass)
    spread = float((weights * ((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2)).sum() / mass) ** 0.5
    edge = numpy.ones_like(mask)
    edge[3:-3, 3:-3] = False
    found += [float(numpy.hypot(*middle)), spread, spread / max(float(mask.mean()), 0.01) ** 0.5]
    found += [float(mask[edge].mean()), float(mask[(rows**2 + columns**2) < 0.25].mean())]
    if not keep.any():
        return [*found, *[0.0] * 12]
    order = sorted(numpy.flatnonzero(keep), key=lambda place: -areas[place])
    central = max(order, key=lambda place: _centrality(places.reshape(mask.shape) == place))
    one = places.reshape(mask.shape) == central
    second = max((areas[place] for place in order if place != central), default=0.0)
    inside_rows, inside_columns = rows[one], columns[one]
    height, width = float(numpy.ptp(inside_rows)) / 2, float(numpy.ptp(inside_columns)) / 2
    rim = one & ~_erode(one)
    return [
        *found,
        float(areas[central]),
        float(second),
        float(areas[central]) / max(float(closed.mean()), 1e-6),
        float(numpy.hypot(inside_rows.mean(), inside_columns.mean())),
        max(height, width),
        min(height, width),
        float(areas[central]) / max((height + 1 / 64) * (width + 1 / 64), 1e-3),
        float(rim.sum()) / max(float(one.sum()) ** 0.5, 1),
        float((one & edge).sum()) / max(float(rim.sum()), 1),
        float(nuclear[one & mask].mean()) if (one & mask).any() else 0.0,
        float(nuclear[one & mask].std()) if (one & mask).any() else 0.0,
        float(areas[keep].sum() - areas[central]),
    ]


def _sharpness(light: numpy.ndarray, red_density: numpy.ndarray) -> list[float]:
    """Return how much of the contrast is in fine, middle and coarse detail."""
    found: list[float] = []
    for values in (light, red_density):
        total = max(float(values.std()), 1e-3)
        coarse = _halve(values)
        finest = band = values - _double(coarse)
        for level in range(4):
            if level:
                fine, coarse = coarse, _halve(coarse)
                band = fine - _double(coarse)
            found.append(float(numpy.log(max(float(band.std()) / total, 1e-4))))
        low, high = _quantiles(values, 0.02, 0.98)
        contrast = max(high - low, 1e-3)
        found += [value / contrast for value in _quantiles(numpy.abs(finest), 0.5, 0.9, 0.98)]
        steps = numpy.hypot(values[1:, :-1] - values[:-1, :-1], values[:-1, 1:] - values[:-1, :-1])
        found += [value / contrast for value in _quantiles(steps, 0.5, 0.9, 0.98, 0.998)]
    return found


def _colors(density: numpy.ndarray, mask: numpy.ndarray) -> list[float]:
    """Return the color of dark parts and of the other stained parts, and shares of colors that no stain has."""
    red, green, blue = (numpy.ascontiguousarray(density[..., channel]) for channel in range(3))
    mean = (red + green + blue) / 3
    other = ~mask & (mean > 0.08)
    found: list[float] = []
    for part in (mask, other):
        chosen = density[part]
        color = chosen.mean(axis=0) if len(chosen) else numpy.zeros(3)
        found += [float(value) for value in color / max(float(numpy.abs(color).sum()), 0.05)]
        found.append(float(chosen.std(axis=0).mean()) if len(chosen) else 0.0)
    return [
        *found,
        float(other.mean()),
        float((green < red - 0.1).mean()),
        float((blue > green + 0.15).mean()),
        float((blue > red + 0.4).mean()),
        float(
            (
                numpy.maximum(numpy.maximum(red, green), blue) - numpy.minimum(numpy.minimum(red, green), blue) < 0.03
            ).mean()
        ),
        float((mean < -0.15).mean()),
    ]


def _flatness(image: numpy.ndarray, small: numpy.ndarray, light: numpy.ndarray) -> list[float]:
    """Return signs of a drawing or a screenshot: equal neighbors, few colors, edges along rows and columns."""
    pixels = image[:: max(1, len(image) // 256)]
    same = pixels[:, 1:] == pixels[:, :-1]
    equal = same[..., 0] & same[..., 1] & same[..., 2]
    red, green, blue = ((small[..., channel] >> 3).astype("uint16") for channel in range(3))
    colors = numpy.count_nonzero(numpy.bincount((red | green << 5 | blue << 10).ravel()))
    counts = numpy.bincount((light / 4).astype(int).ravel(), minlength=64) / light.size
    entropy = -float((counts[counts > 0] * numpy.log2(counts[counts > 0])).sum())
    down, right = numpy.abs(light[1:, :-1] - light[:-1, :-1]), numpy.abs(light[:-1, 1:] - light[:-1, :-1])
    strong = numpy.hypot(down, right)
    along = float(strong[numpy.minimum(down, right) < 0.1 * numpy.maximum(down, right)].sum())
    return [
        float(equal.mean()) if equal.size else 1.0,
        float(numpy.log(colors)),
        float(counts.max()),
        entropy,
        along / max(float(strong.sum()), 1e-3),
        float((strong < 1.5).mean()),
    ]


@functools.cache
def _grid() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return (rows, columns) of the pixels of a small image, from -1 to 1."""
    rows, columns = numpy.mgrid[-1 : 1 : SHAPE_SIDE * 1j, -1 : 1 : SHAPE_SIDE * 1j]
    return rows, columns


@functools.cache
def _rings() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the ring around the middle of each pixel, and the pixels per ring; the last one also has the corners."""
    rows, columns = _grid()
    ring = (numpy.hypot(rows, columns) * RINGS).astype(int).clip(max=RINGS - 1).ravel()
    return ring, numpy.bincount(ring)


def _centrality(part: numpy.ndarray) -> float:
    rows, columns = _grid()
    return float(numpy.exp(-3 * (rows[part] ** 2 + columns[part] ** 2)).sum())


def _resize(image: numpy.ndarray, side: int) -> numpy.ndarray:
    if image.shape[:2] == (side, side):
        return image
    method = PIL.Image.Resampling.BOX if len(image) >= 2 * side else PIL.Image.Resampling.BICUBIC
    return numpy.asarray(PIL.Image.fromarray(image).resize((side, side), method))


def _quantiles(values: numpy.ndarray, *shares: float) -> list[float]:
    """Return values at these ranks; numpy.quantile interpolates and takes five times as long."""
    # For several ranks, sorting is not slower than numpy.partition.
    ordered = numpy.sort(values, axis=None)
    return [float(ordered[round(share * (values.size - 1))]) for share in shares]


def _halve(values: numpy.ndarray) -> numpy.ndarray:
    pairs = values[0::2] + values[1::2]
    return (pairs[:, 0::2] + pairs[:, 1::2]) / 4


def _double(values: numpy.ndarray) -> numpy.ndarray:
    return values.repeat(2, axis=0).repeat(2, axis=1)


def _dilate(mask: numpy.ndarray) -> numpy.ndarray:
    padded = numpy.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _erode(mask: numpy.ndarray) -> numpy.ndarray:
    return ~_dilate(~mask)
