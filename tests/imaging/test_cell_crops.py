import numpy
import pytest

from Classes.imaging import cell_crops


def numbered(height=6, width=8):
    """uint8 [height, width, 3]; every pixel is 10 * row + column."""
    rows, columns = numpy.mgrid[:height, :width]
    return numpy.repeat((10 * rows + columns)[..., None], 3, axis=2).astype("uint8")


def test_without_scale_the_longer_side_of_the_box_takes_its_share():
    assert cell_crops.crop_side(80, 60) == pytest.approx(200)
    assert cell_crops.crop_side(60, 80, context=cell_crops.CropContext(share=0.5)) == pytest.approx(160)


def test_the_scale_decides_so_that_a_small_cell_stays_small():
    assert cell_crops.crop_side(80, 60, 0.1) == pytest.approx(370)
    assert cell_crops.crop_side(120, 120, 0.1) == pytest.approx(370)


def test_an_impossible_scale_neither_cuts_the_cell_nor_loses_it():
    assert cell_crops.crop_side(80, 60, 10) == pytest.approx(100)
    assert cell_crops.crop_side(60, 60, 0.001) == pytest.approx(400)


def test_a_point_needs_the_scale():
    assert cell_crops.crop_side(0, 0, 0.1) == pytest.approx(370)
    with pytest.raises(ValueError):
        cell_crops.crop_side(0, 0)


def test_the_crop_has_the_point_in_its_middle():
    crop = cell_crops.crop_cell(numbered(), 4, 3, 4)
    assert crop[..., 0].tolist() == [
        [12, 13, 14, 15],
        [22, 23, 24, 25],
        [32, 33, 34, 35],
        [42, 43, 44, 45],
    ]


def test_outside_of_the_field_is_the_color_of_the_background():
    crop = cell_crops.crop_cell(numbered(), 0, 0, 4, (200, 201, 202))
    assert crop[0].tolist() == [[200, 201, 202]] * 4
    assert crop[2:, 2:, 0].tolist() == [[0, 1], [10, 11]]


def test_a_point_far_outside_gives_only_background():
    crop = cell_crops.crop_cell(numbered(), -50, 90, 3, (9, 9, 9))
    assert crop.shape == (3, 3, 3) and (crop == 9).all()


def test_the_crop_is_a_copy():
    image = numbered()
    cell_crops.crop_cell(image, 4, 3, 4)[:] = 0
    assert (image == numbered()).all()
