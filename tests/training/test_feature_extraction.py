import dataclasses
import inspect
import shutil
import threading

import numpy
import openvino
import PIL
import pytest
import tensorflow as tf

from Classes import inception_utils, inception_v3
from Classes.dataset import shard_index
from Classes.imaging import network_input
from Classes.inference import openvino_devices
from Classes.networks import pretrained_weights, registry
from Classes.networks.architectures import inceptionv3
from Classes.training import feature_extraction, feature_task
from tests.support import small_networks, waiting
from tests.support.smears import png


@pytest.fixture(scope="module")
def backbone():
    return {name: value for name, value in small_networks.arrays().items() if "/Logits/" not in name}


def images(folder, count):
    """The places of `count` images, always the same."""
    folder.joinpath("images").mkdir(exist_ok=True)
    paths = [folder / f"images/{number}.png" for number in range(count)]
    for path, image in zip(paths, small_networks.images(count), strict=True):
        path.write_bytes(png(image))
    return shard_index.index_files(paths)


def extract(folder, backbone, found, *settings):
    identity = pretrained_weights.backbone_hash(backbone, inception_utils.LOGITS_LAYER)
    configuration = small_networks.configuration(folder, *settings)
    features = feature_extraction.extract_features(configuration, backbone, identity, found)
    return features[:]


def store_file(folder, name="features.bin"):
    return next(folder.glob(f"Model/Features/*/{name}"))


def test_features_are_those_of_the_network(tmp_path, backbone):
    found = images(tmp_path, 3)

    features = extract(tmp_path, backbone, found)

    module = inception_v3.InceptionV3(2, small_networks.DEPTH)
    decoded = numpy.stack(
        [network_input.InputSpec(small_networks.SIZE).decode_and_resize(place.read()) for place in found]
    )
    module(network_input.normalize(decoded, 128))
    variables = module.named_variables()
    for name, value in backbone.items():
        variables[name].assign(value)
    width = variables["InceptionV3/Logits/Conv2d_1c_1x1/weights"].shape[2]
    chosen = numpy.eye(width, 2, dtype="float32")  # the first two features come out as logits
    variables["InceptionV3/Logits/Conv2d_1c_1x1/weights"].assign(chosen[None, None])
    variables["InceptionV3/Logits/Conv2d_1c_1x1/biases"].assign(tf.zeros(2))
    expected = module(network_input.normalize(decoded, 128))[0]
    numpy.testing.assert_allclose(features[:, :2], expected, atol=1e-4)
    assert features.shape == (3, width)


@pytest.mark.slow
def test_what_is_known_is_not_computed_again(tmp_path, backbone, monkeypatch):
    first = extract(tmp_path, backbone, images(tmp_path, 3))

    def forbidden(*_):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(feature_task.FeatureTask, "open", forbidden)
        # A cache that cannot be written is enough then.
        patch.setattr(feature_extraction.locks, "folder_lock", forbidden)
        again = extract(tmp_path, backbone, images(tmp_path, 3))
    more = extract(tmp_path, backbone, images(tmp_path, 5))

    numpy.testing.assert_array_equal(again, first)
    numpy.testing.assert_array_equal(more[:3], first)
    assert len(more) == 5
    assert store_file(tmp_path).stat().st_size == more.nbytes


