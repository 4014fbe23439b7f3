import hashlib
import io
import logging
import tarfile

import numpy
import pytest
import tensorflow as tf

from Classes import inception_utils, inception_v3
from Classes.common.errors import CheckpointError
from Classes.imaging import network_input
from Classes.networks import checkpoint_files, download_weights, pretrained_weights, registry
from tests.support import small_networks
from tests.support.errors import raises


def shapes():
    return inception_v3.variable_shapes(2, small_networks.SIZE, small_networks.DEPTH)


def checkpoint(folder, arrays):
    return checkpoint_files.save_checkpoint(folder, 1, arrays)


def assert_restored(found, arrays):
    assert found
    for name, value in found.items():
        numpy.testing.assert_array_equal(value, arrays[name])


@pytest.mark.slow
def test_a_slim_checkpoint_gives_all_but_the_last_layer(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    arrays = small_networks.arrays(classes=5)
    prefix = checkpoint(tmp_path, arrays)

    found = pretrained_weights.load_pretrained(small_networks.configuration(tmp_path, f"Pretrained={prefix}"), shapes())

    assert len(found) == 376
    assert_restored(found, arrays)
    assert "Restored 376 of 378 variables" in caplog.text
    assert "Logits/Conv2d_1c_1x1." in caplog.text


@pytest.mark.slow
def test_the_published_archive_of_a_version_1_checkpoint(tmp_path):
    arrays = small_networks.arrays(classes=5)
    file = tmp_path / "inception_v3.ckpt"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.Variable(value, name=name) for name, value in arrays.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(variables, write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(file), write_meta_graph=False, write_state=False)
    with tarfile.open(tmp_path / "inception_v3.tar.gz", "w:gz") as archive:
        archive.add(file, "inception_v3.ckpt")

    found = pretrained_weights.load_pretrained(
        small_networks.configuration(tmp_path, "Pretrained=inception_v3.tar.gz"), shapes()
    )

    assert len(found) == 376
    assert_restored(found, arrays)


@pytest.mark.slow
def test_a_damaged_archive_is_named(tmp_path):
    archive = tmp_path / "a.tar.gz"
    content = tmp_path / "noise"
    content.write_bytes(numpy.random.default_rng(0).bytes(20_000))
    with tarfile.open(archive, "w:gz") as file:
        file.add(content, "inception_v3.ckpt")
    whole = archive.read_bytes()
    for place in (*range(20, len(whole), len(whole) // 40), None):
        damaged = bytearray(whole if place is not None else whole[: len(whole) // 2])
        if place is not None:
            damaged[place] ^= 16
        archive.write_bytes(damaged)
        with pytest.raises(CheckpointError) as error:
            pretrained_weights.load_pretrained(small_networks.configuration(tmp_path, "Pretrained=a.tar.gz"), shapes())
        # It depends on the place whether it still looks like an archive, and like one with a checkpoint.
        assert error.value.code in ("weights_damaged", "weights_missing", "damaged_checkpoint")
        assert "a.tar.gz" in str(error.value)


@pytest.mark.slow
def test_an_archive_without_a_checkpoint(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("readme"), io.BytesIO())

    with raises(CheckpointError, "weights_missing"):
        pretrained_weights.load_pretrained(small_networks.configuration(tmp_path, "Pretrained=a.tar.gz"), shapes())


@pytest.mark.slow
@pytest.mark.parametrize("top", [False, True])
def test_keras_weights_give_keras_features(tmp_path, top):
    import tf_keras

    tf_keras.backend.clear_session()
    generator = numpy.random.default_rng(0)
    model = tf_keras.applications.InceptionV3(weights=None, include_top=top, classes=3, input_shape=(299, 299, 3))
    for layer in model.layers:
        if layer.name.startswith("batch_normalization"):
            width = layer.get_weights()[0].shape
            draws = generator.normal(0, 0.1, width), generator.normal(0, 0.1, width), generator.uniform(0.5, 2, width)
            layer.set_weights(draws)
    file = tmp_path / "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
    model.save_weights(file)
    inputs = network_input.normalize(generator.integers(0, 256, (1, 299, 299, 3), dtype="uint8"), 128)
    mixed = tf_keras.Model(model.input, model.get_layer("mixed10").output)
    expected = mixed(inputs).numpy().mean((1, 2))

    found = pretrained_weights.load_pretrained(
        small_networks.configuration(tmp_path, f"Pretrained={file}"), inception_v3.variable_shapes(2, 299)
    )

    assert len(found) == 376
    head = {
        f"{inception_utils.LOGITS_LAYER}/weights": numpy.zeros((1, 1, 2048, 2), "float32"),
        f"{inception_utils.LOGITS_LAYER}/biases": numpy.zeros(2, "float32"),
    }
    graph = inception_v3.inference_graph(inception_utils.fold_batch_norm({**found, **head}), 299)
    pooled = next(node for node in graph.get_operations() if node.type == "AvgPool" and node.outputs[0].shape[1] == 1)
    with tf.compat.v1.Session(graph=graph) as session:
        features = session.run(pooled.outputs[0], {"input:0": inputs}).reshape(1, -1)
    numpy.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert numpy.ptp(expected) > 0


def test_published_weights_with_a_flipped_byte_are_named(tmp_path, monkeypatch):
    small_networks.published(tmp_path)
    content = bytearray((tmp_path / "weights.h5").read_bytes())
    monkeypatch.setattr(download_weights, "MD5", hashlib.md5(content).hexdigest())
    path = tmp_path / download_weights.WEIGHTS_FILE
    setting = small_networks.configuration(tmp_path, "Network=AllCNN", f"Pretrained={path}")
    shapes = registry.get_network(setting).variable_shapes(setting)
    path.write_bytes(content)
    assert pretrained_weights.load_pretrained(setting, shapes).keys() == shapes.keys()

    content[-100] ^= 1
    path.write_bytes(content)

    with raises(CheckpointError, "weights_damaged"):
        pretrained_weights.load_pretrained(setting, shapes)


@pytest.mark.slow
def test_weights_of_another_width_are_rejected(tmp_path):
    prefix = checkpoint(tmp_path, small_networks.arrays())

    with raises(CheckpointError, "weights_shape"):
        pretrained_weights.load_pretrained(
            small_networks.configuration(tmp_path, f"Pretrained={prefix}"), inception_v3.variable_shapes(2, 75, 1.0)
        )


@pytest.mark.parametrize("name", ["weights.h5", "weights.tar.gz", "weights.ckpt"])
def test_a_file_that_is_no_checkpoint(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")

    with raises(CheckpointError, "damaged_checkpoint"):
        pretrained_weights.load_pretrained(small_networks.configuration(tmp_path, f"Pretrained={name}"), shapes())


def test_a_checkpoint_of_another_network(tmp_path):
    prefix = checkpoint(tmp_path, {"resnet/weights": numpy.zeros(3, "float32")})

    with raises(CheckpointError, "weights_of_another_network"):
        pretrained_weights.load_pretrained(small_networks.configuration(tmp_path, f"Pretrained={prefix}"), shapes())


def test_the_identity_is_of_the_backbone_alone():
    arrays = small_networks.arrays()
    identity = pretrained_weights.backbone_hash(arrays, inception_utils.LOGITS_LAYER)
    other_head = {**arrays, f"{inception_utils.LOGITS_LAYER}/biases": numpy.ones(2, "float32")}
    name = "InceptionV3/Conv2d_1a_3x3/BatchNorm/beta"
    other_backbone = {**arrays, name: arrays[name] + 1}

    assert pretrained_weights.backbone_hash(other_head, inception_utils.LOGITS_LAYER) == identity
    assert pretrained_weights.backbone_hash(other_backbone, inception_utils.LOGITS_LAYER) != identity
