"""Tiny frozen graphs with answers worked out by hand, in the shape of the real one, and their cards."""

import functools
import hashlib
import inspect
import os
import pathlib

import numpy

from Classes import Helpers
from Classes.common import atomic_files, conditions
from Classes.inference import model_card

OUTPUT = "InceptionV3/Predictions/Softmax"

# Probability of class "1" for an image whose red is everywhere this value: sigmoid(4 (red - 128) / 128).
RED = {0: 0.017986, 64: 0.119203, 96: 0.268941, 128: 0.5, 160: 0.731059, 192: 0.880797}


def _kept(build):
    """A graph is built once; in the folder ALL_GRAPHS it also serves interpreters that have no TensorFlow."""

    @functools.cache
    @functools.wraps(build)
    def kept(*arguments, **named):
        if "ALL_GRAPHS" not in os.environ:
            return build(*arguments, **named)
        bound = inspect.signature(build).bind(*arguments, **named)
        bound.apply_defaults()
        parts = [build.__name__, *map(str, bound.arguments.values())]
        path = pathlib.Path(os.environ["ALL_GRAPHS"], "-".join(parts) + ".pb")
        if not path.exists():
            path.write_bytes(build(*arguments, **named))
        return path.read_bytes()

    return kept


@_kept
def frozen(kind="softmax", classes=2, size=299):
    """A GraphDef's bytes: mean colour, one dense layer on it, softmax.

    The logit of class 1 is 4 times the mean red, of class 2 (where there is one) 4 times the mean green, else 0.

    Args:
      kind: "softmax"; or broken: "nan", "double" (sums to 2), "negative" (sums to 1 all the same).
      classes: number of outputs.
      size: side of the square input in pixels.
    """
    import tensorflow as tf

    weights = numpy.zeros((3, classes), "float32")
    for column in range(1, min(classes, 4)):
        weights[column - 1, column] = 4
    with tf.Graph().as_default() as graph:
        inputs = tf.compat.v1.placeholder(tf.float32, [1, size, size, 3], name="input")
        logits = tf.matmul(tf.reduce_mean(inputs, [1, 2]), tf.constant(weights))
        if kind == "softmax":
            tf.nn.softmax(logits, name=OUTPUT)
        else:
            sound = tf.nn.softmax(logits)
            broken = {
                "nan": lambda: tf.math.log(-1.0 - sound),
                "double": lambda: sound * 2.0,
                "negative": lambda: 5.0 * sound - 4.0 / classes,
            }
            tf.identity(broken[kind](), name=OUTPUT)
    return graph.as_graph_def().SerializeToString()


# Pixels of a place, and places of the map.
PLACE, PLACES = 4, 8
SIZE = PLACE * PLACES

KERNEL = numpy.array([[1.0, 5.0, 0.0], [2.0, 0.0, 1.0], [0.0, 0.0, 0.0]], "float32")
BIAS = numpy.array([0.5, 0.0, 0.0], "float32")


def coarse():
    """A GraphDef's bytes like `pooled`, but with 2 x 2 places of 16 x 16 pixels."""
    return pooled(place=SIZE // 2)


@_kept
def pooled(classes=2, middle=0, place=PLACE):
    """A GraphDef's bytes in Inception's form: places of 4x4 pixels, their mean, a last layer of one pixel, softmax.

    Args:
      classes: outputs; the columns of KERNEL and BIAS that are used.
      middle: what stands between the mean and the last layer: 0 nothing, 1 a function that is not linear.
      place: side of a place in pixels.
    """
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        inputs = tf.compat.v1.placeholder(tf.float32, [1, SIZE, SIZE, 3], name="input")
        places = tf.nn.relu(tf.nn.avg_pool2d(inputs, place, place, "VALID"))
        mean = tf.nn.avg_pool2d(places, SIZE // place, 1, "VALID")
        mean = tf.nn.tanh(mean) if middle else mean
        logits = tf.nn.conv2d(mean, KERNEL[None, None, :, :classes], 1, "VALID") + BIAS[:classes]
        tf.nn.softmax(tf.squeeze(logits, [1, 2]), name=OUTPUT)
    return graph.as_graph_def().SerializeToString()


@_kept
def dense():
    """A GraphDef's bytes in the small network's form: places of 4x4 pixels, a dense layer on all of them, softmax.

    The logit of class 1 is DENSE's weighed sum of all places' red, of class 0 half of the sum of all green.
    """
    import tensorflow as tf

    weights = numpy.zeros((PLACES, PLACES, 3, 2), "float32")
    weights[..., 0, 1] = DENSE
    weights[..., 1, 0] = 0.5
    with tf.Graph().as_default() as graph:
        inputs = tf.compat.v1.placeholder(tf.float32, [1, SIZE, SIZE, 3], name="input")
        places = tf.nn.max_pool2d(inputs, PLACE, PLACE, "VALID")
        logits = tf.matmul(tf.reshape(places, [-1, PLACES * PLACES * 3]), weights.reshape(-1, 2))
        tf.nn.softmax(tf.nn.bias_add(logits, BIAS[:2]), name=OUTPUT)
    return graph.as_graph_def().SerializeToString()


# What each place counts, no two alike.
DENSE = numpy.arange(PLACES * PLACES, dtype="float32").reshape(PLACES, PLACES) / 100


def write(folder, kind="softmax", classes=("0", "1"), size=299, content=None, **fields):
    """Write a graph and its card as Trainer.py leaves them.

    Args:
      folder: pathlib.Path; `ALLGraph.pb` and `ALLGraph.json` are written there.
      kind, classes, size: see `frozen`; `classes` are names here.
      content: bytes to write instead of a graph; the card's hash fits them.
      fields: further fields of the card, or other values for the ones it has.
    Returns:
      pathlib.Path of the card.
    """
    folder = pathlib.Path(folder)
    content = frozen(kind, len(classes), size) if content is None else content
    atomic_files.write_atomic(folder / "ALLGraph.pb", content)
    card = {
        "version": 1,
        "network": "InceptionV3",
        "graph": "ALLGraph.pb",
        "graph_sha256": hashlib.sha256(content).hexdigest(),
        "classes": list(classes),
        "positive": "1",
        "condition": conditions.ALL.to_json(),
        "input": {"node": "input", "size": size, "mean": 128.0, "channels": "RGB"},
        "output": OUTPUT,
        "threshold": 0.5,
        "temperature": 1.0,
        "uncertain": None,
        "calibration": None,
        "int8": None,
        "synthetic": False,
        "data": {},
        "training": {},
        "metrics": None,
        "compiled": None,
        "cell_types": None,
        "colours": None,
        # Images of one color are no cells.
        "image_check": {"images": 0, "limit": 0.0},
        "versions": {},
        "commit": None,
        "created": "2026-01-01T00:00:00+00:00",
        "notice": Helpers.DISCLAIMER,
    }
    model_card.write_model_card(folder / "ALLGraph.json", {**card, **fields})
    return folder / "ALLGraph.json"


def red(value, size=299):
    """An image of one red, uint8 [size, size, 3]; see RED for its probability."""
    image = numpy.zeros((size, size, 3), "uint8")
    # Something to see, which the graph does not look at.
    image[size // 3 : size // 2, size // 3 : size // 2, 2] = 150
    image[:, :, 0] = value
    return image


def configuration(folder, *settings):
    """The shipped configuration with every path under `folder`, in this process, on the CPU in float32."""
    return Helpers.load_config(None, [f"NetworkPath={folder}", "Precision=f32", "Processes=0", *settings])
