"""A color histogram counts colors, and nothing else."""

import numpy
import pytest

from Classes.imaging import color_histogram


def test_one_color_fills_one_bin_of_rgb_and_one_of_hsv():
    # Red is in the last red bin and the first green and blue ones; its hue is 0, its saturation and value are full.
    found = color_histogram.color_histogram(numpy.full((20, 30, 3), [255, 0, 0], "uint8"))

    bins = color_histogram.BINS
    assert numpy.flatnonzero(found).tolist() == [(bins - 1) * bins**2, bins**3 + (bins - 1) * bins + bins - 1]
    assert found[numpy.flatnonzero(found)].tolist() == [1, 1]


def test_the_squares_are_the_fractions_of_the_pixels():
    image = numpy.zeros((40, 40, 3), "uint8")
    image[:10] = 255

    found = color_histogram.color_histogram(image)[: color_histogram.BINS**3]

    assert found[0] ** 2 == pytest.approx(0.75)
    assert found[-1] ** 2 == pytest.approx(0.25)


def test_the_places_of_the_pixels_do_not_matter():
    image = numpy.random.default_rng(1).integers(0, 256, (50, 50, 3), "uint8")

    turned = color_histogram.color_histogram(numpy.rot90(image))

    assert turned == pytest.approx(color_histogram.color_histogram(image))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 3)])
def test_any_size_has_a_histogram(shape):
    found = color_histogram.color_histogram(numpy.full((*shape, 3), 128, "uint8"))

    assert (found**2).sum() == pytest.approx(2)
