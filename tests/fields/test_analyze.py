"""Test the way from a photograph to typed cells, with a finder and models whose answers are known."""

import numpy
import pytest

from Classes.common.errors import ImageError
from Classes.fields import analyze, field_check, typed_cells
from tests.support import fields
from tests.support.errors import raises

LYMPHOCYTE, SEGMENTED = (0.9, 0.02, 0.06, 0.02), (0.1, 0.3, 0.58, 0.02)
CELLS = (fields.Cell(500, 300), fields.Cell(400, 100, flags=("touching",)), fields.Cell(100, 110))


def analyze_drawn(cells, *rows, scale=None, **fields_of_card):
    finder = fields.HandFinder(tuple(cells))
    return analyze.analyze_field(fields.draw(cells), "a.png", finder, fields.typer(*rows, **fields_of_card), scale)


def test_cells_are_numbered_in_reading_order_and_keep_their_place():
    found = analyze_drawn(CELLS, LYMPHOCYTE)
    assert [(cell.number, cell.x, cell.y) for cell in found.cells] == [(1, 100, 110), (2, 400, 100), (3, 500, 300)]
    assert found.cells[0].box == (70, 80, 130, 140)
    assert (found.width, found.height, found.scale, found.scale_source) == (640, 480, 0.25, "red_cells")


def test_each_cell_gets_the_answer_for_its_own_crop():
    found = analyze_drawn(CELLS, LYMPHOCYTE, SEGMENTED, LYMPHOCYTE)
    assert [cell.name for cell in found.cells] == ["lymphocyte", "segmented neutrophil", "lymphocyte"]
    middle = found.cells[1]
    # 0.3 + 0.58
    assert (middle.group, middle.group_confidence, middle.confidence) == ("neutrophil", 0.88, 0.58)


def test_a_crop_shows_the_cell_in_its_middle_and_37_micrometers():
    image = fields.draw(CELLS)
    crop = analyze.FieldCrops(image, [fields.Cell(400, 100)], 0.25)[0]
    # 37 µm / 0.25 µm per pixel
    assert crop.shape == (148, 148, 3)
    assert (crop == image[26:174, 326:474]).all()


def test_the_flags_of_the_finder_stay_and_a_cell_with_low_confidence_needs_review():
    found = analyze_drawn(CELLS, (0.6, 0.2, 0.1, 0.1), LYMPHOCYTE, LYMPHOCYTE)
    assert found.cells[0].flags == (typed_cells.NEEDS_REVIEW,)
    assert found.cells[0].reasons == ("low_confidence",)
    assert found.cells[1].flags == (typed_cells.TOUCHING,)


def test_a_cell_at_the_border_needs_review():
    found = analyze_drawn([fields.Cell(10, 100, flags=("cut",))], LYMPHOCYTE)
    assert found.cells[0].flags == (typed_cells.CUT_BY_BORDER, typed_cells.NEEDS_REVIEW)


def test_a_given_scale_reaches_the_finder():
    finder = fields.HandFinder(CELLS)
    found = analyze.analyze_field(fields.draw(CELLS), "a.png", finder, fields.typer(LYMPHOCYTE), 0.1)
    assert (finder.scale, found.scale, found.scale_source) == (0.1, 0.1, "given")


def test_a_scale_that_was_only_assumed_is_unknown():
    finder = fields.HandFinder(CELLS, source="assumed")
    found = analyze.analyze_field(fields.draw(CELLS), "a.png", finder, fields.typer(LYMPHOCYTE))
    assert (found.scale, found.scale_source) == (None, "assumed")


def test_a_field_without_white_cells_is_a_result():
    assert analyze_drawn([], LYMPHOCYTE).cells == ()


def test_a_row_has_micrometers_only_with_a_scale():
    cell = analyze_drawn(CELLS, LYMPHOCYTE).cells[0]
    row = cell.row("a.png", 0.25)
    assert (row["x"], row["x_um"], row["width_um"], row["touching"]) == (100, 25, 15, False)
    assert cell.row("a.png")["x_um"] is None


def test_more_cells_than_a_field_can_hold_have_no_count():
    cells = [fields.Cell(100, 100)] * (field_check.MAX_CELLS + 1)
    finder = fields.HandFinder(tuple(cells))
    with raises(ImageError, "too_many_cells"):
        analyze.analyze_field(fields.draw(), "a.png", finder, fields.typer(LYMPHOCYTE))


@pytest.mark.parametrize("count", [3, 4])
def test_a_field_in_which_nothing_looks_like_a_cell_has_no_count(count):
    # Squares of two colors: stained, but no cells. Every one is judged by the check of the image.
    image = fields.draw()
    places = [fields.Cell(100 + 120 * index, 240) for index in range(count)]
    for place in places:
        image[170:310, int(place.x) - 70 : int(place.x) + 70] = (150, 40, 150)
    with pytest.raises(ImageError):
        analyze.analyze_field(
            image, "a.png", fields.HandFinder(tuple(places)), fields.typer(LYMPHOCYTE, image_check=None)
        )


def test_what_is_classified_is_what_the_network_sees():
    typer = fields.typer(LYMPHOCYTE)
    image = fields.draw(CELLS)
    analyze.analyze_field(image, "a.png", fields.HandFinder(CELLS), typer)
    batch = typer.backend.batches[0]
    assert batch.shape == (3, 64, 64, 3)
    assert batch.dtype == numpy.uint8
    # The middle of a drawn cell is its nucleus.
    assert numpy.abs(batch[0, 32, 32].astype(int) - fields.NUCLEUS).max() < 15


def test_without_a_model_of_blasts_nothing_is_said_about_blasts():
    assert fields.typed(1, "lymphocyte").row("a.png")["blast"] is None
    assert fields.typed(1, "lymphocyte", blast_probability=0.2).row("a.png")["blast"] is False
    assert fields.typed(1, "lymphoblast", blast_probability=0.9, is_blast=True).row("a.png")["blast"] is True
