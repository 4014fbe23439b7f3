import numpy
import pytest
import tensorflow as tf

from Classes import inception_utils, inception_v3
from Classes.imaging import network_input
from Classes.networks import registry
from Classes.networks.architectures import inceptionv3
from tests.support import small_networks


def probabilities(graph, images):
    with tf.compat.v1.Session(graph=graph) as session:
        inputs = network_input.normalize(images, 128)
        return numpy.concatenate(
            [session.run("InceptionV3/Predictions/Softmax:0", {"input:0": image[None]}) for image in inputs]
        )


@pytest.mark.slow
def test_two_classes_make_378_variables_under_slim_names():
    shapes = inception_v3.variable_shapes(2, 299)

    assert len(shapes) == 378
    assert shapes["InceptionV3/Conv2d_1a_3x3/weights"] == (3, 3, 3, 32)
    assert shapes["InceptionV3/Mixed_7c/Branch_1/Conv2d_0c_3x1/BatchNorm/moving_variance"] == (384,)
    assert shapes["InceptionV3/Logits/Conv2d_1c_1x1/weights"] == (1, 1, 2048, 2)
    assert len(inception_v3.variable_shapes(2, 299, auxiliary=True)) == 388


@pytest.mark.slow
def test_folded_graph_and_module_give_the_same_result():
    arrays, images = small_networks.arrays(), small_networks.images(3)
    module = inception_v3.InceptionV3(2, small_networks.DEPTH)
    inputs = network_input.normalize(images, 128)
    module(inputs)
    for name, variable in module.named_variables().items():
        variable.assign(arrays[name])

    expected = tf.nn.softmax(module(inputs)[0])

    folded = inception_v3.inference_graph(
        inception_utils.fold_batch_norm(arrays), small_networks.SIZE, small_networks.DEPTH
    )
    whole = inception_v3.inference_graph(arrays, small_networks.SIZE, small_networks.DEPTH, folded=False)
    numpy.testing.assert_allclose(probabilities(folded, images), expected, atol=1e-5)
    numpy.testing.assert_allclose(probabilities(whole, images), expected, atol=1e-5)
    assert numpy.ptp(expected[:, 0]) > 1e-3, "equal answers to different images would prove nothing"


@pytest.mark.slow
def test_an_image_scores_alone_as_in_a_batch():
    module = inception_v3.InceptionV3(2, small_networks.DEPTH)
    inputs = network_input.normalize(small_networks.images(4), 128)

    batch = module(inputs)[0]

    alone = numpy.concatenate([module(image[None])[0] for image in inputs])
    numpy.testing.assert_allclose(alone, batch, atol=1e-5)


@pytest.mark.slow
def test_only_trained_blocks_move_their_statistics():
    blocks = registry.trained_blocks(inceptionv3, "Mixed_7b")
    module = inception_v3.InceptionV3(2, small_networks.DEPTH, blocks, decay=0.5)
    inputs = tf.constant(network_input.normalize(small_networks.images(4), 128))
    module(inputs, training=True, seed=[0, 0])
    before = {name: variable.numpy() for name, variable in module.named_variables().items()}

    tf.function(module, autograph=False)(inputs, training=True, seed=[0, 1])

    after = {name: variable.numpy() for name, variable in module.named_variables().items()}
    moved = {name for name in before if not numpy.array_equal(before[name], after[name])}
    expected = {
        name for name in before if name.split("/")[1] in blocks and name.endswith(("moving_mean", "moving_variance"))
    }
    assert moved == expected
    assert expected


@pytest.mark.parametrize(
    ("scopes", "first", "count"),
    [("Logits", "Logits", 1), ("Mixed_7a", "Mixed_7a", 4), ("all", "Conv2d_1a_3x3", len(inception_utils.BLOCKS))],
)
def test_trained_blocks_reach_to_the_output(scopes, first, count):
    blocks = registry.trained_blocks(inceptionv3, scopes)

    assert (blocks[0], blocks[-1], len(blocks)) == (first, "Logits", count)


def test_unknown_block():
    assert registry.trained_blocks(inceptionv3, "Mixed_9z") is None


def test_every_variable_belongs_to_a_known_block():
    assert {name.split("/")[1] for name in inception_v3.variable_shapes(2, 299, auxiliary=True)} == set(
        inception_utils.BLOCKS
    )