def test_a_second_training_waits_for_the_features_of_the_first(tmp_path, backbone, monkeypatch):
    found = images(tmp_path, 2)
    waits, computed, answers = threading.Event(), [], []
    compute = feature_task.FeatureTask.run

    def wait_for_the_second(task, items):
        computed.extend(item.name for item in items)
        assert waits.wait(waiting.LIMIT)
        return compute(task, items)

    monkeypatch.setattr(feature_task.FeatureTask, "run", wait_for_the_second)
    monkeypatch.setattr(feature_extraction, "_show_wait", waits.set)
    threads = [
        threading.Thread(target=lambda: answers.append(extract(tmp_path, backbone, found, "Processes=0")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(waiting.LIMIT)

    numpy.testing.assert_array_equal(*answers)
    assert len(computed) == 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_a_run_that_breaks_off_continues_with_its_finished_units(tmp_path, backbone, monkeypatch, processes):
    monkeypatch.setattr(feature_task, "IMAGES", 2)
    found = images(tmp_path, 5)
    whole = extract(tmp_path, backbone, found)
    expected = store_file(tmp_path).read_bytes()
    shutil.rmtree(tmp_path / "Model/Features")
    computed = []
    compute = feature_task.FeatureTask.run

    def break_off(task, items):
        computed.extend(item.data["start"] for item in items)
        if items[0].data["start"] == 4 and computed.count(4) == 1:
            raise KeyboardInterrupt
        return compute(task, items)

    with monkeypatch.context() as patch:
        patch.setattr(feature_task.FeatureTask, "run", break_off)
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path, backbone, found, "Processes=0")
        if not processes:
            again = extract(tmp_path, backbone, found, "Processes=0")
            assert computed == [0, 2, 4, 4]
    if processes:
        again = extract(tmp_path, backbone, found, f"Processes={processes}")

    numpy.testing.assert_array_equal(again, whole)
    assert store_file(tmp_path).read_bytes() == expected
    assert not list(tmp_path.glob("Model/Jobs/*"))


@pytest.mark.slow
def test_another_backbone_has_a_cache_of_its_own(tmp_path, backbone):
    first = extract(tmp_path, backbone, images(tmp_path, 1))
    name = "InceptionV3/Conv2d_1a_3x3/BatchNorm/beta"

    second = extract(tmp_path, {**backbone, name: backbone[name] + 1}, images(tmp_path, 1))

    assert not numpy.allclose(first, second)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(network_input.InputSpec)])
def test_every_property_of_the_network_input_is_part_of_the_key(tmp_path, monkeypatch, field):
    view = registry.get_network(configuration := small_networks.configuration(tmp_path)).input_spec(configuration)
    other = {"size": 80, "mean": 0.0, "scale": 255.0, "channels": "BGR", "crop": 1.0}[field]
    before = feature_extraction.cache_key(configuration, "a backbone")

    monkeypatch.setattr(inceptionv3, "input_spec", lambda _: dataclasses.replace(view, **{field: other}))

    assert feature_extraction.cache_key(configuration, "a backbone") != before


def test_backbone_precision_decoder_and_libraries_are_part_of_the_key(tmp_path, monkeypatch):
    configuration = small_networks.configuration(tmp_path)
    keys = [feature_extraction.cache_key(configuration, identity) for identity in ("a", "a", "b")]
    for owner, name, value in (
        (openvino_devices, "cpu_precision", lambda wanted: "bf16"),
        (PIL, "__version__", "0"),
        (openvino, "__version__", "0"),
        (inspect, "getsource", lambda module: "another decoder"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            keys.append(feature_extraction.cache_key(configuration, "a"))

    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1


def test_precisions_that_mean_the_same_arithmetic_share_the_features(tmp_path):
    names = ("f32", "AUTO", "int8", *(["bf16"] if openvino_devices.cpu_precision("AUTO") == "bf16" else []))
    keys = {
        name: feature_extraction.cache_key(small_networks.configuration(tmp_path, f"Precision={name}"), "a")
        for name in names
    }

    assert keys["AUTO"] == keys["int8"] == keys[openvino_devices.cpu_precision("AUTO")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), [("features.bin", "flip"), ("features.bin", "cut"), ("index.npz", "flip")])
def test_a_damaged_cache_is_named_and_computed_again(tmp_path, backbone, caplog, name, damage):
    first = extract(tmp_path, backbone, images(tmp_path, 2))
    file = store_file(tmp_path, name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content if damage == "flip" else content[:100])

    again = extract(tmp_path, backbone, images(tmp_path, 2))

    assert f"{file.parent}/" in caplog.text
    assert ": damaged" in caplog.text
    numpy.testing.assert_allclose(again, first, atol=1e-6)


def test_another_bit_depth_has_features_of_its_own(tmp_path):
    """It changes the pixels of files that state none."""
    keys = {
        feature_extraction.cache_key(small_networks.configuration(tmp_path, f"SampleBits={bits}"), "a")
        for bits in (0, 12)
    }

    assert len(keys) == 2
