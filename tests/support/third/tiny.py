"""Example of a network added as docs/networks.md describes: it sees the mean color of each quarter of the image."""

import tensorflow as tf

from Classes.imaging import network_input

NAME = "Tiny"
OUTPUT = "Tiny/Softmax"
HEAD = "Tiny/Logits"
BLOCKS = ("Colours", "Logits")
HAS_GLOBAL_POOL = False
PRETRAINED = None
SKIP_RESTORE = ()


def input_spec(configuration):
    return network_input.InputSpec(16, mean=100.0, scale=50.0, channels="BGR", crop=0.9)


def variable_shapes(configuration, blocks=()):
    classes = configuration["NumClasses"]
    return {
        "Tiny/Colours/weights": (1, 1, 3, 8),
        "Tiny/Colours/biases": (8,),
        "Tiny/Logits/weights": (32, classes),
        "Tiny/Logits/biases": (classes,),
    }


def build_trainable(configuration, blocks, steps):
    return Module(variable_shapes(configuration))


def build_inference_graph(configuration, arrays, folded=True):
    result = tf.Graph()
    with result.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [1, 16, 16, 3], name="input")
        tf.nn.softmax(_logits(images, {name: tf.constant(value) for name, value in arrays.items()}), name=OUTPUT)
    return result


def read_keras_weights(path, names):
    raise ValueError("nobody has trained it with Keras")


class Module(tf.Module):
    def __init__(self, shapes):
        super().__init__()
        self._values = {name: tf.Variable(_initial(shape), name=name) for name, shape in shapes.items()}

    def __call__(self, images, training=False, seed=None):
        return _logits(images, self._values), None

    def named_variables(self):
        return self._values


def _logits(images, values):
    images = tf.nn.conv2d(images, values["Tiny/Colours/weights"], 1, "VALID")
    images = tf.nn.relu(tf.nn.bias_add(images, values["Tiny/Colours/biases"]))
    quarters = tf.nn.avg_pool2d(images, 8, 8, "VALID")
    return tf.nn.bias_add(
        tf.matmul(tf.reshape(quarters, [-1, 32]), values["Tiny/Logits/weights"]), values["Tiny/Logits/biases"]
    )


def _initial(shape):
    return tf.zeros(shape) if len(shape) == 1 else tf.initializers.GlorotUniform()(shape)
