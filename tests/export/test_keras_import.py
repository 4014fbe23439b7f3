import json

import h5py
import numpy
import PIL.Image
import pytest

import Trainer
from Classes import Data, Helpers
from Classes.common.errors import CheckpointError, ConfigurationError, GraphError
from Classes.evaluation import calibration, evaluate
from Classes.export import freeze_graph, keras_files, keras_import
from Classes.inference import classify_files, device_selection, model_card
from tests.support import small_networks, smears
from tests.support.errors import raises


def configuration(folder, *settings):
    return Helpers.load_config(
        None, [f"NetworkPath={folder}", "Network=AllCNN", "Precision=f32", "Shards=2", *settings]
    )


def as_opencv(image):
    """What the published classifiers give to Keras for an image of 100 x 100 pixels: blue first, from 0 to 1."""
    return image[None, :, :, ::-1].astype("float32") / 255


def test_imported_weights_have_the_outputs_of_keras(tmp_path, caplog):
    caplog.set_level("INFO")
    model = small_networks.published(tmp_path / "published")
    setting = configuration(tmp_path)

    assert keras_import.import_keras_weights(setting, tmp_path / "published") == 0

    images = [smears.cell(bool(number % 2), number, 100) for number in range(4)]
    expected = numpy.concatenate([model(as_opencv(image)).numpy() for image in images])
    card = model_card.load_model_card(setting.card)
    with device_selection.open_backend(setting, card) as engine:
        seen = numpy.stack([card.input_spec.decode_and_resize(smears.png(image)) for image in images])
        answers = engine.classify(seen)
    numpy.testing.assert_allclose(answers, expected, atol=1e-5)
    assert len({round(float(answer), 4) for answer in answers[:, 1]}) == 4, "answers that are all alike show nothing"
    assert (card.network, card.threshold, card.temperature, card.uncertain) == ("AllCNN", 0.5, 1.0, None)
    assert card.imported
    assert card.training["keras"] <= 1e-5
    assert 690_000 <= card.graph_path.stat().st_size <= 720_000
    assert any("agree on 8 images" in message for message in caplog.messages)


