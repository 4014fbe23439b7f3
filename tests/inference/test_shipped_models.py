import csv
import dataclasses
import json
import sys

import pytest
from PIL import Image

import Classifier
from Classes.common import cli
from Classes.inference import model_card
from tests.support import graphs

# The probabilities of three classes for an image of one red value r are those of the logits (0, 4 (r - 128) / 128, -4).
ABOUT = {
    "names": {"LY": "lymphocyte", "BNE": "band neutrophil", "SNE": "segmented neutrophil"},
    "groups": {"lymphocyte": ["LY"], "neutrophil": ["BNE", "SNE"]},
    "limits": ["never seen a blast", "never seen another stain"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A shipped model of three cell types, and one image that it takes for a band neutrophil."""
    path = graphs.write(tmp_path / "Model/Toy", classes=("LY", "1", "SNE"))
    card = model_card.load_model_card(path)
    card = dataclasses.replace(card, classes=("LY", "BNE", "SNE"), positive=(), cell_types=ABOUT, graph="Toy.pb")
    path.with_name("ALLGraph.pb").rename(path.with_name("Toy.pb"))
    model_card.write_model_card(path.with_name("Toy.json"), card)
    for name, value in (("a.png", 192), ("b.png", 64)):
        Image.fromarray(graphs.red(value, size=300)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["Classifier.py"])
    return tmp_path


def classify(folder, *arguments):
    settings = ["--set", f"NetworkPath={folder}", "--set", "Precision=f32"]
    return cli.run_cli(lambda: Classifier.main([*settings, *map(str, arguments)]), ())


def test_it_names_types_and_groups(folder, capsys):
    assert classify(folder, "--model", "Toy", "a.png", "b.png", "--csv", "o.csv", "--json", "o.json") == 0

    rows = list(csv.DictReader((folder / "o.csv").read_text().splitlines()))
    # exp(2) / (1 + exp(2) + exp(-4)) and exp(0) / (1 + exp(-2) + exp(-4))
    found = [(row["class"], row["cell type"], row["group"], float(row["class_confidence"])) for row in rows]
    assert found == [
        ("BNE", "band neutrophil", "neutrophil", pytest.approx(0.8789, abs=2e-4)),
        ("LY", "lymphocyte", "lymphocyte", pytest.approx(0.8668, abs=2e-4)),
    ]
    assert float(rows[0]["group_confidence"]) == pytest.approx(0.8811, abs=2e-4)
    assert json.loads((folder / "o.json").read_text())["model"]["cell_types"] == ABOUT
    printed = capsys.readouterr().out
    assert "1 neutrophil" in printed
    assert not {"verdict", "all_probability"} & set(rows[0])
    assert "never seen a blast" in printed
    assert "Research use only" in printed
    assert "ALL detected" not in printed
    assert "ALL not detected" not in printed


def test_a_broken_image_has_no_result_and_the_others_have(folder, capsys):
    (folder / "c.png").write_bytes(b"no image")

    assert classify(folder, "--model", "Toy", "a.png", "c.png", "--csv", "o.csv") == 1

    rows = list(csv.DictReader((folder / "o.csv").read_text().splitlines()))
    assert [bool(row["error"]) for row in rows] == [False, True]


def test_the_file_of_a_model_is_a_name_too(folder):
    assert classify(folder, "--model", folder / "Model/Toy/Toy.pb", "a.png") == 0
    assert classify(folder, "--model", "Nope", "a.png") == 2


def test_a_model_of_cell_types_is_not_taken_for_a_detector(folder):
    assert classify(folder, "--set", "ALLGraph=Model/Toy/Toy.pb", "a.png") == 1
