import numpy
import pytest
import tensorflow as tf

from Classes import Helpers, inception_preprocessing
from Classes.imaging import network_input
from Classes.inception_preprocessing import DistortionConfig


def image(height=120, width=90):
    return numpy.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")


def test_a_view_has_the_networks_size_and_the_seed_decides_it():
    first, again, other = (
        inception_preprocessing.distort_image(image(), 75, DistortionConfig(), [1, seed]) for seed in (1, 1, 2)
    )

    assert first.shape == (75, 75, 3)
    assert first.dtype == tf.uint8
    numpy.testing.assert_array_equal(first, again)
    assert not numpy.array_equal(first, other)


def test_a_crop_keeps_its_fraction_of_the_area():
    # A ramp from left to right and top to bottom shows which part of the image a crop has.
    ramp = numpy.stack([*numpy.meshgrid(numpy.arange(100), numpy.arange(100)), numpy.zeros((100, 100))], 2)
    fractions = []
    for seed in range(30):
        crop = inception_preprocessing._crop(tf.constant(ramp), 0.6, [0, seed]).numpy()
        extents = [numpy.ptp(crop[..., axis]) + 1 for axis in (0, 1)]
        fractions.append(numpy.prod(extents) / 100**2)

    assert min(fractions) > 0.57  # whole pixels: a side may lose one
    assert max(fractions) > 0.8


def test_views_of_a_grey_image_stay_grey_in_the_mean():
    grey = numpy.full((80, 80, 3), 128, "uint8")

    views = numpy.stack(
        [inception_preprocessing.distort_image(grey, 75, DistortionConfig(), [0, seed]) for seed in range(40)]
    )

    assert 118 < views.mean() < 138
    assert views.reshape(40, -1).mean(1).std() > 3, "brightness does not vary"


def test_whole_numbers_never_wrap_on_their_way_into_the_network():
    with pytest.raises(TypeError):
        network_input.normalize(tf.constant([[[[0, 127, 255]]]], tf.uint8))
    inputs = network_input.normalize(tf.constant([[[[0, 128, 192]]]], tf.float32))
    assert inputs.numpy().ravel().tolist() == [-1, 0, 0.5]


NOTHING = DistortionConfig(area=1, flip=False, brightness=0, saturation=0, hue=0, contrast=0)


def distorted(pixels, seed=1, size=None, **changes):
    view = inception_preprocessing.distort_image(pixels, size or len(pixels), NOTHING._replace(**changes), [0, seed])
    return view.numpy()


def smooth(side=90):
    """A picture without symmetry that survives bilinear sampling."""
    rows, columns = numpy.mgrid[:side, :side] / side
    waves = [numpy.sin(5 * rows + 2 * columns), numpy.cos(4 * columns), rows * columns]
    return (128 + 80 * numpy.stack(waves, 2)).astype("uint8")


def test_the_configuration_gives_the_historic_amounts():
    assert inception_preprocessing.distortion_config(Helpers.load_config()) == DistortionConfig()
    configuration = Helpers.load_config(
        settings=["DistortionRotation=180", "DistortionStain=0.3", "DistortionFlip=false"]
    )
    assert inception_preprocessing.distortion_config(configuration) == DistortionConfig(
        rotation=180, stain=0.3, flip=False
    )


def test_no_step_but_the_crop_is_left_when_all_amounts_are_zero():
    # The whole of a square is the only crop of its full area; a second sampling must not move it.
    pixels = smooth()
    views = [distorted(pixels, seed) for seed in range(4)]

    for view in views:
        assert numpy.abs(view.astype(int) - pixels).max() <= 1


def test_flips_alone_give_the_four_mirror_images():
    pixels = smooth()
    expected = [pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1]]

    seen = set()
    for seed in range(24):
        view = distorted(pixels, seed, flip=True).astype(int)
        (which,) = [number for number, each in enumerate(expected) if numpy.abs(view - each).max() <= 1]
        seen.add(which)

    assert seen == {0, 1, 2, 3}


def test_a_rotation_turns_about_the_middle(monkeypatch):
    import scipy.ndimage

    pixels = smooth(91)
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *_: tf.constant(30.0))

    wanted = NOTHING._replace(rotation=30)
    turned = inception_preprocessing._rotate_and_scale(tf.constant(pixels), wanted, [0, 0], [0, 1]).numpy()

    # Positive angles turn the picture alike in both: the row axis points down.
    expected = scipy.ndimage.rotate(pixels.astype(float), 30, reshape=False, order=1)
    inside = numpy.hypot(*(numpy.mgrid[:91, :91] - 45)) < 44
    assert numpy.abs(turned - expected)[inside].max() < 1.5
    assert (turned[0, 0] > 0).all(), "the corners are filled with picture"


