import dataclasses
import errno
import json
import types

import numpy
import pytest

from Classes import inception_utils
from Classes.common import conditions, provenance
from Classes.common.errors import GraphError
from Classes.evaluation import calibration, operating_point
from Classes.export import freeze_graph, ncs1_compile
from Classes.inference import model_card, openvino_backend
from Classes.networks import checkpoint_files
from tests.support import changes, faults, graphs, small_networks
from tests.support.smears import png

PROGRESS = types.SimpleNamespace(step=3, loss=0.5, accuracy=0.75)
MANIFEST = types.SimpleNamespace(
    classes=["0", "1"],
    synthetic=False,
    data_set=None,
    sha256="0" * 64,
    splits={"train": [1, 2], "validation": [3]},
    paths=lambda split: [],
)


def records(count=2):
    return [types.SimpleNamespace(encoded=png(image)) for image in small_networks.images(count)]


def freeze(folder, arrays):
    configuration = small_networks.configuration(folder)
    prefix = checkpoint_files.save_checkpoint(folder / "log", 3, arrays)
    freeze_graph.freeze_checkpoint(configuration, MANIFEST, prefix, records(), PROGRESS)
    return configuration


def test_the_frozen_graph_is_readable_by_tensorflow_1_4(tmp_path):
    definition = freeze_graph.build_frozen_graph(small_networks.configuration(tmp_path), small_networks.arrays())

    assert ncs1_compile.unsupported_node(definition) is None
    placeholders = [node for node in definition.node if node.op == "Placeholder"]
    assert [node.name for node in placeholders] == ["input"]
    assert [size.size for size in placeholders[0].attr["shape"].shape.dim] == [
        1,
        small_networks.SIZE,
        small_networks.SIZE,
        3,
    ]
    assert definition.node[-1].name == "InceptionV3/Predictions/Softmax"
    assert not definition.library.function
    assert definition.versions.min_consumer <= 24


def test_the_frozen_network_has_94_convolutions_and_no_batch_norm(tmp_path):
    ops = [
        node.op
        for node in freeze_graph.build_frozen_graph(
            small_networks.configuration(tmp_path), small_networks.arrays()
        ).node
    ]

    assert ops.count("Conv2D") == 95  # 94 of the backbone and the last layer
    assert ops.count("BiasAdd") == 95
    assert not [op for op in ops if "BatchNorm" in op]


