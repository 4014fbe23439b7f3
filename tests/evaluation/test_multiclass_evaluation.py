"""Validation.py on three classes: metrics.json, plots, report, model card and terminal."""

import hashlib
import json

import numpy
import pytest

from Classes.common import json_files
from Classes.dataset import shard_writer
from Classes.dataset.image_records import ImageRecord
from Classes.evaluation import evaluate, multiclass_plots, run_comparison
from tests.support import graphs, smears

CLASSES = ["normal", "[Malignant] Pre-B", "幼稚"]

# (true class, red, green); the graph says the second class for red, the third for green, else the first.
IMAGES = [
    (0, 0, 0), (0, 10, 0), (0, 250, 0),
    (1, 255, 0), (1, 240, 0), (1, 0, 240),
    (2, 0, 255), (2, 0, 250), (2, 0, 230),
]  # fmt: skip
CONFUSION = [[2, 1, 0], [0, 2, 1], [0, 0, 3]]


def item(folder, name, label, red, green):
    pixels = graphs.red(red, 60)
    pixels[..., 1] = green
    # Of another size each, so that no two files are the same.
    content = smears.png(numpy.ascontiguousarray(pixels[:, : 59 - int(name)]))
    path = folder / f"{name}.png"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return ImageRecord(str(path), CLASSES[label], label, name, digest, len(content), "png", 59 - int(name), 60)


def evaluated(folder, positive):
    """The content of metrics.json of a model with three classes, of which two form a group."""
    (folder / "Model" / "Data").mkdir(parents=True)
    settings = ["Shards=1", f"PositiveClass={json.dumps(positive)}"]
    configuration = graphs.configuration(folder, *settings)
    items = [item(folder, str(number), *image) for number, image in enumerate(IMAGES)]
    train = [item(folder, str(number), number % 3, 9 + number, 3) for number in range(20, 32)]
    splits = {"train": train, "validation": items}
    manifest = shard_writer.write_shards(configuration, splits, {"classes": CLASSES, "synthetic": False})
    card = {"positive": positive, "groups": {"ill": CLASSES[1:]}, "data": {"manifest_sha256": manifest.sha256}}
    graphs.write(folder / "Model", classes=CLASSES, **card)
    assert evaluate.evaluate_model(configuration) == 0
    return configuration, json_files.read_json(configuration.path("LogDirEval") / "metrics.json")


@pytest.mark.slow
def test_a_model_that_detects_disease_among_several_classes(tmp_path, capsys):
    configuration, found = evaluated(tmp_path, CLASSES[1:])

    multiclass = found["multiclass"]
    assert multiclass["confusion"] == CONFUSION
    assert [row["support"] for row in multiclass["classes"].values()] == [3, 3, 3]
    assert multiclass["accuracy"]["of"] == [7, 9]
    assert multiclass["groups"]["confusion"] == [[2, 1], [0, 6]]
    # Disease or not has the counts of the same predictions.
    assert found["counts"] == {
        "true_positives": 6, "false_positives": 1, "true_negatives": 2, "false_negatives": 0
    }  # fmt: skip
    assert [row["predicted"] for row in found["predictions"]][2] == CLASSES[1]
    assert found["color_baseline"]["accuracy"]["of"][1] == 9
    assert found["color_baseline"]["multiclass"]["accuracy"]["of"][1] == 9
    folder = configuration.path("LogDirEval")
    for name in (*multiclass_plots.FILES, "confusion.png", "roc.png"):
        assert (folder / name).is_file()
    page = (configuration.path("ReportDir") / "Report.html").read_text(encoding="utf-8")
    card = (tmp_path / "Model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for text in (page, card, printed):
        assert all(name in text for name in CLASSES)
    assert card.count(f"| {CLASSES[1]} | 3 |") == 1
    table = [line.split("|") for line in card.splitlines() if line.startswith((f"| {CLASSES[1]} |", "| class |"))]
    assert len(table) == 2
    assert len(table[0]) == len(table[1])
    assert 'id="classes"' in page
    assert 'id="calibration"' in page
    stored = json_files.read_json(configuration.card)["metrics"]
    assert stored["multiclass"]["macro_f1"] == multiclass["macro_f1"]
    assert stored["color_baseline"] == found["color_baseline"]


@pytest.mark.slow
def test_a_model_that_detects_nothing(tmp_path):
    configuration, found = evaluated(tmp_path, [])

    assert found["multiclass"]["confusion"] == CONFUSION
    assert found["accuracy"] == found["multiclass"]["accuracy"]
    assert "counts" not in found
    assert [row["correct"] for row in found["predictions"]].count(True) == 7
    page = (configuration.path("ReportDir") / "Report.html").read_text(encoding="utf-8")
    assert 'id="classes"' in page
    assert 'id="calibration"' not in page
    assert not (configuration.path("LogDirEval") / "confusion.png").exists()
    assert (configuration.path("LogDirEval") / "confusion_classes.png").is_file()
    run = run_comparison.read_run(next(configuration.path("RunsDir").iterdir()))
    assert any("77.8" in line for line in run_comparison.format_table([run], {}, 80))
    assert "detects nothing" in run_comparison.render_page([run], {}, configuration.condition)
