"""Test what is refused as a field, by the stable codes."""

import numpy
import PIL.Image
import PIL.ImageFilter
import pytest

from Classes.common.errors import ImageError
from Classes.fields import field_check
from tests.support import fields
from tests.support.errors import raises

CELLS = (fields.Cell(150, 200), fields.Cell(400, 300))


def gray():
    light = fields.draw(CELLS).mean(axis=2).astype("uint8")
    return numpy.repeat(light[..., None], 3, axis=2)


def screen(pitch=3.3, angle=0.2):
    """A field on a screen: dark gaps between its pixels, at a small angle to the camera."""
    rows, columns = numpy.mgrid[:480, :640]
    along = columns * numpy.cos(angle) + rows * numpy.sin(angle)
    down = rows * numpy.cos(angle) - columns * numpy.sin(angle)
    grid = 0.75 + 0.25 * numpy.cos(2 * numpy.pi * along / pitch) * numpy.cos(2 * numpy.pi * down / pitch)
    return (fields.draw(CELLS) * grid[..., None]).clip(0, 255).astype("uint8")


def blurred():
    image = PIL.Image.fromarray(fields.draw(CELLS)).filter(PIL.ImageFilter.GaussianBlur(22))
    return numpy.asarray(image)


def test_a_field_is_accepted_at_any_size_and_light():
    image = fields.draw(CELLS)
    field_check.check_field(image, "a")
    field_check.check_field((image * 0.7).astype("uint8"), "a")
    field_check.check_field(numpy.asarray(PIL.Image.fromarray(image).resize((1600, 1200))), "a")
    field_check.check_field(fields.draw(), "a")


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (numpy.full((480, 640, 3), 220, "uint8"), "no_content"),
        (gray(), "not_a_smear"),
        (255 - fields.draw(CELLS), "not_a_smear"),
        (fields.draw(CELLS)[..., [1, 0, 2]], "not_a_smear"),
        (screen(), "photograph_of_a_screen"),
        (blurred(), "field_out_of_focus"),
    ],
    ids=["blank", "gray", "negative", "green", "screen", "blurred"],
)
def test_what_is_no_field_has_a_code(image, code):
    with raises(ImageError, code):
        field_check.check_field(image, "a")


def test_a_large_field_of_small_cells_is_no_empty_one():
    part = fields.draw((fields.Cell(50, 50),), 100, 100)
    field_check.check_field(numpy.tile(part, (25, 30, 1)), "a")


def test_the_blocks_of_a_jpeg_are_no_screen(tmp_path):
    PIL.Image.fromarray(fields.draw(CELLS)).save(tmp_path / "a.jpg", quality=30)
    field_check.check_field(numpy.asarray(PIL.Image.open(tmp_path / "a.jpg")), "a")


def test_an_arrow_and_a_scale_bar_do_not_matter():
    image = fields.draw(CELLS)
    image[430:440, 480:600] = 0
    image[50:60, 50:120] = (255, 255, 0)
    field_check.check_field(image, "a")


def test_a_small_image_has_no_grid():
    assert field_check.screen_grid(fields.draw(width=40, height=40)) == 0
