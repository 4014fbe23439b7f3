"""The cell finder that comes with the project, on drawn blood films."""

import dataclasses
import json

import numpy
import pytest

from Classes.common.errors import ConfigurationError, GraphError
from Classes.common.paths import PROJECT
from Classes.fields import finder, finder_card, scale
from tests.support.drawn_fields import draw_field

CARD = PROJECT / "Model" / "Finder" / "Finder.json"

# In µm: x, y, diameter.
WHITE = [(20, 20, 13), (60, 30, 11), (72, 33, 12), (40, 55, 16)]


@pytest.fixture(scope="module")
def shipped():
    return finder.CellFinder(CARD, threads=1)


def film(microns, **options):
    white = [(x / microns, y / microns, diameter) for x, y, diameter in WHITE]
    return draw_field(int(90 / microns), int(70 / microns), microns, white, **options)


def places(found):
    """Centers in µm, as the drawing gives them."""
    return sorted((cell.x * found.scale, cell.y * found.scale) for cell in found.cells)


@pytest.mark.parametrize("microns", [0.1, 0.2])
def test_cells_are_found_at_any_scale(shipped, microns):
    found = shipped.find(film(microns))

    assert found.scale_source == scale.RED_CELLS
    assert found.scale == pytest.approx(microns, rel=0.2)
    centers = sorted((cell.x * microns, cell.y * microns) for cell in found.cells)
    assert len(centers) == len(WHITE)
    assert numpy.abs(numpy.array(centers) - sorted((x, y) for x, y, _ in WHITE)).max() < 2


def test_a_given_scale_is_used(shipped):
    found = shipped.find(film(0.1), scale=0.1)
    assert (found.scale, found.scale_source, len(found.cells)) == (0.1, scale.GIVEN, len(WHITE))


def test_the_scale_of_the_file_is_used(shipped):
    found = shipped.find(film(0.1), scale=scale.Scale(0.1, scale.FILE))
    assert (found.scale, found.scale_source) == (0.1, scale.FILE)


def test_an_impossible_scale_is_refused(shipped):
    with pytest.raises(ConfigurationError) as caught:
        shipped.find(film(0.2), scale=40)
    assert caught.value.code == "invalid_scale"


def test_white_cells_alone_give_a_scale(shipped):
    found = shipped.find(film(0.1, red=False))
    assert (found.scale_source, len(found.cells)) == (scale.WHITE_CELLS, len(WHITE))


def test_red_cells_alone_are_no_white_cells(shipped):
    found = shipped.find(draw_field(640, 480, 0.15))
    assert (found.cells, found.scale_source) == ((), scale.RED_CELLS)
    assert found.red_cells > 20


@pytest.mark.parametrize("shape", [(300, 400), (1, 1), (7, 900), (480, 3)])
def test_empty_images_of_any_shape_hold_no_cell(shipped, shape):
    found = shipped.find(numpy.full((*shape, 3), 230, "uint8"))
    assert (found.cells, found.scale_source, found.size) == ((), scale.ASSUMED, shape[::-1])


def test_flags_of_touching_and_cut_cells(shipped):
    white = [(300, 300, 12), (415, 300, 12), (700, 300, 12), (20, 300, 12)]
    found = shipped.find(draw_field(800, 600, 0.1, white), scale=0.1)

    flags = {round(cell.x / 100): cell.flags for cell in found.cells}
    assert flags == {0: (finder.CUT,), 3: (finder.TOUCHING,), 4: (finder.TOUCHING,), 7: ()}


def test_the_size_of_the_tiles_does_not_change_the_result(shipped):
    image = numpy.tile(film(0.2), (3, 3, 1))
    expected = shipped.find(image, scale=0.2)
    assert len(expected.cells) == 9 * len(WHITE)
    for tile in (80, 160, 224):
        found = finder.CellFinder(CARD, threads=1, tile=tile).find(image, scale=0.2)
        assert len(found.cells) == len(expected.cells)
        for cell, other in zip(found.cells, expected.cells, strict=True):
            assert cell.flags == other.flags
            assert cell[:5] == pytest.approx(other[:5], abs=0.01)


def test_a_threshold_can_be_given(shipped):
    assert not finder.CellFinder(shipped.card, threshold=1.0, threads=1).find(film(0.2), scale=0.2).cells


def test_a_changed_graph_is_refused(tmp_path, shipped):
    (tmp_path / "Finder.pb").write_bytes(shipped.card.graph_path.read_bytes() + b"\0")
    finder_card.write_finder_card(dataclasses.replace(shipped.card, path=tmp_path / "Finder.json"))
    with pytest.raises(GraphError) as caught:
        finder.CellFinder(tmp_path / "Finder.json")
    assert caught.value.code == "graph_changed"


def test_a_missing_graph_is_named(tmp_path, shipped):
    finder_card.write_finder_card(dataclasses.replace(shipped.card, path=tmp_path / "Finder.json"))
    with pytest.raises(GraphError) as caught:
        finder.CellFinder(tmp_path / "Finder.json")
    assert caught.value.code == "no_model"


def test_a_card_is_read_as_it_was_written(tmp_path, shipped):
    card = dataclasses.replace(shipped.card, path=tmp_path / "Finder.json")
    finder_card.write_finder_card(card)
    assert finder_card.load_finder_card(card.path) == card


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda values: values.update(stride=0), "card_field"),
        (lambda values: values.update(graph="../Finder.pb"), "card_field"),
        (lambda values: values.pop("halo"), "card_field"),
        (lambda values: values.update(version=2), "card_version"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path, change, code):
    values = json.loads(CARD.read_text())
    del values["content_sha256"]
    change(values)
    path = tmp_path / "Finder.json"
    path.write_text(json.dumps(values))
    with pytest.raises(GraphError) as caught:
        finder_card.load_finder_card(path)
    assert caught.value.code == code


def test_a_card_that_was_changed_is_refused(tmp_path):
    values = {**json.loads(CARD.read_text()), "threshold": 0.9}
    path = tmp_path / "Finder.json"
    path.write_text(json.dumps(values))
    with pytest.raises(GraphError) as caught:
        finder_card.load_finder_card(path)
    assert caught.value.code == "card_damaged"


def test_a_card_that_is_no_json_or_missing(tmp_path):
    for content, code in ((None, "no_model"), ("{", "card_unreadable")):
        path = tmp_path / f"{code}.json"
        if content:
            path.write_text(content)
        with pytest.raises(GraphError) as caught:
            finder_card.load_finder_card(path)
        assert caught.value.code == code
