"""Test what is drawn on a field, by its pixels."""

import io

import numpy
import PIL.Image
import pytest

from Classes.fields import cell_styles, overlay
from tests.support import fields


def drawn(image, *cells, caption=""):
    with PIL.Image.open(io.BytesIO(overlay.draw_overlay(image, cells, caption))) as picture:
        assert not picture.getexif()
        return numpy.asarray(picture.convert("RGB")).astype(int)


def test_a_line_around_the_cell_has_the_color_of_its_type():
    picture = drawn(fields.draw(width=1200, height=900), fields.typed(3, "neutrophil"))
    # The box of cell 3 is 150..210, 70..130; the middle of its left edge.
    assert numpy.abs(picture[100, 150] - cell_styles.STYLES["neutrophil"].color).max() < 60
    assert numpy.abs(picture[100, 180] - cell_styles.STYLES["neutrophil"].color).max() > 60


def test_a_small_photograph_is_enlarged_so_that_numbers_are_legible():
    assert drawn(fields.draw(width=200, height=150), fields.typed(1, "neutrophil")).shape[1] >= overlay.SMALLEST_SIDE


def test_a_large_photograph_keeps_its_size_and_pixels():
    image = fields.draw(width=1300, height=1000)
    picture = drawn(image, fields.typed(1, "neutrophil"))
    assert picture.shape[1] == 1300
    assert picture.shape[0] > 1000
    assert numpy.abs(picture[500:900, 500:900] - image[500:900, 500:900]).mean() < 4


def test_a_field_without_cells_and_cells_at_the_corners_are_drawn():
    image = fields.draw()
    drawn(image, caption="0")
    drawn(image, fields.typed(0, "lymphoblast"), fields.typed(12, "unknown", flags=("needs_review",)))


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ([], [((0, 0), (10, 0))]),
        ([4, 2], [((0, 0), (4, 0)), ((6, 0), (10, 0))]),
        ([3, 3], [((0, 0), (3, 0)), ((6, 0), (9, 0))]),
    ],
)
def test_dashes_have_their_lengths_and_end_with_the_line(pattern, parts):
    found = overlay.dashes((0, 0), (10, 0), pattern)
    assert numpy.array(found) == pytest.approx(numpy.array(parts))


def test_texts_use_letters_that_the_font_has():
    assert overlay.plain_letters("neutrófilo 0,10 µm") == "neutrofilo 0,10 um"
