import pathlib
import sys

import numpy
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.util import tensor_util

from Classes import Data, Helpers
from Classes.common.errors import ConfigurationError
from Classes.evaluation import evaluate
from Classes.export import freeze_graph
from Classes.inference import class_activation, classify_files, device_selection, model_card
from Classes.networks import architectures, checkpoint_files, registry, weight_files
from Classes.training import cross_validation, train
from tests.support import graphs, small_networks, smears
from tests.support.errors import raises

THIRD = pathlib.Path(__file__).parents[1] / "support" / "third"
SMALL = ("ImageSize=75", "DepthMultiplier=0.1", "Precision=f32", "TrainingPrecision=f32", "Shards=2")


@pytest.fixture
def third(monkeypatch):
    """The project as if tests/third/Tiny.py were in Classes/Networks; nothing else is touched."""
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(THIRD)])
    yield
    sys.modules.pop("Classes.networks.architectures.tiny", None)


def configuration(folder, name, *settings):
    return Helpers.load_config(None, [f"NetworkPath={folder}", *SMALL, f"Network={name}", *settings])


def test_networks_are_found_by_name(third):
    assert {"AllCNN", "InceptionV3", "Tiny"} <= set(registry.network_names())


@pytest.mark.parametrize("line", ['NAME = "OtherNet"', "NAME: str = 'OtherNet'"])
def test_a_network_may_lie_in_a_file_of_another_name(tmp_path, monkeypatch, line):
    (tmp_path / "my_net.py").write_text(line + "\n")
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])

    assert registry.get_network(configuration(tmp_path, "OtherNet")).NAME == "OtherNet"
    sys.modules.pop("Classes.networks.architectures.my_net")


def test_inception_is_the_default(tmp_path):
    assert registry.get_network(Helpers.load_config()).OUTPUT == "InceptionV3/Predictions/Softmax"


def test_an_unknown_network(tmp_path):
    with pytest.raises(ConfigurationError) as raised:
        registry.get_network(configuration(tmp_path, "VGG"))
    assert raised.value.code == "unknown_network"


@pytest.mark.parametrize("name", ["../Data", "os.path", ""])
def test_a_name_that_is_none(tmp_path, name):
    with raises(ConfigurationError, "invalid_value"):
        configuration(tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*registry.network_names(), "Tiny"])
def test_what_is_trained_is_what_is_frozen(tmp_path, third, name):
    setting = configuration(tmp_path, name)
    network = registry.get_network(setting)
    view = network.input_spec(setting)
    tf.random.set_seed(3)
    module = network.build_trainable(setting, network.BLOCKS, 100)
    inputs = view.normalize(numpy.random.default_rng(0).integers(0, 256, (2, view.size, view.size, 3), dtype="uint8"))
    logits, auxiliary = module(inputs)

    arrays = {key: value.numpy() for key, value in module.named_variables().items()}
    definition = freeze_graph.build_frozen_graph(setting, arrays)
    file = tmp_path / "graph.pb"
    file.write_bytes(definition.SerializeToString())

    assert {key: value.shape for key, value in arrays.items()} == network.variable_shapes(setting)
    assert {key.split("/")[1] for key in arrays} == set(network.BLOCKS) - {"AuxLogits"}
    assert auxiliary is None
    assert freeze_graph.check_parity(setting, arrays, definition, file, inputs)["engine"] <= 1e-5
    shapes = network.variable_shapes(setting)
    assert shapes[f"{network.HEAD}/weights"][-1] == shapes[f"{network.HEAD}/biases"][0] == 2
    answers = freeze_graph.session_outputs(network.build_inference_graph(setting, arrays), network.OUTPUT, inputs)
    numpy.testing.assert_allclose(answers, tf.nn.softmax(logits), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "epochs"), [("Tiny", 40), ("AllCNN", 8)])
