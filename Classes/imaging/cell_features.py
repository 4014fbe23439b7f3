"""Measure whether an image looks like a photograph of one centered, stained white cell.

All features are ratios, shares or optical densities relative to the image's own background, so that they depend little
on stain, light and camera. The optical density (Ruifrok and Vaughn, Analytical and Quantitative Cytology and Histology
23 (2001), 291) of red separates the blue dye of nuclei from red cells.
"""

import functools
from typing import NamedTuple

import numpy

from Classes.imaging import pixel_math
from Classes.imaging.color_stats import LUMA, background_color, brightness
from Classes.imaging.pixel_math import TEXTURE_SIDE

# Side in pixels of the image on which shapes are measured.
SHAPE_SIDE = TEXTURE_SIDE // 2

# Added to pixels before the logarithm: keeps black finite and noise in dark parts small.
DARK = 16.0

RINGS = 8

# The place of the share of equal neighbors, which the pixels of a small image do not show.
_EQUAL_NEIGHBORS = -6

# Brightness at which the bins of a histogram begin, and at which the last one ends.
_LEVELS = numpy.append(numpy.arange(0, 256, 4, dtype="float32"), numpy.float32(numpy.inf))


def measure(image: numpy.ndarray, small: numpy.ndarray | None = None) -> numpy.ndarray:
    """Return the features of an image.

    Args:
      image: uint8 [S, S, 3], RGB, the part that a network sees.
      small: the same part from the whole image, see network_input.CentralSquare; None: it is made of `image`.
    Returns:
      float32 [N_FEATURES], finite.
    """
    return complete(measure_small(pixel_math.resize(image, TEXTURE_SIDE) if small is None else small), image)


