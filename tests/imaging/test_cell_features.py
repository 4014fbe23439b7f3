"""The features are those of plain formulas: the image check and the limits in model cards were fitted to them."""

import numpy
import PIL.Image
import pytest

from Classes.imaging import cell_features, color_stats, content_check, network_input, pixel_math
from tests.support import smears


def cell(number):
    return network_input.center_crop_resize(numpy.asarray(smears.cell(number % 2, number)), 299)


def noise(side):
    return numpy.random.default_rng(side).integers(0, 256, (side, side, 3), "uint8")


@pytest.fixture(params=[cell(0), cell(1), noise(128), noise(299)], ids=["positive", "negative", "128", "299"])
def image(request):
    return request.param


def small_image(image):
    if len(image) == 128:
        return image
    return numpy.asarray(PIL.Image.fromarray(image).resize((128, 128), PIL.Image.Resampling.BOX))


def plain_density(image):
    background = numpy.array(color_stats.background_color(small_image(image)), "float32")
    small = small_image(image).astype("float32")
    return numpy.log((background + 16) / (small + 16)).clip(-1, 3)


def mean_of_four(values):
    pairs = values[0::2] + values[1::2]
    return (pairs[:, 0::2] + pairs[:, 1::2]) / 4


def repeated(values):
    return values.repeat(2, axis=0).repeat(2, axis=1)


def same(found, expected):
    return found == pytest.approx(numpy.array(expected, "float64"), rel=1e-4, abs=1e-5)


def test_signs_of_a_drawing_are_those_of_plain_formulas(image):
    light = small_image(image) @ color_stats.LUMA
    equal = (image[:: max(1, len(image) // 256), 1:] == image[:: max(1, len(image) // 256), :-1]).all(axis=2)
    colors = len(numpy.unique(small_image(image).reshape(-1, 3) >> 3, axis=0))
    share = numpy.bincount((light / 4).astype(int).ravel()) / light.size
    down, right = numpy.abs(numpy.diff(light, axis=0)[:, :-1]), numpy.abs(numpy.diff(light, axis=1)[:-1])
    edges = numpy.hypot(down, right)
    along = float(edges[numpy.minimum(down, right) < 0.1 * numpy.maximum(down, right)].sum())
    expected = [
        equal.mean(),
        numpy.log(colors),
        share.max(),
        -(share[share > 0] * numpy.log2(share[share > 0])).sum(),
        along / float(edges.sum()),
        (edges < 1.5).mean(),
    ]

    assert same(cell_features.measure(image)[-6:], expected)


def test_features_measured_in_two_steps_are_the_same(image):
    small = small_image(image)

    found = cell_features.complete(cell_features.measure_small(small), image)

    assert numpy.array_equal(found, cell_features.measure(image))
    assert numpy.array_equal(found, cell_features.measure(image, small))


def test_colors_are_those_of_plain_formulas(image):
    density = plain_density(image)
    nuclear = mean_of_four(density[..., 0].clip(0))
    mask = repeated(nuclear > pixel_math.otsu_threshold(nuclear)[0])
    mean = (density[..., 0] + density[..., 1] + density[..., 2]) / 3
    expected = []
    for part in (mask, ~mask & (mean > 0.08)):
        color = density[part].mean(axis=0)
        expected += [*(color / max(float(numpy.abs(color).sum()), 0.05)), density[part].std(axis=0).mean()]

    assert same(cell_features.measure(image)[-20:-12], expected)


def test_details_are_those_of_plain_formulas(image):
    light = small_image(image) @ color_stats.LUMA
    expected, values = [], light
    for _ in range(4):
        coarse = mean_of_four(values)
        expected.append(numpy.log(float((values - repeated(coarse)).std()) / float(light.std())))
        values = coarse

    assert same(cell_features.measure(image)[-42:-38], expected)


def test_the_middle_of_several_parts_is_measured():
    # Parts of 20, 24 and 3 of 64 pixels; the second one lies nearest to the middle.
    picture = numpy.full((256, 256, 3), 230, "uint8")
    for top, left, side in ((4, 4, 80), (112, 112, 96), (228, 20, 12)):
        picture[top : top + side, left : left + side] = (90, 40, 140)

    shapes = cell_features.measure(picture)[49:69]

    # The parts grow by a pixel at each side, so that gaps close. The last one is smaller than a fiftieth of the image.
    assert shapes[1:3].tolist() == [3, 2]
    assert shapes[8:10].tolist() == [26 * 26 / 64**2, 22 * 22 / 64**2]
    # The center of the second one, in halves of the image.
    assert shapes[11] == pytest.approx(2**0.5 * (160 - 128) / 128, abs=0.02)


def test_the_content_check_interpolates_as_numpy_does():
    values = numpy.sort(numpy.random.default_rng(1).normal(size=(3, 1024)), axis=1)

    for share in (0.02, 0.5, 0.98):
        assert numpy.array_equal(content_check.quantile(values, share), numpy.quantile(values, share, axis=1))