@pytest.mark.slow
def test_published_weights_of_real_leukemia_images(tmp_path, shared):
    import tf_keras

    folder = shared / "weights/allcnn"
    setting = configuration(tmp_path)

    keras_import.import_keras_weights(setting, folder)

    model = tf_keras.models.model_from_json((folder / "model.json").read_text())
    model.load_weights(folder / "weights.h5")
    card = model_card.load_model_card(setting.card)
    files = sorted((shared / "data/pbc/Test").glob("*.jpg"))
    seen = numpy.stack([card.input_spec.decode_and_resize(path) for path in files])
    # Dimmed too, since at full light the answers for these cells are 0 and 1.
    seen = numpy.concatenate([seen, seen // 8, seen // 32])
    with device_selection.open_backend(setting, card) as engine:
        answers = engine.classify(seen)
    expected = numpy.concatenate([model(as_opencv(image)).numpy() for image in seen])
    assert len(files) == 20
    assert ((expected > 0.001) & (expected < 0.999)).any()
    numpy.testing.assert_allclose(answers, expected, atol=1e-5)


@pytest.mark.slow
def test_an_imported_model_is_evaluated_and_used(tmp_path, caplog):
    caplog.set_level("INFO")
    small_networks.published(tmp_path / "published")
    smears.fill(tmp_path, per_class=10, test=2)
    setting = configuration(tmp_path)
    Data.prepare_dataset(setting)
    keras_import.import_keras_weights(setting, tmp_path / "published")

    assert evaluate.evaluate_model(setting) == 0
    assert classify_files.classify_files(setting) == 0

    assert any(message.startswith("Imported weights") for message in caplog.messages)
    assert "Images Classifier: 4" in caplog.messages
    markdown = (tmp_path / "Model/MODEL_CARD.md").read_text()
    assert "**imported weights**" in markdown
    assert ", imported weights" in markdown
    assert "The imported weights may have been trained on them." in (tmp_path / "Model/Report/Report.html").read_text()


def test_an_imported_network_gets_the_whole_image(tmp_path):
    """The published training resized whole pictures: nothing is cut off."""
    small_networks.published(tmp_path / "published")
    setting = configuration(tmp_path)
    keras_import.import_keras_weights(setting, tmp_path / "published")
    image = numpy.zeros((200, 200, 3), "uint8")
    image[:4] = 255
    PIL.Image.fromarray(image).save(tmp_path / "rim.png")

    seen = model_card.load_model_card(setting.card).input_spec.decode_and_resize(tmp_path / "rim.png")

    assert seen.shape == (100, 100, 3)
    assert (seen[0] > 200).all()


def test_without_a_description_nothing_is_compared_with_keras(tmp_path, caplog):
    small_networks.published(tmp_path)
    (tmp_path / "model.json").unlink()
    setting = configuration(tmp_path)

    keras_import.import_keras_weights(setting, tmp_path)

    assert "model.json" in caplog.text
    assert model_card.load_model_card(setting.card).training["keras"] is None


def test_a_graph_with_other_outputs_is_not_written(tmp_path, monkeypatch):
    small_networks.published(tmp_path)
    fold = freeze_graph.build_frozen_graph
    monkeypatch.setattr(
        freeze_graph,
        "build_frozen_graph",
        lambda setting, arrays: fold(setting, calibration.fold_temperature(arrays, "AllCNN/Logits", 1.05)),
    )
    setting = configuration(tmp_path)

    with pytest.raises(GraphError) as error:
        keras_import.import_keras_weights(setting, tmp_path)
    assert error.value.code == "parity"

    assert not setting.path("ALLGraph").exists()
    assert not setting.card.exists()


def test_missing_weights(tmp_path):
    with pytest.raises(CheckpointError) as error:
        keras_import.import_keras_weights(configuration(tmp_path), tmp_path)
    assert error.value.code == "weights_missing"


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all" * 100])
def test_damaged_weights(tmp_path, content):
    (tmp_path / "weights.h5").write_bytes(content)

    with raises(CheckpointError, "weights_damaged"):
        keras_import.import_keras_weights(configuration(tmp_path), tmp_path)


def test_weights_without_a_layer(tmp_path):
    small_networks.published(tmp_path)
    with h5py.File(tmp_path / "weights.h5", "r+") as file:
        file.attrs["layer_names"] = [name for name in file.attrs["layer_names"] if "dense" not in str(name)]

    with raises(CheckpointError, "weights_damaged"):
        keras_import.import_keras_weights(configuration(tmp_path), tmp_path)


def test_weights_of_another_shape(tmp_path):
    small_networks.published(tmp_path)

    with pytest.raises(CheckpointError) as error:
        keras_import.import_keras_weights(configuration(tmp_path, "NumClasses=3"), tmp_path)
    assert error.value.code == "weights_mismatch"


@pytest.mark.slow
def test_weights_of_another_network(tmp_path):
    small_networks.published(tmp_path)

    with raises(CheckpointError, "weights_damaged"):
        keras_import.import_keras_weights(configuration(tmp_path, "Network=InceptionV3"), tmp_path)


@pytest.mark.parametrize("kind", ["Lambda", "Conv2D"])
def test_a_description_of_other_weights_is_rejected(tmp_path, kind):
    small_networks.published(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    described["config"]["layers"][-1]["class_name"] = kind
    (tmp_path / "model.json").write_text(json.dumps(described))

    with pytest.raises(CheckpointError) as error:
        keras_import.import_keras_weights(configuration(tmp_path), tmp_path)
    assert error.value.code == "model_json"


@pytest.mark.parametrize("key", ["activation", "kernel_initializer"])
def test_a_description_cannot_call_functions(tmp_path, key):
    small_networks.published(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    layer = next(layer for layer in described["config"]["layers"] if layer["class_name"] == "Conv2D")
    program = {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"}
    layer["config"][key] = program
    (tmp_path / "model.json").write_text(json.dumps(described))

    with pytest.raises(CheckpointError) as error:
        keras_import.import_keras_weights(configuration(tmp_path), tmp_path)
    assert error.value.code == "model_json"


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 100_000, b'{"class_name": "Sequential"}', b'{"\xff": 1}'])
def test_a_damaged_description(tmp_path, text):
    small_networks.published(tmp_path)
    (tmp_path / "model.json").write_bytes(text)

    with pytest.raises(CheckpointError) as error:
        keras_import.import_keras_weights(configuration(tmp_path), tmp_path)
    assert error.value.code == "model_json"


def test_damaged_classes_of_the_data_folder(tmp_path):
    folder = tmp_path / "Model/Data"
    folder.mkdir(parents=True)
    (folder / "Classes.txt").write_bytes(b"healthy\n\xffeukemic\n")

    with pytest.raises(ConfigurationError) as error:
        keras_files.class_names(configuration(tmp_path))
    assert error.value.code == "classes_file"


def test_classes_of_the_data_folder(tmp_path):
    folder = tmp_path / "Model/Data"
    folder.mkdir(parents=True)
    (folder / "Classes.txt").write_text("healthy\nleukemic\n")

    assert keras_files.class_names(configuration(tmp_path, "PositiveClass=leukemic")) == ["healthy", "leukemic"]
    with pytest.raises(ConfigurationError) as error:
        keras_files.class_names(configuration(tmp_path))
    assert error.value.code == "class_names"


@pytest.mark.parametrize("arguments", [["Import"], ["Train", "somewhere"]])
def test_only_an_import_takes_a_folder(arguments, capsys):
    with pytest.raises(SystemExit):
        Trainer.main(arguments)

    assert "Import" in capsys.readouterr().err


def test_the_command_line(tmp_path):
    small_networks.published(tmp_path / "published")
    setting = configuration(tmp_path)

    code = Trainer.main(
        ["Import", str(tmp_path / "published"), "--set", "Network=AllCNN", "--set", f"NetworkPath={tmp_path}"]
    )

    assert code == 0
    model_card.load_model_card(setting.card).verify_graph()
