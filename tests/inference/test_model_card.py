import json

import pytest

from Classes.common import conditions
from Classes.common.errors import GraphError
from Classes.imaging import network_input
from Classes.inference import model_card
from tests.support import graphs
from tests.support.errors import raises


@pytest.fixture
def path(tmp_path):
    return graphs.write(tmp_path, content=b"a graph")


def change(path, **fields):
    values = {**json.loads(path.read_text()), **fields}
    del values["content_sha256"]
    path.write_text(json.dumps(values))


def test_a_card_is_read_as_it_was_written(path):
    card = model_card.load_model_card(path)

    assert (card.classes, card.positive, card.threshold, card.synthetic) == (("0", "1"), ("1",), 0.5, False)
    assert card.input_spec == network_input.InputSpec(299, 128.0, 128.0, "RGB", network_input.CROP_FRACTION)
    assert card.graph_path == path.with_name("ALLGraph.pb")
    card.verify_graph()


def test_writing_a_card_keeps_every_field(path):
    before = json.loads(path.read_text())

    model_card.write_model_card(path, model_card.load_model_card(path))

    assert json.loads(path.read_text()) == before


def test_a_card_names_the_condition(path):
    change(path, condition=conditions.AML.to_json())

    assert model_card.load_model_card(path).condition == conditions.AML


def test_a_card_without_a_condition_is_of_a_model_for_all(path):
    values = json.loads(path.read_text())
    del values["content_sha256"], values["condition"]
    path.write_text(json.dumps(values))

    assert model_card.load_model_card(path).condition == conditions.ALL


def test_a_threshold_that_is_not_the_one_written_is_rejected(path):
    path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.7'))

    with raises(GraphError, "card_damaged"):
        model_card.load_model_card(path)
    change(path)
    assert model_card.load_model_card(path).threshold == 0.7, "a change that says it is one is taken"


def test_a_changed_graph_is_rejected(path):
    path.with_name("ALLGraph.pb").write_bytes(b"another graph")

    with raises(GraphError, "graph_changed"):
        model_card.load_model_card(path).verify_graph()


def test_a_missing_graph_is_rejected(path):
    path.with_name("ALLGraph.pb").unlink()

    with raises(GraphError, "graph_missing"):
        model_card.load_model_card(path).verify_graph()


def test_without_a_model(tmp_path):
    with raises(GraphError, "no_model"):
        model_card.load_model_card(tmp_path / "ALLGraph.json")


@pytest.mark.parametrize("content", ["", "{", "\x00\x01", '{"version": 1, "threshold": NaN}', "[" * 100_000])
def test_a_damaged_card_is_one_line(path, content):
    path.write_text(content)

    with pytest.raises(GraphError) as caught:
        model_card.load_model_card(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "7", "{}", '{"version": 2}'])
def test_another_version_is_named(path, content):
    path.write_text(content)

    with raises(GraphError, "card_version"):
        model_card.load_model_card(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("graph", "../../etc/passwd"),
        ("graph", ".."),
        ("graph_sha256", "0"),
        ("classes", ["1"]),
        ("classes", ["1", "1"]),
        ("positive", "ALL"),
        ("threshold", 1.5),
        ("synthetic", "no"),
        ("input", {"node": "input", "size": 299, "mean": 0}),
        ("input", {"node": "input", "mean": 128}),
        ("input", {"node": "input", "size": 299, "mean": 0, "scale": 0}),
        ("input", {"node": "input", "size": 299, "mean": 128, "channels": "GBR"}),
        ("input", {"node": "input", "size": 299, "mean": 128, "crop": 1.5}),
    ],
)
def test_a_wrong_field_is_rejected(path, field, value):
    change(path, **{field: value})

    with raises(GraphError, "card_field"):
        model_card.load_model_card(path)


def test_a_card_says_how_its_network_sees(path):
    seen = {"size": 100, "mean": 0.0, "scale": 255.0, "channels": "BGR", "crop": 1.0}
    change(path, input={"node": "input", **seen, "of a later writer": 1})

    assert model_card.load_model_card(path).input_spec == network_input.InputSpec(**seen)


def test_fields_of_a_later_writer_do_no_harm(path):
    change(path, calibration={"method": "temperature"})

    assert model_card.load_model_card(path).classes == ("0", "1")


def test_a_model_of_cell_types_detects_nothing(path):
    about = {"names": {"0": "zero", "1": "one"}, "groups": {"both": ["0", "1"]}, "limits": ["never seen a blast"]}
    change(path, positive="", cell_types=about)

    with pytest.raises(GraphError) as raised:
        model_card.load_model_card(path)

    assert raised.value.code == "cell_type_model"
    assert model_card.load_model_card(path, cell_types=True).cell_types == about
