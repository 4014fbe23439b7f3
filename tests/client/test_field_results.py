"""Test sending photographed fields to a server whose finder knows their cells."""

import contextlib
import csv
import json
import pathlib

import PIL.Image
import pytest

from Classes import Helpers
from Classes.client import field_pictures, field_results
from Classes.common.errors import ConfigurationError, DataError
from Classes.fields import classify_fields, field_outputs
from Classes.serving import field_service
from Classes.serving.models import ModelRegistry, ServedModel
from tests.support import fields, graphs, servers, services
from tests.support.errors import raises

CELLS = (fields.Cell(150, 200), fields.Cell(400, 300), fields.Cell(560, 120, flags=("cut",)))
LYMPHOCYTE = (0.9, 0.02, 0.06, 0.02)


class Finder(fields.HandFinder):
    """Takes the scale as the real finder does."""

    def find(self, image, scale=None):
        return super().find(image, scale.microns if scale else None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two fields of three cells, and a gray photograph."""
    fields.photographs(tmp_path / "photographs", CELLS, "c.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def serving(folder):
    """Yield the address of a server without an own model."""
    configuration = graphs.configuration(folder)
    types = ServedModel("WhiteCells", configuration, fields.card(), fields.HandBackend(LYMPHOCYTE))
    analyzer = field_service.FieldAnalyzer(configuration, ModelRegistry([types]), Finder(CELLS))
    client = services.client(
        folder,
        card=fields.card(),
        fields=analyzer,
        others=[("WhiteCells", fields.card(), fields.HandBackend(LYMPHOCYTE))],
        unavailable={"ALLGraph": "Not trained."},
    )
    try:
        with servers.in_thread(client.application) as address:
            yield address
    finally:
        client.service.close()


def send(folder, *sources, **options):
    configuration = Helpers.load_config(None, [f"NetworkPath={folder}"])
    with serving(folder) as address:
        return field_results.send_fields(configuration, sources, server=address, **options)


def test_rows_and_counts_are_those_of_the_script(folder, monkeypatch):
    sources = ("photographs/a.png", "photographs/b.png")
    assert send(folder, *sources, csv_path="client.csv", json_path="client.json") == 0
    fields.install(monkeypatch, fields.HandFinder(CELLS))
    classify_fields.classify_fields(
        graphs.configuration(folder),
        fields.card(),
        fields.FINDER,
        sources,
        field_outputs.FieldOutputs(csv="script.csv", json="script.json"),
    )
    assert (folder / "client.csv").read_text() == (folder / "script.csv").read_text()
    client, script = (json.loads((folder / name).read_text()) for name in ("client.json", "script.json"))
    for name in ("cells", "counts", "models", "suggested", "software_version"):
        assert client[name] == script[name]
    same = {"field", "width", "height", "white_cells", "um_per_pixel", "scale_source", "code", "error"}
    for found, expected in zip(client["fields"], script["fields"], strict=True):
        assert {name: found[name] for name in same} == {name: expected[name] for name in same}


def test_a_photograph_without_a_result_does_not_stop_the_others(folder):
    assert send(folder, "photographs", csv_path="o.csv", json_path="o.json") == 1
    found = json.loads((folder / "o.json").read_text())
    assert [field["code"] for field in found["fields"]] == [None, None, "not_a_smear"]
    assert found["counts"]["white_cells"] == 6
    rows = list(csv.DictReader((folder / "o.csv").read_text().splitlines()))
    assert [row["field"] for row in rows] == ["photographs/a.png"] * 3 + ["photographs/b.png"] * 3


def test_the_scale_and_the_pictures(folder):
    pictures = field_pictures.PictureFolders("boxes", "cells")
    assert send(folder, "photographs", json_path="o.json", scale=0.2, pictures=pictures) == 1
    found = json.loads(pathlib.Path("o.json").read_text())
    counted = [field for field in found["fields"] if not field["error"]]
    assert [(field["um_per_pixel"], field["scale_source"]) for field in counted] == [(0.2, "given")] * 2
    assert not set(field_pictures.NAMES) & set(counted[0])
    overlays = sorted(pathlib.Path("boxes").iterdir())
    assert [path.name for path in overlays] == ["a.jpg", "b.jpg"]
    with PIL.Image.open(overlays[0]) as overlay:
        assert overlay.format == "JPEG"
    crops = sorted(str(path) for path in pathlib.Path("cells").rglob("*.jpg"))
    assert crops == [f"cells/lymphocyte/{name}_00{number}.jpg" for name in "ab" for number in (1, 2, 3)]
    with raises(ConfigurationError, "folder_not_empty"):
        send(folder, "photographs", pictures=pictures)


def test_nothing_to_send(folder):
    (folder / "empty").mkdir()
    with raises(DataError, "no_images"):
        send(folder, "empty")


GOOD = {
    "um_per_pixel": 0.1,
    "scale_source": "file",
    "models": {"blasts": None},
    "counts": {"blasts": None},
    "cells": [{"cell": 1, "group": "lymphocyte", "blast": None, "unlike_training": False, "needs_review": False}],
}
JPEG = "data:image/jpeg;base64,/9j/"
METRIC = {"value": 0.9, "interval": [0.8, 0.95]}
BLASTS = {
    "models": {"blasts": {"sensitivity": METRIC, "specificity": METRIC}},
    "counts": {"blasts": {"type": "lymphoblast"}},
}


def parse(fields, status=200):
    return field_results.parse_field("a.png", status, json.dumps(fields).encode())


def test_the_rates_of_the_own_model_are_read():
    assert parse(GOOD)["rates"] == [None, None]
    found = parse(GOOD | BLASTS)
    assert found["blast"] == "lymphoblast"
    assert [rate.value for rate in found["rates"]] == [0.9, 0.9]


@pytest.mark.parametrize(
    "change",
    [
        {"cells": None},
        {"cells": [1]},
        {"cells": [{"group": "lymphocyte"}]},
        {"cells": [GOOD["cells"][0] | {"blast": "no"}]},
        {"cells": [GOOD["cells"][0] | {"x": [1]}]},
        {"cells": [GOOD["cells"][0] | {"x": float("nan")}]},
        {"cells": GOOD["cells"] * (field_results.MAX_CELLS + 1)},
        {"crops": []},
        {"crops": ["data:image/jpeg;base64,AAAA"]},
        {"crops": [JPEG], "cells": [GOOD["cells"][0] | {"group": "../up"}]},
        {"overlay": "x"},
        {"um_per_pixel": "1"},
        {"scale_source": 1},
        {"models": None},
        {"models": {"blasts": {"sensitivity": {"value": "x", "interval": [1]}}}},
    ],
)
def test_an_answer_of_another_server_is_an_error(change):
    assert set(parse(GOOD | change)) == {"error", "code"}


def test_errors_keep_their_code():
    found = parse({"code": "not_a_smear", "message": "not a\nsmear"}, 422)
    assert found["code"] == "not_a_smear"
    assert "\n" not in found["error"]
    assert field_results.parse_field("a.png", 502, b"<html>")["code"] is None