def complete(features: numpy.ndarray, image: numpy.ndarray) -> numpy.ndarray:
    """Return the features of `measure_small` with the one that takes what a network sees.

    Args:
      features: those of the small image, [N_FEATURES].
      image: see `measure`.
    """
    found = features.copy()
    found[_EQUAL_NEIGHBORS] = pixel_math.equal_neighbors(image[:: max(1, len(image) // 256)])
    return found


def measure_small(small: numpy.ndarray) -> numpy.ndarray:
    """Return all features but one, which is 0, of a small image, so that they can be measured before the others.

    Args:
      small: uint8 [TEXTURE_SIDE, TEXTURE_SIDE, 3], see `measure`.
    """
    background = background_color(small)
    planes = pixel_math.to_planes(small)
    light = brightness(planes)
    density = _optical_density(planes, background)
    # All steps that are the same for both are done at once: calls take most of the time of small pictures.
    textures = numpy.stack([light, density[0]])
    ordered, edges = _ordered(textures), _edges(textures)
    strengths = _ordered(edges.strength)
    nuclear = pixel_math.halve(density[0].clip(0))
    # numpy takes ten times as long for the mean of an axis that short.
    mean = (density[0] + density[1] + density[2]) / numpy.float32(3)
    stain = pixel_math.halve(mean)
    level, separation = pixel_math.otsu_threshold(nuclear)
    mask = nuclear > level
    light_sharpness, red_sharpness = _sharpness(textures, ordered, strengths)
    found = [
        *_background(background, light, ordered[0]),
        *_histogram(nuclear, level, separation),
        *_profile(nuclear, stain),
        *_shapes(mask, nuclear),
        *light_sharpness,
        *red_sharpness,
        *_colors(density, mean, pixel_math.double(mask)),
        *_flatness(small, ordered[0], _Edges(*(each[0] for each in edges)), strengths[0]),
    ]
    return numpy.nan_to_num(numpy.array(found, "float32"), posinf=0, neginf=0)


class _Edges(NamedTuple):
    """Differences of neighbors, float32 [..., H - 1, W - 1].

    Attributes:
      down, right: to the next row and column.
      strength: length of both.
    """

    down: numpy.ndarray
    right: numpy.ndarray
    strength: numpy.ndarray


def _edges(values: numpy.ndarray) -> _Edges:
    corner = values[..., :-1, :-1]
    down, right = values[..., 1:, :-1] - corner, values[..., :-1, 1:] - corner
    # numpy.hypot takes five times as long, to avoid overflows.
    strength = down * down
    strength += right * right
    return _Edges(down, right, numpy.sqrt(strength, out=strength))


def _ordered(values: numpy.ndarray) -> numpy.ndarray:
    """Return the values of each picture, [N, H, W], sorted: [N, H * W]."""
    return numpy.sort(values.reshape(len(values), -1), axis=1)


def _optical_density(planes: numpy.ndarray, background: tuple[int, int, int]) -> numpy.ndarray:
    """Return float32 [3, H, W], relative to the background, of the channels of an image, which are overwritten."""
    planes += numpy.float32(DARK)
    empty = (numpy.array(background, "float32") + DARK)[:, None, None]
    numpy.log(numpy.divide(empty, planes, out=planes), out=planes)
    return planes.clip(-1, 3, out=planes)


def _background(background: tuple[int, int, int], light: numpy.ndarray, ordered: numpy.ndarray) -> list[float]:
    level = float(numpy.array(background) @ LUMA)
    low, high = pixel_math.ranks(ordered, 0.02, 0.98)
    return [
        level / 255,
        (max(background) - min(background)) / 255,
        pixel_math.share(numpy.abs(light - level) < 8),
        pixel_math.share(light > level + 20),
        float(high - low) / 255,
    ]


def _histogram(nuclear: numpy.ndarray, level: float, separation: float) -> list[float]:
    return [level, separation, *pixel_math.quantiles(nuclear, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995)]


def _profile(nuclear: numpy.ndarray, stain: numpy.ndarray) -> list[float]:
    """Return means over rings around the middle, and how much they vary along a ring and between places."""
    rings, sizes = _rings()
    found: list[float] = []
    for values in (nuclear, stain):
        scale = max(pixel_math.quantiles(values, 0.97)[0], 0.05)
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
    closed = pixel_math.dilate(mask)
    labels = pixel_math.connected_components(closed)
    areas = numpy.bincount(labels.ravel()) / mask.size
    areas[0] = 0
    names = numpy.flatnonzero(areas >= 0.004).tolist()
    found = [pixel_math.share(mask), float(len(names)), float(numpy.count_nonzero(areas >= 0.02))]
    rows, columns = _grid()
    weights = nuclear * mask
    mass = max(float(weights.sum()), 1e-6)
    middle = (float((weights * columns).sum()) / mass, float((weights * rows).sum()) / mass)
    spread = float((weights * ((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2)).sum() / mass) ** 0.5
    zones = _zones()
    found += [float(numpy.hypot(*middle)), spread, spread / max(found[0], 0.01) ** 0.5]
    found += [numpy.count_nonzero(mask & zone) / numpy.count_nonzero(zone) for zone in (zones.edge, zones.middle)]
    if not len(names):
        return [*found, *[0.0] * 12]
    order = sorted(names, key=lambda name: -float(areas[name]))
    central = max(order, key=lambda name: float(zones.centrality[labels == name].sum())) if order[1:] else order[0]
    one = labels == central
    second = max((areas[name] for name in order if name != central), default=0.0)
    places = numpy.flatnonzero(one)
    inside_rows, inside_columns = rows.ravel()[places], columns.ravel()[places]
    height = float(inside_rows.max() - inside_rows.min()) / 2
    width = float(inside_columns.max() - inside_columns.min()) / 2
    rim = int(numpy.count_nonzero(one & ~pixel_math.erode(one)))
    dark = nuclear.ravel()[numpy.flatnonzero(one & mask)]
    return [
        *found,
        float(areas[central]),
        float(second),
        float(areas[central]) / max(pixel_math.share(closed), 1e-6),
        float(numpy.hypot(inside_rows.mean(), inside_columns.mean())),
        max(height, width),
        min(height, width),
        float(areas[central]) / max((height + 1 / 64) * (width + 1 / 64), 1e-3),
        rim / max(float(len(places)) ** 0.5, 1),
        int(numpy.count_nonzero(one & zones.edge)) / max(rim, 1),
        float(dark.mean()) if dark.size else 0.0,
        float(dark.std()) if dark.size else 0.0,
        float(areas[names].sum() - areas[central]),
    ]


def _sharpness(textures: numpy.ndarray, ordered: numpy.ndarray, strengths: numpy.ndarray) -> list[list[float]]:
    """Return for each picture how much of its contrast is in fine, middle and coarse detail.

    Args:
      textures: float32 [N, TEXTURE_SIDE, TEXTURE_SIDE].
      ordered: the same values, sorted, [N, TEXTURE_SIDE ** 2].
      strengths: those of their edges, sorted.
    """
    coarse = pixel_math.halve(textures)
    finest = pixel_math.subtract_doubled(textures, coarse)
    energies = [pixel_math.mean_square(finest)]
    # The mean of four squares is the square of their mean plus the mean square of what remains without it.
    middle = pixel_math.mean(coarse)
    values = coarse.astype("float64") - middle[:, None, None]
    before = pixel_math.mean_square(values)
    total = before + energies[0]
    for _ in range(3):
        values = pixel_math.halve(values)
        after = pixel_math.mean_square(values)
        energies.append(before - after)
        before = after
    total = numpy.maximum(numpy.sqrt(total), 1e-3)
    details = numpy.log(numpy.maximum(numpy.sqrt(numpy.maximum(energies, 0)) / total, 1e-4)).T
    found = []
    for picture, fine in enumerate(_ordered(numpy.abs(finest))):
        low, high = pixel_math.ranks(ordered[picture], 0.02, 0.98)
        ranks = pixel_math.ranks(fine, 0.5, 0.9, 0.98)
        ranks += pixel_math.ranks(strengths[picture], 0.5, 0.9, 0.98, 0.998)
        contrast = max(high - low, 1e-3)
        found.append([*details[picture].tolist(), *(value / contrast for value in ranks)])
    return found


def _colors(density: numpy.ndarray, mean: numpy.ndarray, mask: numpy.ndarray) -> list[float]:
    """Return the color of dark parts and of the other stained parts, and shares of colors that no stain has.

    Args:
      density: float32 [3, H, W].
      mean: float32 [H, W], the mean of the channels.
      mask: bool [H, W], the dark parts.
    """
    red, green, blue = density
    other = ~mask & (mean > 0.08)
    found: list[float] = []
    for part in (mask, other):
        chosen = density.reshape(3, -1).take(numpy.flatnonzero(part), axis=1)
        color = pixel_math.mean(chosen) if chosen.size else numpy.zeros(3, "float32")
        found += (color / max(float(numpy.abs(color).sum()), 0.05)).tolist()
        chosen -= color[:, None]
        found.append(float(numpy.sqrt(pixel_math.mean_square(chosen)).mean()) if chosen.size else 0.0)
    largest, smallest = numpy.maximum(red, green), numpy.minimum(red, green)
    return [
        *found,
        pixel_math.share(other),
        pixel_math.share(green < red - 0.1),
        pixel_math.share(blue > green + 0.15),
        pixel_math.share(blue > red + 0.4),
        pixel_math.share(numpy.maximum(largest, blue) - numpy.minimum(smallest, blue) < 0.03),
        pixel_math.share(mean < -0.15),
    ]


def _flatness(small: numpy.ndarray, ordered: numpy.ndarray, edges: _Edges, strengths: numpy.ndarray) -> list[float]:
    """Return signs of a drawing or a screenshot: equal neighbors, few colors, edges along rows and columns.

    Args:
      small: uint8 [TEXTURE_SIDE, TEXTURE_SIDE, 3].
      ordered: its brightness, sorted.
      edges, strengths: those of its brightness; the strengths once more, sorted.
    """
    red, green, blue = (small[..., channel].astype("uint16") >> 3 for channel in range(3))
    colors = red << 10 | green << 5 | blue
    present = numpy.zeros(1 << 15, bool)
    present[colors] = True
    # Bins of four levels.
    counts = numpy.diff(numpy.searchsorted(ordered, _LEVELS)) / ordered.size
    filled = counts[counts > 0]
    down, right = numpy.abs(edges.down), numpy.abs(edges.right)
    along = float((edges.strength * (numpy.minimum(down, right) < 0.1 * numpy.maximum(down, right))).sum())
    return [
        # Equal neighbors: see `complete`.
        0.0,
        float(numpy.log(numpy.count_nonzero(present))),
        float(counts.max()),
        -float((filled * numpy.log2(filled)).sum()),
        along / max(float(edges.strength.sum()), 1e-3),
        float(numpy.searchsorted(strengths, numpy.float32(1.5)) / strengths.size),
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


class _Zones(NamedTuple):
    """Parts of a small image, [SHAPE_SIDE, SHAPE_SIDE].

    Attributes:
      edge: bool, the pixels near the edge.
      middle: bool, the pixels around the middle.
      centrality: float64, larger in the middle.
    """

    edge: numpy.ndarray
    middle: numpy.ndarray
    centrality: numpy.ndarray


@functools.cache
def _zones() -> _Zones:
    rows, columns = _grid()
    edge = numpy.ones(rows.shape, bool)
    edge[3:-3, 3:-3] = False
    distance = rows**2 + columns**2
    return _Zones(edge, distance < 0.25, numpy.exp(-3 * distance))
