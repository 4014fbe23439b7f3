"""The histogram of an image's colors, which says nothing about shapes and places."""

import numpy
import PIL.Image

# Bins per channel, of RGB and of HSV, and the numbers of both histograms together.
BINS = 6
SIZE = 2 * BINS**3

# Pixels per side that are counted; more do not change a histogram of so few bins.
SIDE = 96


def color_histogram(image: numpy.ndarray) -> numpy.ndarray:
    """Return the square roots of the fractions of the pixels in each bin, float32 [SIZE].

    Between square roots, the distance of two histograms is the Hellinger distance, which does not let the most frequent
    color decide alone.

    Args:
      image: uint8 [H, W, 3], RGB.
    """
    height, width = image.shape[:2]
    pixels = numpy.ascontiguousarray(image[:: max(1, height // SIDE), :: max(1, width // SIDE)])
    hsv = numpy.asarray(PIL.Image.fromarray(pixels).convert("HSV"))
    return numpy.sqrt(numpy.concatenate([_fractions(pixels), _fractions(hsv)])).astype("float32")


def _fractions(pixels: numpy.ndarray) -> numpy.ndarray:
    red, green, blue = (pixels.reshape(-1, 3).astype(int) * BINS >> 8).T
    return numpy.bincount((red * BINS + green) * BINS + blue, minlength=BINS**3) / len(red)
