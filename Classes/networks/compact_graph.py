"""Frozen graphs with float16 weights, from which training can start: half the size, and one file for both uses."""

import pathlib
import types
from collections.abc import Mapping

import numpy
import tensorflow as tf

from Classes.common.errors import CheckpointError
from Classes.common.translation import Message

# Smaller arrays are biases and the like, which cost little.
MIN_VALUES = 1024

_HALF, _FLOAT = tf.float16.as_datatype_enum, tf.float32.as_datatype_enum


def round_weights(network: types.ModuleType, arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Return the values that a compact graph of a network keeps.

    Args:
      network: module of the network, see registry.get_network.
      arrays: {variable name: float32 array} of a checkpoint.
    """
    folded = _fold(network, arrays)
    rounded = {
        name: values.astype("float16").astype("float32") if _is_large(name, values, network.HEAD) else values
        for name, values in folded.items()
    }
    return _unfold(network, {**rounded, **_moving_means(network, arrays)})


def compact_graph(
    definition: tf.compat.v1.GraphDef, network: types.ModuleType, arrays: Mapping[str, numpy.ndarray]
) -> tf.compat.v1.GraphDef:
    """Return a frozen graph that stores its large weights in float16 and keeps what training needs.

    The last layer stays in float32, because the temperature of the calibration divides it.

    Args:
      definition: frozen graph with the values of `round_weights`.
      network: module of the network.
      arrays: {variable name: float32 array} of `round_weights`.
    """
    result = tf.compat.v1.GraphDef(versions=definition.versions)
    for node in definition.node:
        large = node.op == "Const" and node.attr["dtype"].type == _FLOAT
        values = tf.make_ndarray(node.attr["value"].tensor) if large else None
        if values is None or not _is_large(node.name, values, network.HEAD):
            result.node.add().CopyFrom(node)
            continue
        _add_constant(result, f"{node.name}/float16", values.astype("float16"))
        cast = result.node.add(name=node.name, op="Cast", input=[f"{node.name}/float16"])
        cast.attr["SrcT"].type, cast.attr["DstT"].type = _HALF, _FLOAT
    # Nothing reads these nodes, so they cost no time.
    for name, values in _moving_means(network, arrays).items():
        _add_constant(result, name, values)
    return result


def read_frozen_weights(path: pathlib.Path, network: types.ModuleType) -> dict[str, numpy.ndarray]:
    """Read the weights of a frozen graph for training.

    Args:
      path: the graph's file.
      network: module of the network, which restores the batch norms.
    Returns:
      {variable name: float32 array}.
    Raises:
      CheckpointError: the file is not a frozen graph.
    """
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
        tensors = {
            node.name: tf.make_ndarray(node.attr["value"].tensor) for node in definition.node if node.op == "Const"
        }
    # protobuf has an error class of its own in every implementation.
    except Exception as error:
        reason = type(error).__name__
        raise CheckpointError(
            Message("{path}: not a readable frozen graph ({reason}).", path=path, reason=reason)
        ) from error
    casts = {node.name: tensors.get(node.input[0]) for node in definition.node if node.op == "Cast"}
    arrays = {**tensors, **{name: values for name, values in casts.items() if values is not None}}
    kinds = ("weights", "biases", "moving_mean")
    named = {name: values.astype("float32") for name, values in arrays.items() if name.rpartition("/")[2] in kinds}
    return _unfold(network, named)


def _is_large(name: str, values: numpy.ndarray, head: str) -> bool:
    return values.size >= MIN_VALUES and not name.startswith(f"{head}/")


def _add_constant(definition: tf.compat.v1.GraphDef, name: str, values: numpy.ndarray) -> None:
    node = definition.node.add(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(values.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))


def _fold(network: types.ModuleType, arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    return network.fold_batch_norm(arrays) if hasattr(network, "fold_batch_norm") else dict(arrays)


def _unfold(network: types.ModuleType, arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    return network.unfold_batch_norm(arrays) if hasattr(network, "unfold_batch_norm") else dict(arrays)


def _moving_means(network: types.ModuleType, arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    return network.folded_moving_means(arrays) if hasattr(network, "folded_moving_means") else {}
