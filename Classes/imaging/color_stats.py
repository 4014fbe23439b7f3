"""Measure the colors of an image, and detect images whose colors differ from those of the training images."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy

from Classes.common import translation
from Classes.imaging import pixel_math

# ITU-R BT.601: the brightness of red, green and blue.
LUMA = numpy.array([0.299, 0.587, 0.114], "float32")

# The features of an image, and the words for values below or above those of the training images.
FEATURES = {
    translation.mark("background brightness"): ("darker background", "brighter background"),
    translation.mark("background red-blue"): ("bluer background", "redder background"),
    translation.mark("background green-magenta"): ("more magenta background", "less magenta background"),
    translation.mark("nuclei brightness"): ("darker nuclei", "paler nuclei"),
    translation.mark("nuclei red-blue"): ("bluer nuclei", "redder nuclei"),
    translation.mark("nuclei green-magenta"): ("more magenta nuclei", "less magenta nuclei"),
    translation.mark("contrast"): ("less contrast", "more contrast"),
}

# Chosen on 600 real cells: 2 of 163 validation images and none of 20 test images get a warning, but nearly all of them
# if they get 5 % more blue, 10 % less light or another hue. MIN_RADIUS is in levels.
ANCHORS = 32
RADIUS_SCALE = 1.5
MIN_RADIUS = 8.0


def brightness(planes: numpy.ndarray) -> numpy.ndarray:
    """Return the brightness of pixels, float32 [...] of float32 [3, ...].

    A product of matrices would be the same, but its library wakes threads, which disturb a network that computes.
    """
    light = planes[0] * LUMA[0]
    light += planes[1] * LUMA[1]
    light += planes[2] * LUMA[2]
    return light


def background_color(image: numpy.ndarray) -> tuple[int, int, int]:
    """Return the color of the empty part of a smear: the most frequent in the brighter half of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      RGB, 0..255.
    """
    # A hundred samples per side are enough and limit the time for any image.
    planes = pixel_math.sample(image, 100)
    light = brightness(planes)
    # The mean of equal values can round to more than they are.
    bright = light >= min(light.mean(), light.max())
    # Bins of four levels, smoothed, so that noise does not decide which is the fullest.
    bins = light / 4
    counts = numpy.bincount(bins[bright].astype(int), minlength=64)
    fullest = numpy.convolve(counts, [1, 2, 3, 2, 1], "same").argmax()
    near = bright & (numpy.abs(bins - fullest - 0.5) <= 1.5)
    places = numpy.flatnonzero(near if near.any() else bright)
    red, green, blue = (pixel_math.median_level(plane[places]) for plane in planes)
    return red, green, blue


def color_features(image: numpy.ndarray, background: tuple[int, int, int] | None = None) -> numpy.ndarray:
    """Return the color features of an image.

    Args:
      image: uint8 [H, W, 3], RGB, the part that the network sees.
      background: its `background_color`, if that is known already.
    Returns:
      float64 [7] in levels, in the order of FEATURES: brightness, red minus blue, and green minus magenta of the
      background and of the darkest parts (nuclei); then the contrast.
    """
    planes = pixel_math.sample(image, 150)
    light = brightness(planes)
    # At least a twentieth of an image is nucleus, whatever the size of the cell.
    count = -(-len(light) // 20)
    places = numpy.argpartition(light, count - 1)[:count]
    darkest = numpy.array([plane[places].mean() for plane in planes])
    empty = numpy.array(background or background_color(image), "float32")
    return numpy.array([*_opponent_coordinates(empty), *_opponent_coordinates(darkest), light.std()], "float64")


def _opponent_coordinates(color: numpy.ndarray) -> tuple[float, float, float]:
    """Return (brightness, red minus blue, green minus magenta)."""
    red, green, blue = (float(value) for value in color)
    return float(color @ LUMA), red - blue, green - (red + blue) / 2


def fit_reference(features: Sequence[numpy.ndarray]) -> dict[str, Any] | None:
    """Summarize the colors of a training set for `domain_shift_warning`.

    The images of a set may come from several cameras or white balances, so one range per feature would be wide and miss
    a shift between them. Instead, ANCHORS images are kept so that every image is near one of them.

    Args:
      features: `color_features` of each image.
    Returns:
      dict for the model card's field `colours`: {"images": number, "middle": {feature: median}, "anchors": [seven
      numbers as text], "limit": largest distance to the nearest anchor without a warning}; None without images.
    """
    if not len(features):
        return None
    measured = numpy.asarray(features, "float64")
    middle = numpy.median(measured, axis=0)
    anchors = [int(_distances(measured, middle).argmin())]
    nearest = _distances(measured, measured[anchors[0]])
    while len(anchors) < min(ANCHORS, len(measured)):
        anchors.append(int(nearest.argmax()))
        nearest = numpy.minimum(nearest, _distances(measured, measured[anchors[-1]]))
    limit = max(MIN_RADIUS, RADIUS_SCALE * float(nearest.max()), _typical_distance(measured))
    return {
        "images": len(measured),
        "middle": {name: round(float(value), 1) for name, value in zip(FEATURES, middle, strict=True)},
        # As text, which keeps an anchor on one line of the JSON file.
        "anchors": [" ".join(f"{value:.1f}" for value in measured[place]) for place in anchors],
        "limit": round(limit, 1),
    }


@functools.lru_cache
def _parse_anchors(texts: tuple[str, ...]) -> numpy.ndarray:
    return numpy.array([text.split() for text in texts], "float64")


def _distances(features: numpy.ndarray, one: numpy.ndarray) -> numpy.ndarray:
    return numpy.linalg.norm(features - one, axis=1)


def _typical_distance(features: numpy.ndarray) -> float:
    """Return the 99th percentile of the distance to the nearest neighbor, an estimate for a new image."""
    if len(features) < 2:
        return 0.0
    neighbors = [numpy.partition(_distances(features, one), 1)[1] for one in features]
    return float(numpy.quantile(neighbors, 0.99))


def domain_shift_warning(image: numpy.ndarray, reference: dict[str, Any] | None) -> str | None:
    """Describe how the colors of an image differ from those of the training images.

    Args:
      image: uint8 [H, W, 3], as the network sees it.
      reference: the model card's field `colours`, from `fit_reference`.
    Returns:
      a remark for people; None if the colors are similar, or without a reference.
    """
    if not reference:
        return None
    differences = color_features(image) - _parse_anchors(tuple(reference["anchors"]))
    distances = numpy.linalg.norm(differences, axis=1)
    nearest = distances.argmin()
    if distances[nearest] <= reference["limit"]:
        return None
    difference = differences[nearest]
    strongest = numpy.argsort(-numpy.abs(difference), kind="stable")
    named = [place for place in strongest[:3] if abs(difference[place]) >= abs(difference[strongest[0]]) / 2]
    words = ", ".join(tuple(FEATURES.values())[place][int(difference[place] > 0)] for place in named)
    return (
        f"The colors differ from those of the training images: {words}. With another stain, camera or light "
        "the result may be wrong."
    )