def test_the_whole_way_with_another_network(tmp_path, third, caplog, name, epochs):
    caplog.set_level("INFO")
    smears.fill(tmp_path, per_class=20, test=3)
    setting = configuration(
        tmp_path, name, f"Epochs={epochs}", "LearningRate=0.003", "BatchSize=5", "DistortionArea=0.9"
    )
    Data.prepare_dataset(setting)

    assert train.train_and_freeze(setting) == 0
    assert evaluate.evaluate_model(setting) == 0
    assert classify_files.classify_files(setting) == 0

    card = model_card.load_model_card(setting.card)
    network = registry.get_network(setting)
    assert (card.network, card.output, card.input_spec) == (name, network.OUTPUT, network.input_spec(setting))
    assert "Testing ended. 6 correct, 0 incorrect" in caplog.text
    for line in ("Images Classifier: 6", "True Positives: 3", "False Positives: 0", "True Negatives: 3"):
        assert line in caplog.messages
    assert f"{name} loaded successfully." in caplog.messages
    assert (tmp_path / "Model/Report/Report.html").is_file()
    assert f"({name})" in (tmp_path / "Model/MODEL_CARD.md").read_text()
    assert card.metrics["accuracy"]["value"] >= 0.9
    metrics = {f"{split}_{name}" for split in ("Training", "Validation") for name in ("Precision", "Recall", "AUC")}
    curves = scalars(setting.path("LogDir"))
    assert {"Training_Accuracy", "Validation_Accuracy", *metrics} <= set(curves)
    assert all(0 <= fraction < 1 for fraction in curves["Waiting_For_Images"])
    assert all(len(curves[name]) >= epochs - 2 and max(curves[name]) > 0.9 for name in metrics)


def scalars(folder):
    """{tag: values} of a run's TensorBoard events."""
    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, []).append(float(tensor_util.make_ndarray(value.tensor)))
    return found


@pytest.mark.slow
def test_training_may_start_from_published_weights(tmp_path, caplog):
    caplog.set_level("INFO")
    model = small_networks.published(tmp_path / "published")
    smears.fill(tmp_path, per_class=10)
    setting = configuration(tmp_path, "AllCNN", f"Pretrained={tmp_path / 'published/weights.h5'}", "Epochs=1")
    Data.prepare_dataset(setting)

    train.train_and_freeze(setting)

    assert "Training the whole network on 14 images." in caplog.messages
    assert "Restored 6 of 6 variables" in caplog.text
    arrays = checkpoint_files.latest_checkpoint(setting.path("LogDir"))[1]
    for name, before in zip(registry.get_network(setting).variable_shapes(setting), model.get_weights(), strict=True):
        # One epoch at the small historic rate leaves them near where they were.
        numpy.testing.assert_allclose(arrays[name], before, atol=1e-3)


def test_weights_of_another_network_lie_in_the_folder_unused(tmp_path):
    """Setup.sh fetches Inception's; the small network starts from random weights all the same."""
    folder = tmp_path / "Model/Pretrained"
    folder.mkdir(parents=True)
    (folder / "inception_v3.h5").write_bytes(b"never read")

    assert weight_files.resolve_weights(configuration(tmp_path, "AllCNN")) is None
    assert weight_files.resolve_weights(configuration(tmp_path, "InceptionV3")) == folder / "inception_v3.h5"


def test_cross_validation_needs_a_network_with_a_global_pool(tmp_path):
    smears.fill(tmp_path, per_class=10)
    setting = configuration(tmp_path, "AllCNN")
    Data.prepare_dataset(setting)

    with pytest.raises(ConfigurationError) as raised:
        cross_validation.cross_validate(setting, 2)

    assert raised.value.code == "last_layer_only"


def test_channels_and_scaling_of_the_card_reach_the_backend(tmp_path):
    """The graph's logit of class 1 is four times what it sees first: blue where the card says BGR."""
    seen = {"size": 299, "mean": 0, "scale": 255, "channels": "BGR"}
    card = model_card.load_model_card(graphs.write(tmp_path, input={"node": "input", **seen}))
    image = graphs.red(0)
    image[..., 2] = 51

    with device_selection.open_backend(graphs.configuration(tmp_path), card) as engine:
        answer = engine.classify(image[None])[0]

    assert answer[1] == pytest.approx(1 / (1 + numpy.exp(-4 * 0.2)), abs=1e-4)


def test_maps_of_the_small_network_add_up_to_its_result(tmp_path):
    setting = configuration(tmp_path, "AllCNN")
    network = registry.get_network(setting)
    tf.random.set_seed(1)
    arrays = {key: value.numpy() for key, value in network.build_trainable(setting, (), 1).named_variables().items()}
    content = freeze_graph.build_frozen_graph(setting, arrays).SerializeToString()
    seen = {"size": 100, "mean": 0, "scale": 255, "channels": "BGR", "crop": 1}
    card = model_card.load_model_card(
        graphs.write(tmp_path, content=content, output=network.OUTPUT, input={"node": "input", **seen})
    )
    images = numpy.stack([smears.cell(bool(number % 2), number, 100) for number in range(4)])

    maps = class_activation.Explainer(card).maps(images)

    with device_selection.open_backend(setting, card) as engine:
        answers = engine.classify(images)
    assert maps.shape == (4, 50, 50)
    numpy.testing.assert_allclose(maps.mean((1, 2)), numpy.log(answers[:, 1] / answers[:, 0]), atol=1e-4)
