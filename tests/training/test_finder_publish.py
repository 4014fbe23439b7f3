"""`Trainer.py Finder` from drawn photographs to a model card, with two steps of training."""

import csv

import PIL.Image
import pytest

from Classes import Helpers
from Classes.common.errors import DataError
from Classes.fields import finder as field_finder
from Classes.fields import finder_card
from Classes.training import finder, finder_publish, finder_sources
from tests.support.drawn_fields import draw_field, red_centers
from tests.support.errors import raises

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.fixture
def configuration(tmp_path):
    """A configuration whose folders hold six fields, three single cells and five red-cell fields."""
    fields, cells, red = (tmp_path / name for name in ("fields", "cells", "red"))
    for folder in (fields / "images", fields / "annotations", cells / "train" / "LY", red):
        folder.mkdir(parents=True)
    for index in range(6):
        x, y = 150 + 20 * index, 200
        PIL.Image.fromarray(draw_field(500, 400, 0.1, [(x, y, 12)])).save(fields / "images" / f"field_{index}.jpg")
        boxes = [("WBC", x - 60, y - 60, x + 60, y + 60), ("WBC", 3, 3, 4, 4)]
        boxes += [("RBC", 100 * column, 300, 100 * column + 75, 375) for column in range(4)]
        content = "".join(OBJECT.format(*box) for box in boxes)
        (fields / "annotations" / f"field_{index}.xml").write_text(f"<annotation>{content}</annotation>")
    (fields / "train.txt").write_text("field_0\nfield_1\nfield_2\nfield_3\n")
    (fields / "val.txt").write_text("field_4\nfield_5\n")
    with open(cells / "boxes.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "type", "x", "y", "width", "height"])
        for index in range(3):
            name = f"train/LY/LY_{index}.jpg"
            PIL.Image.fromarray(draw_field(240, 240, 0.17, [(120, 120, 13)])).save(cells / name)
            writer.writerow([name, "LY", 0.5, 0.5, 13 / 0.17 / 240, 13 / 0.17 / 240])
    for index in range(5):
        PIL.Image.fromarray(draw_field(400, 300, 0.2)).save(red / f"{index}.jpg")
        centers = [f"{x:.0f} {y:.0f} 4\n" for x, y in red_centers(400, 300, 0.2)]
        (red / f"{index}.txt").write_text("".join(centers))
    folders = {"FinderFieldsDir": fields, "FinderCellsDir": cells, "FinderRedCellsDir": red}
    settings = [f"{key}={folder}" for key, folder in folders.items()]
    settings += [
        f"NetworkPath={tmp_path}",
        f"FinderGraph={tmp_path / 'made' / 'Finder.pb'}",
        "LogDir=_logs",
        "Epochs=1",
    ]
    return Helpers.load_config(None, [*settings, "ImageSize=80", "BatchSize=2"])


def test_photographs_are_read_with_their_scale(configuration):
    sources = finder.read_sources(configuration)

    # The first of four fields is the tuning part; two of five red-cell fields are kept back.
    assert [field.name for field in sources.fields] == ["field_1", "field_2", "field_3"]
    assert [field.name for field in sources.red_fields] == ["0", "2", "4"]
    assert len(sources.cells) == 3
    [white] = sources.fields[0].white
    # 75 pixels are 7.5 µm; the box of one pixel is left out.
    assert sources.fields[0].microns == pytest.approx(0.1)
    assert white[:4].tolist() == pytest.approx([170, 200, 120, 120])
    assert sources.red_fields[0].microns == pytest.approx(0.2, rel=0.05)
    assert not sources.cells[0].red_known


def test_a_missing_folder_is_named(configuration, tmp_path):
    with pytest.raises(DataError) as caught:
        finder_sources.read_annotated_fields(tmp_path / "none", "train")
    assert caught.value.code == "no_images"


@pytest.mark.parametrize("missing", ["val.txt", "boxes.csv", "*.jpg"])
def test_what_is_missing_is_found_before_the_training(configuration, missing):
    finder_sources.require_sources(configuration)
    for key in ("FinderFieldsDir", "FinderCellsDir", "FinderRedCellsDir"):
        for path in configuration.path(key).glob(missing):
            path.unlink()
    with raises(DataError, "no_images"):
        finder_sources.require_sources(configuration)


@pytest.mark.slow
def test_training_publishes_a_finder_with_its_metrics(configuration, monkeypatch):
    monkeypatch.setattr(finder, "BATCHES_PER_EPOCH", 2)
    (path := configuration.path("FinderGraph")).parent.mkdir()

    assert finder_publish.train_finder(configuration) == 0

    card = finder_card.load_finder_card(path.with_suffix(".json"))
    assert (card.training["step"], card.training["photographs"]["fields"]) == (2, 3)
    assert card.metrics["fields"]["cells"] == 2
    assert card.metrics["red_fields"]["fields"] == 2
    assert len(card.data) == 3
    assert "87 fields" not in path.with_name("MODEL_CARD.md").read_text()
    # The graph runs without TensorFlow.
    assert field_finder.CellFinder(card, threads=1).find(draw_field(200, 150, 0.2), scale=0.2).size == (200, 150)
