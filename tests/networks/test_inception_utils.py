import numpy
import pytest
import tensorflow as tf

from Classes import inception_utils


def test_folding_gives_what_convolution_and_batch_norm_give():
    generator = numpy.random.default_rng(0)
    arrays = {
        "InceptionV3/a/weights": generator.normal(size=(3, 3, 2, 4)).astype("float32"),
        "InceptionV3/a/BatchNorm/beta": generator.normal(size=4).astype("float32"),
        "InceptionV3/a/BatchNorm/moving_mean": generator.normal(size=4).astype("float32"),
        "InceptionV3/a/BatchNorm/moving_variance": generator.uniform(0.1, 3, 4).astype("float32"),
        "InceptionV3/Logits/b/weights": generator.normal(size=(1, 1, 4, 2)).astype("float32"),
        "InceptionV3/Logits/b/biases": generator.normal(size=2).astype("float32"),
        "InceptionV3/AuxLogits/c/weights": generator.normal(size=(1, 1, 4, 2)).astype("float32"),
    }
    image = generator.normal(size=(1, 6, 6, 2)).astype("float32")
    plain = tf.nn.conv2d(image, arrays["InceptionV3/a/weights"], 1, "VALID")
    norm = {kind: arrays[f"InceptionV3/a/BatchNorm/{kind}"] for kind in ("beta", "moving_mean", "moving_variance")}
    expected = tf.nn.batch_normalization(
        plain, norm["moving_mean"], norm["moving_variance"], norm["beta"], None, inception_utils.BATCH_NORM_EPSILON
    )

    folded = inception_utils.fold_batch_norm(arrays)

    found = tf.nn.conv2d(image, folded["InceptionV3/a/weights"], 1, "VALID") + folded["InceptionV3/a/biases"]
    numpy.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert set(folded) == {
        f"InceptionV3/{layer}/{kind}" for layer in ("a", "Logits/b") for kind in ("weights", "biases")
    }
    numpy.testing.assert_array_equal(folded["InceptionV3/Logits/b/weights"], arrays["InceptionV3/Logits/b/weights"])


def test_head_is_a_matrix_product():
    features = numpy.array([[1.0, 2.0], [0.0, 1.0]], "float32")
    weights = numpy.array([[[[1.0, -1.0], [0.5, 2.0]]]], "float32")

    logits = inception_utils.logits_from_features(features, weights, numpy.array([0.0, 10.0], "float32"))

    numpy.testing.assert_allclose(logits, [[2.0, 13.0], [0.5, 12.0]])


def test_dropout_depends_on_its_seed_alone():
    features = numpy.ones((4, 1000), "float32")
    weights = numpy.ones((1, 1, 1000, 2), "float32")
    biases = numpy.zeros(2, "float32")

    first, again, other = (
        inception_utils.logits_from_features(features, weights, biases, 0.8, seed) for seed in ([1, 2], [1, 2], [1, 3])
    )

    numpy.testing.assert_array_equal(first, again)
    assert not numpy.array_equal(first, other)
    # What stays is scaled up, so the sum keeps its expectation.
    assert numpy.mean(first) == pytest.approx(1000, rel=0.05)
