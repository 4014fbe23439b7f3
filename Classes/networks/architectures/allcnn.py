"""The small network of the AllDS2020 and oneAPI classifiers, for devices such as a Raspberry Pi: 720 KB frozen.

Two convolutions, one pooling, one dense layer: the network of Thanh et al., "Acute Leukemia Classification Using
Convolution Neural Network in Clinical Decision Support System" (airccj.org/CSCP/vol7/csit77505.pdf), on 100 x 100
pixels.
"""

import h5py
import numpy
import tensorflow as tf

from Classes.imaging import network_input

NAME = "AllCNN"
SIDE = 100
FILTERS = 30
KERNEL = 5
# Side of the activations after the pooling.
POOLED_SIDE = SIDE // 2

OUTPUT = "AllCNN/Predictions/Softmax"
HEAD = "AllCNN/Logits"
BLOCKS = ("Conv_1", "Conv_2", "Logits")
HAS_GLOBAL_POOL = False
PRETRAINED = None
SKIP_RESTORE = ()


def input_spec(configuration):
    """How it sees an image: pixel / 255, blue first, as the published weights saw what OpenCV had read."""
    return network_input.InputSpec(SIDE, mean=0.0, scale=255.0, channels="BGR")


def variable_shapes(configuration, blocks=()):
    """{variable name: shape}, from the input to the output."""
    features = POOLED_SIDE * POOLED_SIDE * FILTERS
    return {
        "AllCNN/Conv_1/weights": (KERNEL, KERNEL, 3, FILTERS),
        "AllCNN/Conv_1/biases": (FILTERS,),
        "AllCNN/Conv_2/weights": (KERNEL, KERNEL, FILTERS, FILTERS),
        "AllCNN/Conv_2/biases": (FILTERS,),
        "AllCNN/Logits/weights": (features, configuration["NumClasses"]),
        "AllCNN/Logits/biases": (configuration["NumClasses"],),
    }


def build_trainable(configuration, blocks, steps):
    """The network to train, from random weights of TensorFlow's generator."""
    return AllCNN(variable_shapes(configuration))


def build_inference_graph(configuration, arrays, folded=True):
    """The answering network as a tf.Graph; there is no batch norm, so folded and not are the same."""
    result = tf.Graph()
    with result.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, SIDE, SIDE, 3], name="input")
        values = {name: tf.constant(arrays[name], name=name) for name in variable_shapes(configuration)}
        tf.nn.softmax(_logits(images, values), name=OUTPUT)
    return result


def read_keras_weights(path, names):
    """The published `weights.h5`: Keras's layers in their order are ours, only the names differ.

    Args:
      path: weights that Keras's save_weights wrote, or a whole model as HDF5.
      names: the network's variables, from the input to the output.
    Returns:
      {variable name: float32 array}.
    Raises:
      OSError, KeyError, ValueError: no such file.
    """
    with h5py.File(path) as file:
        groups = file.get("model_weights", file)
        layers = [groups[layer] for layer in groups.attrs["layer_names"]]
        arrays = [numpy.asarray(layer[name], "float32") for layer in layers for name in layer.attrs["weight_names"]]
    if len(arrays) != len(names):
        raise ValueError(f"{len(arrays)} arrays of weights; this network has {len(names)}")
    return dict(zip(names, arrays, strict=True))


class AllCNN(tf.Module):
    """The network under its variable names.

    Args:
      shapes: of the module's function of that name.
    """

    def __init__(self, shapes):
        super().__init__()
        self._values = {name: tf.Variable(_glorot_uniform(shape), name=name) for name, shape in shapes.items()}

    def __call__(self, images, training=False, seed=None):
        """(logits float32 [N, C], None) of float32 [N, 100, 100, 3]; it has neither dropout nor an auxiliary head."""
        return _logits(images, self._values), None

    def named_variables(self):
        """{variable name: tf.Variable}."""
        return self._values


def _logits(images, values):
    for layer in ("AllCNN/Conv_1", "AllCNN/Conv_2"):
        # Two pixels of zeros on every side, as in the published network, are what SAME means here.
        images = tf.nn.conv2d(images, values[f"{layer}/weights"], 1, "SAME")
        images = tf.nn.relu(tf.nn.bias_add(images, values[f"{layer}/biases"]))
    images = tf.nn.max_pool2d(images, 2, 2, "VALID")
    weights = values[f"{HEAD}/weights"]
    flat = tf.reshape(images, [-1, weights.shape[0]])
    return tf.nn.bias_add(tf.matmul(flat, weights), values[f"{HEAD}/biases"])


def _glorot_uniform(shape):
    """Glorot & Bengio (2010), the published network's start; biases are zero."""
    return tf.zeros(shape) if len(shape) == 1 else tf.initializers.GlorotUniform()(shape)
