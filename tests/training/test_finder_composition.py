"""Composed training images of the cell finder: where the boxes come to lie, by hand."""

import numpy
import pytest

from Classes.training import finder_composition, finder_sources
from Classes.training.finder_sources import RED, WHITE, Photograph
from tests.support.drawn_fields import draw_field


def photograph(white=((150, 100, 13),), microns=0.1, name="drawn"):
    pixels = draw_field(300, 200, microns, white, red=False)
    boxes = [(x, y, size / microns, size / microns, WHITE) for x, y, size in white]
    return Photograph(name, pixels, microns, numpy.array(boxes, "float32").reshape(-1, 5), True)


def canvas(side=160, microns=0.4):
    image = numpy.full((side, side, 3), 230, "float32")
    return finder_composition.Canvas(image, [], numpy.ones((side, side), bool), microns)


def dark_center(image):
    """Middle of what is darker than the glass, x and y."""
    rows, columns = numpy.nonzero(image[..., 1] < 190)
    return (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2


@pytest.mark.parametrize("way", range(8))
def test_boxes_turn_with_the_pixels(way):
    drawn = photograph([(60, 40, 6)])
    pixels, boxes = finder_composition.turn(drawn.pixels, drawn.boxes, way)
    assert boxes[0, :2] == pytest.approx(dark_center(pixels), abs=2)


def test_boxes_lie_on_the_cells_that_were_placed():
    rng = numpy.random.default_rng(1)
    for _ in range(10):
        made = canvas()
        finder_composition.place(rng, made, photograph(), (0, 0, 160, 160))
        [box] = made.boxes
        assert box[:2] == pytest.approx(dark_center(made.image), abs=2)
        # 13 µm at 0.4 µm per pixel, changed by up to 8 %.
        assert 32.5 * 0.91 <= box[2] <= 32.5 * 1.09
        assert box[4:] == [WHITE, 1]


def test_a_cell_is_cut_at_the_border_of_its_region():
    boxes = numpy.array([[10, 50, 40, 40, WHITE], [-15, 50, 40, 40, RED], [200, 50, 40, 40, WHITE]], "float32")
    found = finder_composition.clip_boxes(boxes, (0, 0, 100, 100))

    # The first is 30 of 40 pixels wide, the second 5: too little to ask for an answer. The third is outside.
    assert found == [[15, 50, 30, 40, WHITE, 1], [2.5, 50, 5, 40, RED, 0]]


def test_a_pasted_cell_is_where_its_box_says_and_the_background_stays():
    made = canvas()
    pixels, mask = finder_composition.cut_out(numpy.random.default_rng(0), [photograph()], 0.4)
    box = finder_composition.paste(made, pixels, mask, numpy.array([100.0, 60.0]))

    assert box[:2] == pytest.approx([100, 60], abs=1)
    assert dark_center(made.image) == pytest.approx((100, 60), abs=2)
    assert (made.image[:20] == 230).all()
    # The corners of its box are background.
    assert mask[0, 0] == mask[-1, -1] == 0
    assert mask[mask.shape[0] // 2, mask.shape[1] // 2] == 1


def test_a_cell_that_would_hardly_be_visible_is_not_pasted():
    made = canvas()
    pixels, mask = finder_composition.cut_out(numpy.random.default_rng(0), [photograph()], 0.4)
    assert finder_composition.paste(made, pixels, mask, numpy.array([-8.0, 60.0])) is None
    assert made.boxes == []


def test_a_cell_at_the_border_is_not_cut_out():
    assert finder_composition.cut_out(numpy.random.default_rng(0), [photograph([(10, 100, 13)])], 0.4) is None


def test_the_random_numbers_alone_decide_an_image():
    sources = finder_composition.Sources([photograph()], [photograph(name="cell")], [photograph([])])
    first, second, other = (
        finder_composition.compose(numpy.random.default_rng([seed, 0]), sources, 96) for seed in (5, 5, 6)
    )
    for part, same in zip(first, second, strict=True):
        assert (part == same).all()
    assert (first[0] != other[0]).any()
    assert (first[0].shape, first[0].dtype, first[2].shape) == ((96, 96, 3), "uint8", (96, 96))


def test_one_kind_of_photographs_is_enough():
    for sources in (([photograph()], [], []), ([], [photograph()], []), ([], [], [photograph([])])):
        for seed in range(12):
            image, boxes, _ = finder_composition.compose(
                numpy.random.default_rng(seed), finder_composition.Sources(*sources), 96
            )
            assert image.shape == (96, 96, 3)
            assert boxes.shape[1] == 6
            assert numpy.isfinite(boxes).all()


def test_the_diameter_of_red_cells_is_measured():
    assert finder_sources.red_cell_diameter(draw_field(640, 480, 0.2)) == pytest.approx(37.5, rel=0.05)
    assert finder_sources.red_cell_diameter(draw_field(640, 480, 0.2, red=False)) is None
