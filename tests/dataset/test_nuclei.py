"""Nuclei are found where they were drawn, and in the same place in a crop, a mirrored or a smaller copy."""

import numpy
import PIL.Image
import pytest

from Classes.dataset import nuclei


def disc(row, column, radius, side=192, dark=90, bright=220, bumps=0.0):
    """uint8 [side, side, 3]: a dark disc, with waves along its outline, whose area is that of the radius."""
    rows, columns = numpy.mgrid[:side, :side] + 0.5 - numpy.array([row, column])[:, None, None]
    angles = numpy.arctan2(rows, columns)
    outline = radius * (1 + bumps * numpy.cos(3 * angles)) / numpy.sqrt(1 + bumps**2 / 2)
    inside = numpy.clip(outline - numpy.hypot(rows, columns) + 0.5, 0, 1)
    return numpy.repeat((bright + (dark - bright) * inside)[..., None], 3, axis=2).round().astype("uint8")


def find(image):
    """Nuclei in pixels of the image."""
    picture = nuclei.gray_picture(image, nuclei.SIDE)
    return nuclei.find(image, picture) * (min(image.shape[:2]) / nuclei.SIDE)


@pytest.mark.parametrize(("row", "column", "radius"), [(96, 96, 30), (80.3, 110.8, 24.5), (101.7, 90.2, 50)])
@pytest.mark.parametrize("bumps", [0, 0.1])
def test_center_and_radius_are_those_of_the_dark_area(row, column, radius, bumps):
    found = find(disc(row, column, radius, bumps=bumps))
    assert len(found) == 1
    numpy.testing.assert_allclose(found[0, :2], (row, column), atol=0.25)
    assert found[0, 2] == pytest.approx(radius, rel=0.03)


def test_neighbors_and_borders_do_not_move_it():
    image = disc(150, 150, 36, side=300, bumps=0.08)
    # A red cell beside it, which one of the crops cuts.
    image = numpy.minimum(image, disc(150, 222, 24, side=300, dark=170))
    crops = [image[40:280, 30:270], image[70:260, 75:265], image[60:250, 60:250][:, ::-1]]
    origins = [(40, 30), (70, 75), (60, 250)]
    for crop, (top, left) in zip(crops, origins, strict=True):
        row, column, radius = find(crop)[0]
        across = left - column if left == 250 else left + column
        numpy.testing.assert_allclose((top + row, across), (150, 150), atol=0.5)
        assert radius == pytest.approx(36, rel=0.03)


def test_a_smaller_copy_has_the_same_nucleus():
    image = disc(100, 90, 30, bumps=0.1)
    small = numpy.asarray(PIL.Image.fromarray(image).resize((128, 128), PIL.Image.Resampling.BILINEAR))
    numpy.testing.assert_allclose(find(small)[0] * 1.5, find(image)[0], atol=0.5)


def test_the_background_of_a_cell_that_was_cut_out_is_not_measured():
    image = disc(96, 96, 30)
    rows, columns = numpy.mgrid[:192, :192]
    image[numpy.hypot(rows - 96, columns - 90) > 60] = 0
    found = find(image)
    numpy.testing.assert_allclose(found[0], (96, 96, 30), atol=1)


@pytest.mark.parametrize("shape", [(96, 96), (33, 400), (400, 33)])
def test_a_picture_without_a_dark_area_has_none(shape):
    for level in (0, 128, 255):
        assert len(find(numpy.full((*shape, 3), level, "uint8"))) == 0
    assert len(find(disc(96, 96, 30, dark=240, bright=120))) == 0