def test_rotations_stay_below_their_limit_and_differ():
    pixels = smooth()
    views = numpy.stack([distorted(pixels, seed, rotation=5) for seed in range(8)]).astype(int)

    assert len({view.tobytes() for view in views}) == 8
    middle = numpy.abs(views - pixels)[:, 40:50, 40:50]
    assert middle.max() < 12
    wild = numpy.stack([distorted(pixels, seed, rotation=180) for seed in range(8)]).astype(int)
    assert numpy.abs(wild - pixels).mean() > 3 * numpy.abs(views - pixels).mean()


def test_the_dyes_are_taken_apart_and_put_together():
    amounts = numpy.array([0.8, 0.3, 0.0])
    pixel = 256 * numpy.exp(-amounts @ inception_preprocessing.STAIN_MATRIX) - 1
    pixels = numpy.broadcast_to(pixel.round(), (75, 75, 3)).astype("uint8")

    for seed in range(6):
        factors = tf.random.stateless_uniform([2], tf.random.fold_in([0, seed], 2), 0.6, 1.4).numpy()
        expected = 256 * numpy.exp(-(amounts * [*factors, 1]) @ inception_preprocessing.STAIN_MATRIX) - 1
        numpy.testing.assert_allclose(distorted(pixels, seed, stain=0.4)[40, 40], expected, atol=1.6)


def test_the_empty_part_of_a_smear_stays_empty_whatever_the_dyes():
    white = numpy.full((75, 75, 3), 255, "uint8")

    assert (distorted(white, 3, stain=0.9) == 255).all()


def test_one_amount_changes_one_thing():
    pixels = smooth()
    gray = numpy.full((75, 75, 3), 100, "uint8")

    brighter = distorted(pixels, 4, brightness=32).astype(int) - pixels
    inner = brighter[(pixels > 40) & (pixels < 215)]
    assert numpy.ptp(inner) <= 2
    assert 0 < abs(inner.mean()) <= 32
    for name, amount in (("saturation", 0.5), ("hue", 0.4), ("contrast", 0.5)):
        assert numpy.abs(distorted(gray, 4, **{name: amount}).astype(int) - 100).max() <= 1, name
        assert numpy.abs(distorted(pixels, 4, **{name: amount}).astype(int) - pixels).max() > 5, name


def test_a_scale_enlarges_or_reduces_about_the_middle(monkeypatch):
    import scipy.ndimage

    pixels = smooth(91)
    for factor in (0.8, 1.25):
        monkeypatch.setattr(
            tf.random, "stateless_uniform", lambda *_, factor=factor: tf.constant(float(numpy.log(factor)), tf.float32)
        )
        scaled = distorted(pixels, scale=0.25)

        # The pixel at distance d of the middle comes from the distance d / factor.
        expected = scipy.ndimage.affine_transform(
            pixels.astype(float), [1 / factor, 1 / factor, 1], [45 - 45 / factor, 45 - 45 / factor, 0], order=1
        )
        inside = slice(20, 71)
        assert numpy.abs(scaled - expected)[inside, inside].max() < 1.6


def test_a_scale_of_a_quarter_stays_between_four_fifths_and_five_quarters():
    disc = numpy.hypot(*(numpy.mgrid[:91, :91] - 45)) < 20
    pixels = numpy.where(disc[..., None], 40, 220).astype("uint8").repeat(3, 2)

    areas = numpy.array([(distorted(pixels, seed, scale=0.25)[..., 0] < 130).sum() for seed in range(40)])
    factors = numpy.sqrt(areas / disc.sum())

    assert 0.78 < factors.min() < 0.9
    assert 1.1 < factors.max() < 1.27


def test_light_multiplies_each_channel_by_one_factor():
    pixels = smooth()
    dark = numpy.zeros((75, 75, 3), "uint8")
    factors = []
    for seed in range(30):
        changed = distorted(pixels // 2, seed, light=0.4).astype(float)
        ratios = (changed / numpy.maximum(pixels // 2, 1))[pixels.min(2) > 60]
        assert (numpy.ptp(ratios, axis=0) < 0.06).all(), "the factor differs between pixels"
        factors.append(ratios.mean(0))

    means = numpy.mean(factors, axis=1)
    assert 0.54 <= means.min() < 0.75
    assert 1.25 < means.max() <= 1.54
    assert numpy.ptp(factors, axis=1).max() > 0.05, "the color of the light does not vary"
    assert not distorted(dark, light=0.4).any()


def test_blur_is_a_gaussian_and_leaves_half_of_the_images_sharp(monkeypatch):
    import scipy.ndimage

    noise = numpy.random.default_rng(2).integers(0, 256, (75, 75, 3), dtype="uint8")
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *_: tf.constant(1.3))
    expected = scipy.ndimage.gaussian_filter(noise.astype(float), (1.3, 1.3, 0), mode="mirror", radius=(4, 4, 0))
    assert numpy.abs(distorted(noise, blur=2) - expected).max() <= 1
    monkeypatch.undo()

    sharp = sum(numpy.array_equal(distorted(noise, seed, blur=2), noise) for seed in range(40))

    assert 10 < sharp < 30