def test_freezing_writes_graph_and_card(tmp_path, caplog):
    caplog.set_level("INFO")

    configuration = freeze(tmp_path, small_networks.arrays())

    card = model_card.load_model_card(configuration.card)
    assert card.graph_sha256 == provenance.sha256_file(configuration.path("ALLGraph"))
    assert card.classes == ("0", "1")
    assert card.data["train"] == 2
    assert max(card.training["parity"].values()) <= 1e-4
    assert "Froze 378 variables." in caplog.messages
    assert "Converted 378 variables to const ops." in caplog.messages
    json.loads(configuration.card.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("culprit", ["frozen graph", "engine"])
def test_a_graph_with_other_outputs_is_not_written(tmp_path, monkeypatch, culprit):
    if culprit == "frozen graph":

        def wrong(arrays):
            folded = fold(arrays)
            folded[f"{inception_utils.LOGITS_LAYER}/biases"] = folded[f"{inception_utils.LOGITS_LAYER}/biases"] + [
                0.01,
                0,
            ]
            return {name: value.astype("float32") for name, value in folded.items()}

        fold = inception_utils.fold_batch_norm
        monkeypatch.setattr(inception_utils, "fold_batch_norm", wrong)
    else:
        monkeypatch.setattr(
            openvino_backend, "reference_outputs", lambda path, inputs: numpy.full((len(inputs), 2), numpy.nan)
        )

    with pytest.raises(GraphError) as error:
        freeze(tmp_path, small_networks.arrays())

    assert error.value.code == "parity"
    assert [path.name for path in (tmp_path / "Model").iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_failed_freeze_keeps_the_published_model(tmp_path, monkeypatch):
    configuration = freeze(tmp_path, small_networks.arrays())
    before = configuration.path("ALLGraph").read_bytes(), configuration.card.read_bytes()
    monkeypatch.setattr(openvino_backend, "reference_outputs", lambda path, inputs: numpy.zeros((len(inputs), 2)))

    with pytest.raises(GraphError) as error:
        freeze(tmp_path, small_networks.arrays(seed=1))

    assert error.value.code == "parity"

    assert (configuration.path("ALLGraph").read_bytes(), configuration.card.read_bytes()) == before


MADE = {
    "int8": {"xml_sha256": "1" * 64, "bin_sha256": "2" * 64, "images": 3},
    "compiled": {"file": "ALL.graph", "source_sha256": "3" * 64},
    "metrics": {"accuracy": {"value": 0.75}},
}


@pytest.mark.slow
def test_forms_and_metrics_of_the_same_model_stay_in_its_card(tmp_path):
    configuration = freeze(tmp_path, small_networks.arrays())
    model_card.write_model_card(
        configuration.card, dataclasses.replace(model_card.load_model_card(configuration.card), **MADE)
    )

    freeze(tmp_path, small_networks.arrays())

    again = model_card.load_model_card(configuration.card)
    assert {name: getattr(again, name) for name in MADE} == MADE


@pytest.mark.slow
def test_another_model_keeps_no_forms_and_metrics(tmp_path):
    configuration = freeze(tmp_path, small_networks.arrays())
    model_card.write_model_card(
        configuration.card, dataclasses.replace(model_card.load_model_card(configuration.card), **MADE)
    )

    freeze(tmp_path, small_networks.arrays(seed=1))

    again = model_card.load_model_card(configuration.card)
    assert [getattr(again, name) for name in MADE] == [None, None, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", 0.25), ("uncertain", [0.25, 0.75]), ("classes", ["1", "0"]), ("positive", "0")],
)
def test_metrics_at_another_operating_point_are_not_kept(tmp_path, field, value):
    configuration = freeze(tmp_path, small_networks.arrays())
    former = {**dataclasses.asdict(model_card.load_model_card(configuration.card)), **MADE, field: value}
    del former["path"]
    model_card.write_model_card(configuration.card, former)

    freeze(tmp_path, small_networks.arrays())

    again = model_card.load_model_card(configuration.card)
    assert (again.int8, again.metrics, again.compiled) == (None, None, MADE["compiled"])


@pytest.mark.slow
@pytest.mark.parametrize("free_bytes", [0, 100])
def test_a_full_disk_leaves_graph_and_card_of_one_model(tmp_path, capsys, free_bytes):
    # What is printed is kept in memory by `capsys`: pytest's own file would be the first to be full.
    configuration = freeze(tmp_path, small_networks.arrays())
    before = faults.tree(tmp_path / "Model")
    prefix = checkpoint_files.save_checkpoint(tmp_path / "log", 4, small_networks.arrays(seed=1))

    known, met = set(), None
    while met != len(known):
        met = len(known)
        with changes.disk_full_at_the_next(tmp_path / "Model", known, free_bytes):
            try:
                freeze_graph.freeze_checkpoint(configuration, MANIFEST, prefix, records(), PROGRESS)
            except OSError as error:
                assert error.errno == errno.EFBIG
                assert error.filename in (str(configuration.path("ALLGraph")), str(configuration.card))
                assert faults.tree(tmp_path / "Model") == before

    # The last one met no full disk.
    assert known
    assert faults.tree(tmp_path / "Model") != before


@pytest.mark.slow
def test_temporary_files_of_a_killed_run_are_removed_and_others_kept(tmp_path):
    (tmp_path / "Model").mkdir()
    for name in (".ALLGraph.pb.0123456789ab.tmp", ".ALLGraph.json.0123456789ab.tmp", ".mine.tmp", "ALLGraph.old.pb"):
        (tmp_path / "Model" / name).touch()

    freeze(tmp_path, small_networks.arrays())

    found = {path.name for path in (tmp_path / "Model").iterdir()}
    assert found == {".lock", ".mine.tmp", "ALLGraph.old.pb", "ALLGraph.pb", "ALLGraph.json"}


def calibrated(folder, arrays, monkeypatch, choice):
    """Freeze with a choice that is not fitted but given, after a training that could stop early."""
    configuration = small_networks.configuration(folder, "Patience=3")
    prefix = checkpoint_files.save_checkpoint(folder / "log", 3, arrays)
    monkeypatch.setattr(operating_point, "choose_operating_point", lambda *_: (choice, {"note": None}))
    freeze_graph.freeze_checkpoint(configuration, MANIFEST, prefix, records(), PROGRESS, lambda arrays: None)
    return configuration


@pytest.mark.slow
def test_temperature_and_threshold_are_in_the_graph_and_the_card(tmp_path, monkeypatch):
    arrays = small_networks.arrays()
    inputs = (
        numpy.random.default_rng(0).uniform(-1, 1, (2, small_networks.SIZE, small_networks.SIZE, 3)).astype("float32")
    )
    before = freeze(tmp_path / "before", arrays)
    after = calibrated(tmp_path / "after", arrays, monkeypatch, operating_point.OperatingPoint(4.0, 0.25, (0.1, 0.6)))

    card = model_card.load_model_card(after.card)
    answers = [openvino_backend.reference_outputs(each.path("ALLGraph"), inputs) for each in (before, after)]
    logits = [numpy.log(each[:, 1] / each[:, 0]) for each in answers]
    numpy.testing.assert_allclose(logits[1], logits[0] / 4, rtol=1e-3)
    assert (card.temperature, card.threshold, list(card.uncertain)) == (4.0, 0.25, [0.1, 0.6])
    assert card.calibration == {"note": None}
    # From this Validation.py knows that the validation images have chosen the epoch.
    assert [model_card.load_model_card(each.card).training["patience"] for each in (before, after)] == [0, 3]
    assert max(card.training["parity"].values()) <= 1e-4


@pytest.mark.slow
def test_a_graph_with_another_temperature_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "fold_temperature", lambda arrays, *_: arrays)

    with pytest.raises(GraphError) as error:
        calibrated(tmp_path, small_networks.arrays(), monkeypatch, operating_point.OperatingPoint(4.0))

    assert error.value.code == "parity"
    assert not (tmp_path / "Model" / "ALLGraph.pb").exists()


def test_a_model_for_another_condition_is_not_replaced_silently(tmp_path, caplog):
    configuration = graphs.configuration(tmp_path, "ALLGraph=Model/ALLGraph.pb")
    freeze_graph.warn_about_condition(configuration)
    graphs.write(tmp_path / "Model", content=b"", condition=conditions.ALL.to_json())
    freeze_graph.warn_about_condition(configuration)
    assert not caplog.messages

    freeze_graph.warn_about_condition(configuration.replace(Condition="AML"))

    assert "a model for ALL" in caplog.text and "AML" in caplog.text
