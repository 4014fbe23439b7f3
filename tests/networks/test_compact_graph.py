import numpy
import pytest
import tensorflow as tf

from Classes import inception_utils
from Classes.common.errors import CheckpointError
from Classes.export import freeze_graph
from Classes.inference import openvino_backend
from Classes.networks import compact_graph, registry
from tests.support import small_networks


@pytest.fixture(scope="module")
def compact(tmp_path_factory):
    """(configuration, values that are kept, path of their compact graph)."""
    folder = tmp_path_factory.mktemp("compact")
    configuration = small_networks.configuration(folder)
    network = registry.get_network(configuration)
    arrays = compact_graph.round_weights(network, small_networks.arrays())
    definition = freeze_graph.build_frozen_graph(configuration, arrays)
    path = folder / "a.pb"
    path.write_bytes(compact_graph.compact_graph(definition, network, arrays).SerializeToString())
    return configuration, arrays, path


def outputs(graph, inputs):
    return freeze_graph.session_outputs(graph, "InceptionV3/Predictions/Softmax", inputs)


def imported(path):
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
    return graph


def test_batch_norms_are_folded_and_unfolded_without_a_change():
    arrays = small_networks.arrays()
    folded = inception_utils.fold_batch_norm(arrays)

    again = inception_utils.unfold_batch_norm({**folded, **inception_utils.folded_moving_means(arrays)})

    assert again.keys() == arrays.keys()
    for name, values in inception_utils.fold_batch_norm(again).items():
        numpy.testing.assert_allclose(values, folded[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_training_step_computes_the_same_from_unfolded_weights():
    # With the statistics of the batch, the result depends on the offset, which folding mixes with the mean.
    arrays = small_networks.arrays()
    folded = {**inception_utils.fold_batch_norm(arrays), **inception_utils.folded_moving_means(arrays)}
    again = inception_utils.unfold_batch_norm(folded)
    layer = "InceptionV3/Conv2d_1a_3x3"
    images = numpy.random.default_rng(0).normal(size=(4, 20, 20, 3)).astype("float32")

    def normalized(values):
        outputs = tf.nn.conv2d(images, values[f"{layer}/weights"], 2, "VALID").numpy()
        outputs = (outputs - outputs.mean((0, 1, 2))) / numpy.sqrt(outputs.var((0, 1, 2)))
        return outputs + values[f"{layer}/BatchNorm/beta"]

    numpy.testing.assert_allclose(normalized(again), normalized(arrays), rtol=1e-4, atol=1e-4)


def test_the_graph_has_half_the_size_and_gives_the_probabilities_of_its_values(compact):
    configuration, arrays, path = compact
    inputs = numpy.random.default_rng(1).normal(size=(2, small_networks.SIZE, small_networks.SIZE, 3)).astype("float32")
    definition = freeze_graph.build_frozen_graph(configuration, arrays)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")

    numpy.testing.assert_allclose(outputs(imported(path), inputs), outputs(graph, inputs), atol=1e-6)
    # Names and small arrays do not shrink, and this network is narrow.
    assert path.stat().st_size < 0.75 * len(definition.SerializeToString())
    found = openvino_backend.reference_outputs(path, inputs)
    numpy.testing.assert_allclose(found, outputs(graph, inputs), atol=1e-5)


def test_training_reads_what_the_graph_keeps(compact):
    configuration, arrays, path = compact

    found = compact_graph.read_frozen_weights(path, registry.get_network(configuration))

    assert found.keys() == arrays.keys()
    for name, values in found.items():
        numpy.testing.assert_allclose(values, arrays[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_rounding_is_that_of_float16():
    configuration = small_networks.configuration("/nowhere")
    arrays = small_networks.arrays()

    rounded = compact_graph.round_weights(registry.get_network(configuration), arrays)

    name = "InceptionV3/Mixed_7c/Branch_0/Conv2d_0a_1x1/weights"
    folded = inception_utils.fold_batch_norm(arrays)
    assert (rounded[name] == folded[name].astype("float16")).all()
    head = f"{inception_utils.LOGITS_LAYER}/weights"
    assert (rounded[head] == arrays[head]).all()


@pytest.mark.parametrize("content", [b"", b"no graph at all", bytes(200)])
def test_a_file_that_is_no_graph_gives_no_weights(tmp_path, content):
    path = tmp_path / "a.pb"
    path.write_bytes(content)

    try:
        found = compact_graph.read_frozen_weights(path, registry.get_network(small_networks.configuration(tmp_path)))
    except CheckpointError:
        return
    assert found == {}
