"""Freeze the network of the cell finder, with large weights in float16, and compare the frozen graph with it."""

import pathlib
from typing import Any

import numpy
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from Classes.common.errors import GraphError
from Classes.common.translation import Message
from Classes.inference import openvino_backend, openvino_devices
from Classes.networks import compact_graph
from Classes.training import finder_network

PARITY_TOLERANCE = 1e-3


def round_weights(network: Any) -> None:
    """Round the large weights of a network to what a frozen graph keeps of them."""
    network.set_weights(
        [
            values.astype("float16").astype("float32") if values.size >= compact_graph.MIN_VALUES else values
            for values in network.get_weights()
        ]
    )


def freeze(network: Any) -> tf.compat.v1.GraphDef:
    """Return the frozen graph of a network whose weights are rounded; see finder_card for its input and output."""

    def answer(image: Any) -> Any:
        return tf.identity(network(finder_network.normalize(image), training=False), finder_network.OUTPUT)

    signature = tf.TensorSpec([1, None, None, 3], tf.uint8, name=finder_network.INPUT)
    frozen = convert_variables_to_constants_v2(tf.function(answer).get_concrete_function(signature))
    definition = tf.compat.v1.GraphDef()
    for node in frozen.graph.as_graph_def().node:
        values = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
        if values is None or values.dtype != numpy.float32 or values.size < compact_graph.MIN_VALUES:
            definition.node.add().CopyFrom(node)
            continue
        half = definition.node.add(name=f"{node.name}/float16", op="Const")
        half.attr["dtype"].type = tf.float16.as_datatype_enum
        half.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values.astype("float16")))
        cast = definition.node.add(name=node.name, op="Cast", input=[half.name])
        cast.attr["SrcT"].type, cast.attr["DstT"].type = tf.float16.as_datatype_enum, tf.float32.as_datatype_enum
    definition.versions.CopyFrom(frozen.graph.as_graph_def().versions)
    return definition


def check_parity(network: Any, path: pathlib.Path, images: numpy.ndarray) -> float:
    """Return the largest difference between a network and its frozen graph in OpenVINO.

    Args:
      network: tf_keras.Model.
      path: of the frozen graph.
      images: uint8 [N, S, S, 3].
    Raises:
      GraphError: `parity`, if it is not small.
    """
    core = openvino_devices.new_core()
    model = openvino_backend.read_model(core, path)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = network(finder_network.normalize(images), training=False).numpy()
    found = numpy.concatenate([compiled([image[None]])[0] for image in images])
    difference = float(numpy.abs(found - expected).max())
    shown = f"{difference:.2g}"
    if not difference <= PARITY_TOLERANCE * max(1.0, float(numpy.abs(expected).max())):
        raise GraphError(
            Message("{path}: differs from the network by {difference}", path=path, difference=shown),
            "parity",
        )
    return difference
