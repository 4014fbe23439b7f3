"""What the network sees of an image: the middle square, resized and scaled."""

import numpy
import PIL.Image
import pytest

from Classes.imaging import decode, network_input
from tests.support import smears
from tests.support.encoded_images import encoded, noise, smooth


def test_square_is_the_middle_of_the_image():
    image = numpy.zeros((40, 80, 3), "uint8")
    image[:, :20] = 200
    image[:, 60:] = 90

    # The middle square spans columns 20 … 60: neither of the margins shows.
    assert (network_input.center_crop_resize(image, 16) == 0).all()
    assert network_input.center_crop_resize(image, 16).shape == (16, 16, 3)


def test_square_of_the_wanted_crop_size_keeps_the_pixels():
    image = noise(32, 32)

    # 28 = 0.875 * 32 pixels from the middle, not resized at all.
    numpy.testing.assert_array_equal(network_input.center_crop_resize(image, 28), image[2:30, 2:30])


def test_square_does_not_alias():
    stripes = numpy.zeros((512, 512, 3), "uint8")
    stripes[:, ::2] = 255

    small = network_input.center_crop_resize(stripes, 32)

    # A nearest or plain bicubic sampling would answer 0 or 255 here.
    assert numpy.abs(small.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_square_of_tiny_images(shape):
    image = numpy.full((*shape, 3), 99, "uint8")

    assert (network_input.center_crop_resize(image, 10) == 99).all()


def test_reduced_scale_gives_the_same_square():
    generator = numpy.random.default_rng(1)
    image = (smooth(1100, 900) + generator.normal(0, 10, (1100, 900, 3))).clip(0, 255).astype("uint8")
    data = encoded(image, "JPEG", quality=95)
    assert decode.decode_image(data, at_least=128).shape[1] == 450

    difference = numpy.abs(
        network_input.InputSpec(112).decode_and_resize(data).astype(int)
        - network_input.center_crop_resize(decode.decode_image(data), 112)
    )

    assert difference.mean() < 0.6
    assert difference.max() <= 8


@pytest.mark.parametrize("shape", [(1, 1), (90, 70), (147, 200), (300, 360), (1500, 1200)])
def test_the_checks_see_the_same_square_as_the_network(shape):
    image = numpy.asarray(PIL.Image.fromarray(smooth(64, 64)).resize(shape[::-1], PIL.Image.Resampling.BICUBIC))
    data = encoded(image, "PNG")

    seen, small = network_input.InputSpec(64).decode_views(data)

    numpy.testing.assert_array_equal(seen, network_input.center_crop_resize(image, 64))
    assert small.shape == (128, 128, 3)
    # The picture is smooth, so every way to resize it gives nearly the same.
    expected = network_input.center_crop_resize(image, 128)
    assert numpy.abs(small.astype(int) - expected).mean() < 1.5


def test_what_the_checks_see_does_not_depend_on_the_network():
    data = encoded(smears.cell(1, 3, size=360), "PNG")

    smalls = [network_input.InputSpec(size).decode_views(data)[1] for size in (32, 128, 299)]

    assert all(numpy.array_equal(smalls[0], each) for each in smalls)


def test_pixels_are_scaled_for_the_network():
    pixels = numpy.array([[[[0, 128, 255]]]], "uint8")

    scaled = network_input.normalize(pixels)

    assert scaled.dtype == numpy.float32
    numpy.testing.assert_array_equal(scaled, numpy.float32([[[[-1, 0, 127 / 128]]]]))
    numpy.testing.assert_allclose(network_input.normalize(pixels, 100.0), [[[[-1, 0.28, 1.55]]]], rtol=1e-6)


def test_a_view_scales_and_orders_the_channels():
    pixels = numpy.array([[[[255, 51, 0]]]], "uint8")

    seen = network_input.InputSpec(1, mean=0, scale=255, channels="BGR").normalize(pixels)

    numpy.testing.assert_allclose(seen, [[[[0, 0.2, 1]]]], rtol=1e-6)
    assert seen.flags["C_CONTIGUOUS"]


def test_a_view_may_see_the_whole_of_the_shorter_side():
    image = numpy.zeros((64, 64, 3), "uint8")
    image[:3] = 255

    seen, whole = (
        network_input.InputSpec(32, crop=crop).decode_and_resize(smears.png(image))
        for crop in (network_input.CROP_FRACTION, 1.0)
    )

    assert seen.max() == 0, "the rim is cut off"
    assert whole[0].min() > 200
