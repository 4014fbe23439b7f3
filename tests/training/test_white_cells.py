import json

import numpy
import pytest

from Classes import Helpers
from Classes.common.errors import DataError
from Classes.evaluation import cell_types
from Classes.inference import model_card
from Classes.networks import pretrained_weights, registry, weight_files
from Classes.training import white_cell_images, white_cells
from tests.support import small_networks, smears

TINY = ("Epochs=1", "BatchSize=4", "Shards=1", "ValidationSize=0.3", "TrainingPrecision=f32", "BatchTestSize=10")
SMALL = (f"ImageSize={small_networks.SIZE}", "DepthMultiplier=0.1", "GroupPattern=^(.+)$")


def configuration(folder, *settings):
    path = Helpers.PROJECT / "Required" / "WhiteCells.json"
    return Helpers.load_config(path, [f"NetworkPath={folder}", *TINY, *SMALL, *settings])


def published(folder, per_type=8, held_out=2):
    """Toy cells under the names of the published images, split as published."""
    images = folder / "Model/WhiteCells/Images"
    for label in (*cell_types.NAMES, "IG"):
        for number in range(per_type + held_out):
            split = "train" if number < per_type else "val"
            path = images / split / "any folder" / f"{label}_{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = numpy.random.default_rng([number, len(label), *label.encode()])
            image = smears.cell(number % 2, number) // 2 + noise.integers(0, 120, (80, 80, 3), dtype="uint8")
            path.write_bytes(smears.png(image))
    (images / "train/readme.jpg").write_bytes(b"no cell")
    return images


def test_images_are_sorted_by_the_type_in_their_names(tmp_path):
    published(tmp_path, per_type=2, held_out=1)

    white_cell_images.collect_images(configuration(tmp_path))

    folders = sorted(path.name for path in (tmp_path / "Model/WhiteCells/Data").iterdir())
    assert folders == sorted(cell_types.NAMES), "a coarse label is not a class"
    assert len(list((tmp_path / "Model/WhiteCells/Data/BNE").iterdir())) == 2
    unseen = [path.name for path in (tmp_path / "Model/WhiteCells/Test/val").iterdir()]
    assert len(unseen) == 11
    assert "IG_000002.jpg" in unseen


def test_a_missing_type_is_named(tmp_path):
    images = published(tmp_path, per_type=1, held_out=0)
    for path in images.rglob("PMY_*.jpg"):
        path.unlink()

    with pytest.raises(DataError, match="no images of PMY") as raised:
        white_cell_images.collect_images(configuration(tmp_path))

    assert raised.value.code == "no_images"


@pytest.mark.slow
def test_one_command_from_images_to_a_measured_model_that_training_can_start_from(tmp_path):
    published(tmp_path)
    settings = configuration(tmp_path)

    assert white_cells.train_white_cells(settings) == 0

    card = model_card.load_model_card(settings.card, cell_types=True)
    card.verify_graph()
    assert card.classes == tuple(sorted(cell_types.NAMES))
    metrics = card.cell_types["metrics"]
    assert metrics["split"] == "held out"
    assert (metrics["groups"]["images"], metrics["types"]["images"]) == (22, 20)
    text = settings.card.with_name("MODEL_CARD.md").read_text()
    assert "10.17632/snkd93bnjr.1" in text
    assert "| BNE, band neutrophil | 2 |" in text
    manifest = json.loads((tmp_path / "Model/WhiteCells/Data/WhiteCells_manifest.json").read_text())
    assert {row["file"].split("/")[2] for row in manifest["tests"]} == {"val"}
    # The user's own training starts from it, at its size and width.
    own = weight_files.fit_to_weights(Helpers.load_config(None, [f"NetworkPath={tmp_path}"]))
    shapes = registry.get_network(own).variable_shapes(own)
    assert len(pretrained_weights.load_pretrained(own, shapes)) == len(shapes) - 2
