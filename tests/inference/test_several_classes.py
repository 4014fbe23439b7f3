"""Classifier.py with a model of three classes, two of which mean the condition."""

import csv
import dataclasses
import json
import sys

import openpyxl
import pytest
from PIL import Image

import Classifier
from Classes.common import cli
from Classes.inference import model_card
from tests.support import graphs

NAMES = ("Benign", "[Malignant] Pre-B", "Pro-B")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model whose logits for a red image r are (0, 4 (r - 128) / 128, -4), and an image on either side."""
    path = graphs.write(tmp_path / "Model", classes=("0", "1", "2"))
    card = model_card.load_model_card(path)
    model_card.write_model_card(path, dataclasses.replace(card, classes=NAMES, positive=NAMES[1:]))
    for name, value in (("Benign/a.png", 64), ("[Malignant] Pre-B/b.png", 192), ("Pro-B/c.png", 192)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(graphs.red(value, size=300)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["Classifier.py"])
    return tmp_path


def classify(folder, *arguments):
    settings = ["--set", f"NetworkPath={folder}", "--set", "Precision=f32", "--labels", "folders"]
    return cli.run_cli(lambda: Classifier.main([*settings, *arguments, *NAMES]), ())


def test_side_and_class_are_judged_apart(folder, capsys):
    assert classify(folder, "--json", "o.json", "--csv", "o.csv") == 0

    content = json.loads((folder / "o.json").read_text())
    assert content["model"]["positive"] == list(NAMES[1:])
    rows = {row["truth"]: row for row in content["images"]}
    assert {name: row["class"] for name, row in rows.items()} == {
        "Benign": "Benign",
        "[Malignant] Pre-B": "[Malignant] Pre-B",
        "Pro-B": "[Malignant] Pre-B",
    }
    assert [rows[name]["correct"] for name in NAMES] == [True, True, True]
    assert [rows[name]["class_correct"] for name in NAMES] == [True, True, False]
    # exp(2) and exp(-4) over 1 + exp(2) + exp(-4).
    assert rows["Pro-B"]["class_confidence"] == pytest.approx(0.8789, abs=2e-4)
    assert rows["Pro-B"]["all_probability"] == pytest.approx(0.8811, abs=2e-4)
    assert rows["Pro-B"]["confidence"] == pytest.approx(0.8811, abs=2e-4)
    printed = capsys.readouterr().out
    assert "True Positives: 2" in printed
    assert "Classes: 2 [Malignant] Pre-B, 1 Benign" in printed
    assert "Class correct: 2 of 3" in printed
    [last] = [
        row for row in csv.DictReader((folder / "o.csv").read_text().splitlines()) if row["known class"] == "Pro-B"
    ]
    assert (last["class"], last["class probability (%)"], last["correct"], last["class correct"]) == (
        "[Malignant] Pre-B",
        "87.89",
        "True",
        "False",
    )


def test_the_workbook_counts_the_counted_classes(folder):
    card = model_card.load_model_card(folder / "Model/ALLGraph.json")
    model_card.write_model_card(folder / "Model/ALLGraph.json", dataclasses.replace(card, counted=NAMES[1:]))

    assert classify(folder, "--xlsx", "o.xlsx", "--parquet", "o.parquet") == 0

    sheet = openpyxl.load_workbook(folder / "o.xlsx")["Summary"]
    found = {row[0].value: row[1].value for row in sheet.iter_rows()}
    assert found["[Malignant] Pre-B"] == 2
    assert "Benign" not in found


def test_groups_add_up_and_a_card_keeps_them(folder):
    path = folder / "Model/ALLGraph.json"
    groups = {"malignant": NAMES[1:]}
    model_card.write_model_card(path, dataclasses.replace(model_card.load_model_card(path), groups=groups))

    assert model_card.load_model_card(path).scheme.group_names == ("Benign", "malignant")
    assert classify(folder, "--json", "o.json") == 0
    row = json.loads((folder / "o.json").read_text())["images"][1]
    assert (row["group"], row["group_confidence"]) == ("malignant", pytest.approx(0.8811, abs=2e-4))


def test_a_card_of_two_classes_has_no_new_fields(folder):
    values = json.loads(graphs.write(folder / "Two").read_text())
    card = model_card.load_model_card(folder / "Two/ALLGraph.json")
    model_card.write_model_card(folder / "Two/again.json", card)
    again = json.loads((folder / "Two/again.json").read_text())
    assert again["positive"] == values["positive"] == "1"
    assert not {"groups", "counted"} & set(again)
