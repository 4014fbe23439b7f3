import copy
import csv
import io
import json

import pytest

from Classes import Helpers
from Classes.client import send_images, server_models
from Classes.common.errors import ALLError
from Classes.serving import app
from tests.serving.test_cell_types import CLASSES, SPLIT, SURE, FixedBackend, write_card
from tests.support import graphs, servers, services

SERVER = "http://lab:8080"


@pytest.fixture
def service(tmp_path):
    """A server of both models: its own, and one of cell types whose next probabilities are `backend.probabilities`."""
    backend = FixedBackend(SURE)
    card = write_card(tmp_path / "Types")
    found = services.create_service(tmp_path, others=[("Types", card, backend)])
    found.types = backend
    yield found
    found.close()


@pytest.fixture
def address(service):
    with servers.in_thread(app.create_app(service)) as address:
        yield address


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a_LY.png", "b_neutrophil.png"):
        (folder / name).write_bytes(services.image(192, 40))
    return folder


def send(address, folder, *sources, **options):
    configuration = graphs.configuration(folder)
    return send_images.send_images(configuration, list(map(str, sources)), server=address, **options)


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))


def test_images_are_sent_to_the_named_model(address, tmp_path, images, caplog):
    caplog.set_level("INFO")

    assert send(address, tmp_path, images, model="Types", concurrency=1, csv_path=tmp_path / "rows.csv") == 0

    first, second = table(tmp_path / "rows.csv")
    assert (first["class"], first["cell type"], first["group of classes"]) == ("LY", "lymphocyte", "lymphocyte")
    assert (first["known class"], first["correct"]) == ("LY", "True")
    # Its name states a group, and the model found another one.
    assert (second["known class"], second["correct"]) == ("neutrophil", "False")
    assert {f"probability_{name}" for name in CLASSES} <= set(first)
    assert "verdict" not in first
    assert "It has never seen a leukemic cell." in caplog.messages
    assert "Groups: 2 lymphocyte" in caplog.messages
    assert not any("ALL" in text for text in caplog.messages if text != Helpers.DISCLAIMER)


def test_a_group_without_enough_certainty_needs_review(address, service, tmp_path, images):
    service.types.probabilities = FixedBackend(SPLIT).probabilities

    send(address, tmp_path, images, model="Types", csv_path=tmp_path / "rows.csv")

    assert [(row["class"], row["needs review"]) for row in table(tmp_path / "rows.csv")] == [("BNE", "yes")] * 2


def test_without_a_name_the_default_model_answers(address, tmp_path, images):
    send(address, tmp_path, images, csv_path=tmp_path / "rows.csv")

    assert {row["result"] for row in table(tmp_path / "rows.csv")} == {"Signs of ALL"}


def test_a_name_that_the_server_does_not_have_is_an_error_before_any_image_is_sent(address, service, tmp_path, images):
    with pytest.raises(ALLError) as found:
        send(address, tmp_path, images, model="types")

    assert found.value.code == "unknown_model"
    assert "ALLGraph, Types" in str(found.value)
    assert 'model="Types"} 0.0' in service.metrics.render().decode()


def test_the_list_of_models(address, tmp_path, capsys):
    assert send_images.list_models(graphs.configuration(tmp_path), address) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["ALLGraph", "(default)", "ALL", "2"]
    assert lines[2].split()[:3] == ["Types", "types", "of"]
    assert "4 in 3 groups" in lines[2] and lines[2].endswith("macro-F1 1.000")
    assert lines[3:] == ["Types: It has never seen a leukemic cell."]


MODEL = {
    "name": "Own",
    "default": True,
    "available": True,
    "reason": None,
    "condition": {"short": "ALL", "long": "Acute Lymphoblastic Leukemia"},
    "classes": ["0", "1"],
    "class_titles": {},
    "positive": ["1"],
    "groups": {},
    "counted": ["0", "1"],
    "limits": [],
    "metrics": None,
}
UNAVAILABLE = {"name": "Own", "default": True, "available": False, "reason": "It is not trained."}


def parse(*models):
    return server_models.parse_models(json.dumps({"models": models}).encode())


def code(models, name=""):
    with pytest.raises(ALLError) as found:
        server_models.choose_model(models, name, SERVER)
    return found.value.code


def test_the_model_that_answers():
    own, other = models = parse(MODEL, {**MODEL, "name": "Other", "default": False})

    assert server_models.choose_model(models, "", SERVER) is own
    assert server_models.choose_model(models, "Other", SERVER) is other
    assert code(models, "Third") == "unknown_model"


def test_a_server_without_its_default_model():
    models = parse(UNAVAILABLE, {**MODEL, "name": "Other", "default": False})

    assert code(models) == "no_model"
    assert code(models, "Own") == "unknown_model"
    assert server_models.choose_model(models, "Other", SERVER).name == "Other"


def test_a_server_without_a_list_of_models():
    assert server_models.choose_model([], "", SERVER) is None
    assert code([], "WhiteCells") == "no_model_list"
    with pytest.raises(ALLError) as found:
        server_models.print_models([], SERVER)
    assert found.value.code == "no_model_list"


@pytest.mark.parametrize("key", MODEL)
@pytest.mark.parametrize("value", [5, [5], {"a": 5}, "\x1b[2J\n", None, {"short": 1}])
def test_whatever_a_server_says_about_its_models_is_safe(key, value, capsys):
    changed = copy.deepcopy(MODEL) | {key: value}

    models = parse(changed)

    if models:
        server_models.print_models(models, SERVER)
        assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b'{"models": 5}', b'{"models": [5]}', b"[" * 100_000])
def test_a_body_that_is_no_list_of_models(body):
    assert server_models.parse_models(body) == []
