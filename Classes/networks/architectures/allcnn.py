"""The small network of the AllDS2020 and oneAPI classifiers, for devices such as a Raspberry Pi: 720 KB frozen.

Two convolutions, one pooling, one dense layer: the network of Thanh et al., "Acute Leukemia Classification Using
Convolution Neural Network in Clinical Decision Support System" (airccj.org/CSCP/vol7/csit77505.pdf), on 100 x 100
pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy
import tensorflow as tf

from Classes.common.config import Configuration
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
SKIP_RESTORE: tuple[str, ...] = ()


def input_spec(configuration: Configuration) -> network_input.InputSpec:
    """Return the input spec: pixel / 255 in the order BGR, because the published weights were trained with OpenCV."""
    return network_input.InputSpec(SIDE, mean=0.0, scale=255.0, channels="BGR")


def variable_shapes(configuration: Configuration, blocks: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
    """Return the shapes by variable name, from the input to the output."""
    features = POOLED_SIDE * POOLED_SIDE * FILTERS
    return {
        "AllCNN/Conv_1/weights": (KERNEL, KERNEL, 3, FILTERS),
        "AllCNN/Conv_1/biases": (FILTERS,),
        "AllCNN/Conv_2/weights": (KERNEL, KERNEL, FILTERS, FILTERS),
        "AllCNN/Conv_2/biases": (FILTERS,),
        "AllCNN/Logits/weights": (features, configuration["NumClasses"]),
        "AllCNN/Logits/biases": (configuration["NumClasses"],),
    }


def build_trainable(configuration: Configuration, blocks: Sequence[str], steps: int) -> "AllCNN":
    """Build the network to train, with random weights."""
    return AllCNN(variable_shapes(configuration))


def build_inference_graph(
    configuration: Configuration, arrays: Mapping[str, numpy.ndarray], folded: bool = True
) -> tf.Graph:
    """Build the inference network; it has no batch norm, so `folded` changes nothing."""
    result = tf.Graph()
    with result.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, SIDE, SIDE, 3], name="input")
        values = {name: tf.constant(arrays[name], name=name) for name in variable_shapes(configuration)}
        tf.nn.softmax(_logits(images, values), name=OUTPUT)
    return result


def read_keras_weights(path: Any, names: Sequence[str]) -> dict[str, numpy.ndarray]:
    """Read the published `weights.h5`, whose layers have the same order and other names.

    Args:
      path: weights that Keras's save_weights wrote, or a whole model as HDF5.
      names: the network's variables, from the input to the output.
    Returns:
      {variable name: float32 array}.
    Raises:
      OSError, KeyError, ValueError: the file cannot be read or belongs to another network.
    """
    with h5py.File(path) as file:
        groups = file.get("model_weights", file)
        layers = [groups[layer] for layer in groups.attrs["layer_names"]]
        arrays = [numpy.asarray(layer[name], "float32") for layer in layers for name in layer.attrs["weight_names"]]
    if len(arrays) != len(names):
        raise ValueError(f"{len(arrays)} arrays of weights; this network has {len(names)}")
    return dict(zip(names, arrays, strict=True))


class AllCNN(tf.Module):
    """The network to train.

    Args:
      shapes: see `variable_shapes`.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self._values = {name: tf.Variable(_glorot_uniform(shape), name=name) for name, shape in shapes.items()}

    def __call__(self, images: tf.Tensor, training: bool = False, seed: Any = None) -> tuple[tf.Tensor, None]:
        """Return (logits float32 [N, C], None) of float32 [N, 100, 100, 3]; there is no dropout or auxiliary head."""
        return _logits(images, self._values), None

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return the variables by name."""
        return self._values


def _logits(images: tf.Tensor, values: Mapping[str, Any]) -> tf.Tensor:
    for layer in ("AllCNN/Conv_1", "AllCNN/Conv_2"):
        # SAME pads two pixels of zeros on every side here, like the published network.
        images = tf.nn.conv2d(images, values[f"{layer}/weights"], 1, "SAME")
        images = tf.nn.relu(tf.nn.bias_add(images, values[f"{layer}/biases"]))
    images = tf.nn.max_pool2d(images, 2, 2, "VALID")
    weights = values[f"{HEAD}/weights"]
    flat = tf.reshape(images, [-1, weights.shape[0]])
    return tf.nn.bias_add(tf.matmul(flat, weights), values[f"{HEAD}/biases"])


def _glorot_uniform(shape: tuple[int, ...]) -> tf.Tensor:
    """Return initial weights as in the published network (Glorot & Bengio, 2010); biases are zero."""
    return tf.zeros(shape) if len(shape) == 1 else tf.initializers.GlorotUniform()(shape)
