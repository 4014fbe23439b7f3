"""What Trainer.py Export writes, read as the model servers read it."""

import json

import numpy
import openvino
import pytest
import tensorflow as tf

import Trainer
from Classes.common.errors import GraphError
from Classes.export import freeze_graph, model_repository
from Classes.imaging import network_input
from Classes.inference import device_selection, model_card, openvino_devices
from tests.support import graphs, small_networks
from tests.support.errors import raises

SIZE = 32
REDS = (64, 128, 192)


def exported(folder, *settings, size=SIZE, **fields):
    """Export a tiny model; the configuration, and the folder of the model."""
    graphs.write(folder / "Model", size=size, **fields)
    configuration = graphs.configuration(folder, *settings)
    assert model_repository.export_model_repository(configuration) == 0
    return configuration, folder / "Model" / "Export" / "all"


def by_tensorflow(version, inputs):
    """What the SavedModel's one signature answers, by name."""
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    return {name: tensor.numpy() for name, tensor in signature(tf.constant(inputs)).items()}


def by_openvino(version, inputs):
    """What the IR answers, by name."""
    model = openvino_devices.new_core().compile_model(version / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.any_name: values for port, values in model(inputs).items()}


def test_the_content_of_a_version(tmp_path):
    _, folder = exported(tmp_path)

    assert {path.name for path in folder.iterdir()} == {".lock", "1", "config.pbtxt", "labels.txt"}
    names = {"saved_model.pb", "variables", "model.xml", "model.bin", "labels.txt", "card.json"}
    assert names <= {path.name for path in (folder / "1").iterdir()}
    assert (folder / "labels.txt").read_text() == (folder / "1" / "labels.txt").read_text() == "0\n1\n"
    assert json.loads((folder / "1" / "card.json").read_text()) == json.loads(
        (tmp_path / "Model" / "ALLGraph.json").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_both_formats_have_the_outputs_of_the_backend(tmp_path, count):
    configuration, folder = exported(tmp_path)
    images = numpy.stack([graphs.red(value, SIZE) for value in REDS[:count]])
    inputs = network_input.normalize(images, 128)
    with device_selection.open_backend(configuration, model_card.load_model_card(configuration.card)) as engine:
        expected = engine.classify(images)

    numpy.testing.assert_allclose(expected[:, 1], [graphs.RED[value] for value in REDS[:count]], atol=1e-5)
    numpy.testing.assert_allclose(by_tensorflow(folder / "1", inputs)["probabilities"], expected, atol=1e-5)
    numpy.testing.assert_allclose(by_openvino(folder / "1", inputs)["probabilities"], expected, atol=1e-5)


@pytest.mark.slow
def test_a_batch_through_the_real_network(tmp_path):
    definition = freeze_graph.build_frozen_graph(small_networks.configuration(tmp_path), small_networks.arrays())
    content = definition.SerializeToString(deterministic=True)
    configuration, folder = exported(tmp_path, size=small_networks.SIZE, content=content)
    images = small_networks.images(3)
    inputs = network_input.normalize(images, 128)
    with device_selection.open_backend(configuration, model_card.load_model_card(configuration.card)) as engine:
        expected = engine.classify(images)

    assert numpy.ptp(expected[:, 1]) > 1e-4, "three different answers"
    numpy.testing.assert_allclose(by_tensorflow(folder / "1", inputs)["probabilities"], expected, atol=1e-5)
    numpy.testing.assert_allclose(by_openvino(folder / "1", inputs)["probabilities"], expected, atol=1e-5)


def test_the_labels_are_where_each_server_reads_them(tmp_path):
    _, folder = exported(tmp_path, classes=("healthy cell", "1"))
    inputs = numpy.zeros((2, SIZE, SIZE, 3), "float32")

    classes = by_tensorflow(folder / "1", inputs)["classes"]
    model = openvino_devices.new_core().read_model(folder / "1" / "model.xml")

    assert classes.tolist() == [[b"healthy cell", b"1"]] * 2
    assert model.get_rt_info(["model_info", "labels"]).astype(str) == "healthy_cell 1"
    assert (folder / "labels.txt").read_text() == "healthy cell\n1\n"


def test_the_triton_configuration_matches_the_model(tmp_path):
    _, folder = exported(tmp_path, "MaxBatch=7")

    config = (folder / "config.pbtxt").read_text()
    model = openvino_devices.new_core().read_model(folder / "1" / "model.xml")

    assert 'name: "all"\n' in config and "max_batch_size: 7\n" in config
    for port, dims in ((model.inputs[0], f"{SIZE}, {SIZE}, 3"), (model.outputs[0], "2")):
        assert f'{{ name: "{port.any_name}" data_type: TYPE_FP32 dims: [ {dims} ]' in config
        assert port.get_element_type() == openvino.Type.f32
        assert str(port.get_partial_shape()) == f"[?,{dims.replace(' ', '')}]"


def test_each_export_is_the_next_version_and_keeps_the_others(tmp_path):
    configuration, folder = exported(tmp_path)
    first = (folder / "1" / "saved_model.pb").read_bytes()
    (folder / "7").mkdir()
    (folder / "notes").mkdir()
    (folder / ".8.0123456789ab.tmp").mkdir()

    model_repository.export_model_repository(configuration)

    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"1", "7", "8", "notes"}
    assert (folder / "1" / "saved_model.pb").read_bytes() == first


def test_the_repository_can_be_in_another_folder(tmp_path):
    exported(tmp_path, f"ExportDir={tmp_path / 'models'}")

    assert (tmp_path / "models" / "all" / "1" / "model.xml").exists()


@pytest.mark.parametrize("kind", ["SavedModel", "OpenVINO IR"])
def test_an_export_with_other_outputs_is_not_published(tmp_path, monkeypatch, kind):
    other = graphs.write(tmp_path / "other", size=SIZE, content=graphs.frozen("negative", 2, SIZE))
    name = {"SavedModel": "save_saved_model", "OpenVINO IR": "save_openvino_ir"}[kind]
    save = getattr(model_repository, name)
    monkeypatch.setattr(model_repository, name, lambda path, card: save(path, model_card.load_model_card(other)))

    with pytest.raises(GraphError) as error:
        exported(tmp_path)

    assert error.value.code == "parity"
    assert kind in str(error.value)

    assert [path.name for path in (tmp_path / "Model" / "Export" / "all").iterdir()] == [".lock"]


def test_without_a_model_nothing_is_written(tmp_path):
    with raises(GraphError, "no_model"):
        model_repository.export_model_repository(graphs.configuration(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_does_not_match_its_card_is_not_exported(tmp_path):
    graphs.write(tmp_path / "Model", size=SIZE)
    (tmp_path / "Model" / "ALLGraph.pb").write_bytes(b"another")

    with raises(GraphError, "graph_changed"):
        model_repository.export_model_repository(graphs.configuration(tmp_path))

    assert not (tmp_path / "Model" / "Export").exists()


def test_the_command_line(tmp_path, capsys):
    graphs.write(tmp_path / "Model", size=SIZE)

    assert Trainer.main(["Export", "--set", f"NetworkPath={tmp_path}"]) == 0

    printed = capsys.readouterr().out
    assert f"Wrote {tmp_path}/Model/Export/all/1, version 1 of the model all." in printed
    assert "float32 [N, 32, 32, 3], RGB, (pixel - 128) / 128" in printed
    assert ".tmp" not in printed


def test_an_unknown_command_is_rejected(capsys):
    with pytest.raises(SystemExit) as stop:
        Trainer.main(["Exprot"])

    assert stop.value.code == 2
    assert "Export" in capsys.readouterr().err
