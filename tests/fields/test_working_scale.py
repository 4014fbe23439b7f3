"""The pixels of an image at working scale, against averages worked out with numpy."""

import numpy
import pytest

from Classes.fields import working_scale
from Classes.fields.working_scale import WorkingScale


def reader(image):
    return lambda x, y, width, height: image[y : y + height, x : x + width]


@pytest.fixture(scope="module")
def noise():
    return numpy.random.default_rng(1).integers(0, 256, (150, 230, 3)).astype("uint8")


def test_the_ratio_is_that_of_the_scales():
    assert working_scale.square_side(0.1, 0.4) == 1024
    assert WorkingScale(1000, 500, 1024).ratio == 4
    # 250 and 125 pixels, filled up to whole units of 16.
    assert WorkingScale(1000, 500, 1024).inner_size == (250, 125)
    assert WorkingScale(1000, 500, 1024).working_size == (256, 128)


def test_a_pixel_is_the_mean_of_those_that_it_covers():
    steps = numpy.arange(64, dtype="uint8").repeat(4)[None, :, None].repeat(64, axis=0).repeat(3, axis=2)
    found = working_scale.read_part(reader(steps), WorkingScale(256, 64, 1024), (16, 0, 48, 16))
    assert numpy.array_equal(found[0, :, 0], numpy.arange(16, 48))
    assert (found == found[:1]).all()


def test_beyond_the_image_its_border_goes_on(noise):
    scale = WorkingScale(230, 150, 512)
    found = working_scale.read_part(reader(noise), scale, (0, 0, *scale.working_size))
    assert found.shape == (80, 128, 3)
    assert (found[:, 116:] == found[:, 115:116]).all()
    assert (found[76:] == found[75:76]).all()


@pytest.mark.parametrize("side", [1204, 611, 365, 301, 171, 101])
def test_parts_have_the_pixels_of_the_whole(noise, side):
    scale = WorkingScale(noise.shape[1], noise.shape[0], side)
    width, height = scale.working_size
    whole = working_scale.read_part(reader(noise), scale, (0, 0, width, height))
    for top in range(0, height, 16):
        for left in range(0, width, 32):
            place = (left, top, min(width, left + 32), top + 16)
            part = working_scale.read_part(reader(noise), scale, place)
            assert numpy.array_equal(part, whole[top : top + 16, left : left + 32])
