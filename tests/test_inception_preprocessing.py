import numpy
import pytest
import tensorflow as tf

from Classes import Images, inception_preprocessing


def image(height=120, width=90):
    return numpy.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")


def test_a_view_has_the_networks_size_and_the_seed_decides_it():
    first, again, other = (inception_preprocessing.distort(image(), 75, 0.6, [1, seed]) for seed in (1, 1, 2))

    assert first.shape == (75, 75, 3)
    assert first.dtype == tf.uint8
    numpy.testing.assert_array_equal(first, again)
    assert not numpy.array_equal(first, other)


def test_a_crop_keeps_its_share():
    # A ramp from left to right and top to bottom tells which part of the image a crop shows.
    ramp = numpy.stack([*numpy.meshgrid(numpy.arange(100), numpy.arange(100)), numpy.zeros((100, 100))], 2)
    shares = []
    for seed in range(30):
        crop = inception_preprocessing._crop(tf.constant(ramp), 0.6, [0, seed]).numpy()
        extents = [numpy.ptp(crop[..., axis]) + 1 for axis in (0, 1)]
        shares.append(numpy.prod(extents) / 100**2)

    assert min(shares) > 0.57  # whole pixels: a side may lose one
    assert max(shares) > 0.8


def test_views_of_a_grey_image_stay_grey_in_the_mean():
    grey = numpy.full((80, 80, 3), 128, "uint8")

    views = numpy.stack([inception_preprocessing.distort(grey, 75, 0.6, [0, seed]) for seed in range(40)])

    assert 118 < views.mean() < 138
    assert views.reshape(40, -1).mean(1).std() > 3, "brightness does not vary"


def test_whole_numbers_never_wrap_on_their_way_into_the_network():
    with pytest.raises(TypeError, match="has to be float32, this one is uint8"):
        Images.network_input(tf.constant([[[[0, 127, 255]]]], tf.uint8))
    inputs = Images.network_input(tf.constant([[[[0, 128, 192]]]], tf.float32))
    assert inputs.numpy().ravel().tolist() == [-1, 0, 0.5]
