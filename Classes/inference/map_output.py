"""The second output of a network, from which class_activation.py makes heat maps: how much each place counts.

Inception V3 averages the activations of Mixed_7c over the image and applies a linear layer. Applied before the average,
the same weights give the contribution of each place, without gradients. The dense layer of a small network has separate
weights for each place, and its contributions add up in the same way.
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from Classes.common.errors import GraphError
from Classes.common.translation import Message
from Classes.inference import openvino_devices
from Classes.inference.model_card import ModelCard

OPERATIONS = importlib.import_module(f"{openvino_devices.openvino_api.__name__}.opset8")

# With fewer places, a map shows hardly more than one color, and occlusion.py makes it. Images of 128 pixels have 4.
MIN_PLACES = 16


class MapOutput(NamedTuple):
    """A network whose second output gives the contributions of places.

    Attributes:
      model: openvino.Model; its first output is the probabilities, to the last bit those of the network without the
        second one. The second output is the contributions, [rows, h, w].
      biases: float32 [rows].
      is_free: whether the second output costs no time.
      is_coarse: whether there are fewer places than MIN_PLACES.
    """

    model: Any
    biases: numpy.ndarray
    is_free: bool
    is_coarse: bool

    def contributions(self, places: numpy.ndarray, row: int) -> numpy.ndarray:
        """Return float32 [h, w] for one image.

        Args:
          places: the second output for the image.
          row: index of the class; 0 if a model of two classes detects something.
        """
        return places[row] + self.biases[row]


def maps_disease(card: ModelCard) -> bool:
    """Return whether all maps of a model are for the class that means disease, whatever the result is."""
    return len(card.classes) == 2 and bool(card.positive)


def add_map(model: Any, card: ModelCard) -> MapOutput:
    """Return a copy of a network with a second output.

    With pooling, the output is a small convolution, which takes no measurable time (benchmarks/heat_maps.py). With a
    dense layer, it is a multiplication and a convolution, with which a network of 1 ms takes a twentieth longer. The
    probabilities are the same to the last bit in float32 and bf16, with pooling also in int8. With the activations
    themselves as output, OpenVINO would compute the rest in float32, and the probabilities in bf16 would change in the
    third digit.

    Args:
      model: openvino.Model with one input and one output.
      card: its card.
    Raises:
      GraphError: it has no weights per place.
    """
    # A copy, because the same network may be compiled without the output.
    model = model.clone()
    head = find_head(model)
    scheme = card.scheme
    targets = [scheme.positive_indices] if maps_disease(card) else [[index] for index in range(len(scheme.names))]
    kernel, biases = (
        numpy.stack([contrast_weights(weights, each) for each in targets]) for weights in (head.kernel, head.biases)
    )
    output, is_pooled = head.activations, head.axis == 1
    shape = list(head.activations.get_shape())
    if is_pooled:
        output = OPERATIONS.convolution(output, kernel, [1, 1], [0, 0], [0, 0], [1, 1]).output(0)
    else:
        output = _products(output, kernel)
    is_coarse = bool(numpy.prod(shape) / shape[head.axis] < MIN_PLACES)
    [probabilities] = model.get_results()
    outputs = [probabilities.input_value(0), output]
    extended = openvino_devices.openvino_api.Model(outputs, model.get_parameters())
    return MapOutput(extended, biases, is_pooled, is_coarse)


def _products(activations: Any, kernel: numpy.ndarray) -> Any:
    """Return the sum over the channels of the product with the weights of each place.

    Args:
      activations: openvino.Output, [1, h, w, channels].
      kernel: float32 [rows, h, w, channels].
    Returns:
      openvino.Output, [1, rows, h, w].
    """
    rows, height, width, channels = kernel.shape
    products = OPERATIONS.multiply(_channels_first(activations), numpy.ascontiguousarray(kernel.transpose(0, 3, 1, 2)))
    # A convolution, because a sum would have OpenVINO compute the activations in float32.
    ones = numpy.ones((1, channels, 1, 1), "float32")
    sums = OPERATIONS.convolution(products, ones, [1, 1], [0, 0], [0, 0], [1, 1])
    return OPERATIONS.reshape(sums, numpy.array([1, rows, height, width]), False).output(0)


def _channels_first(activations: Any) -> Any:
    """Return activations, [1, h, w, channels], as openvino.Output, [1, channels, h, w]."""
    node = activations.get_node()
    # OpenVINO computes in this order, so it has turned them for the dense layer. To turn them back takes 0.1 ms.
    if node.get_type_name() == "Transpose" and _constant(node.input_value(1)).tolist() == [0, 2, 3, 1]:
        return node.input_value(0)
    return OPERATIONS.transpose(activations, numpy.array([0, 3, 1, 2])).output(0)


class Head(NamedTuple):
    """The weights of a network's last layer per place of an image.

    Attributes:
      activations: openvino.Output of its input, [1, ...] with h, w and the channels in some order.
      kernel: float32 [classes, ...]; a logit is the mean over the places of its product with the activations.
      biases: float32 [classes].
      axis: the axis of the channels, in batches of activations.
    """

    activations: Any
    kernel: numpy.ndarray
    biases: numpy.ndarray
    axis: int


def find_head(model: Any) -> Head:
    """Return the last layer of a frozen graph: a dense one on all places, or one on their mean.

    Raises:
      GraphError: it has no weights per place.
    """
    dense = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    return _dense(dense[-1]) if dense else _pooled(find_global_pool(model))


def _dense(node: Any) -> Head:
    flattened = _before_rounding(node.input_value(0)).get_node()
    before = flattened.input_value(0) if flattened.get_type_name() == "Reshape" else None
    if before is None or len(before.get_shape()) != 4:
        raise GraphError(
            Message(
                "the dense layer of the graph has no weights per place of the image; there are no heat maps for it"
            ),
            "no_heat_map",
        )
    kernel = _constant(node.input_value(1))
    weights = kernel if node.get_attributes()["transpose_b"] else kernel.T
    # TensorFlow flattens rows, columns, channels.
    _, height, width, channels = before.get_shape()
    weights = weights.reshape(-1, height, width, channels) * (height * width)
    return Head(before, weights.astype("float32"), _biases(node), 3)


def _pooled(pooled: Any) -> Head:
    node = _consumer(pooled)
    while node is not None and node.get_type_name() == "FakeQuantize":
        node = _consumer(node)
    if node is None or node.get_type_name() != "Convolution":
        raise GraphError(
            Message("the graph has no last layer right after its global pooling; there are no heat maps for it"),
            "no_heat_map",
        )
    if list(node.input_value(1).get_shape())[2:] != [1, 1]:
        raise GraphError(
            Message("the graph's last layer is not a 1x1 convolution; there are no heat maps for it"), "no_heat_map"
        )
    return Head(pooled.input_value(0), _constant(node.input_value(1)), _biases(node), 1)


def _consumer(node: Any) -> Any:
    """Return the only node that uses a node's output, or None."""
    following = list(node.output(0).get_target_inputs())
    return following[0].get_node() if len(following) == 1 else None


def _before_rounding(port: Any) -> Any:
    """Return the port whose values are rounded for an int8 layer."""
    while port.get_node().get_type_name() == "FakeQuantize":
        port = port.get_node().input_value(0)
    return port


def _constant(port: Any) -> numpy.ndarray:
    """Return the float32 value of a port that does not depend on the image; it may have to be computed, as in int8."""
    node = port.get_node()
    if node.get_type_name() == "Constant":
        # OpenVINO 2022.3 has no array, but a flat vector.
        values = node.data if hasattr(node, "data") else node.get_vector().reshape(list(node.get_output_shape(0)))
        return values.astype("float32")
    try:
        model = openvino_devices.openvino_api.Model([port], [])
        compiled = openvino_devices.new_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        request = compiled.create_infer_request()
        request.infer([])
        return request.get_output_tensor(0).data.astype("float32")
    except RuntimeError as error:
        raise GraphError(
            Message("the weights of the graph's last layer are not constant; there are no heat maps"), "no_heat_map"
        ) from error


def _biases(layer: Any) -> numpy.ndarray:
    """Return the bias of a layer, float32 [classes]."""
    node = _consumer(layer)
    if node is None or node.get_type_name() != "Add":
        raise GraphError(Message("the graph's last layer has no bias; there are no heat maps for it"), "no_heat_map")
    name = layer.get_friendly_name()
    [bias] = [port for port in node.input_values() if port.get_node().get_friendly_name() != name]
    return _constant(bias).reshape(-1)


def contrast_weights(weights: numpy.ndarray, positive: Sequence[int]) -> numpy.ndarray:
    """Return the mean weights of some classes minus those of the others; what all share does not change a softmax.

    Args:
      weights: float32 [classes, ...], kernel or biases of a Head.
      positive: indices of the classes that the map is for.
    Returns:
      float32 [...].
    """
    return weights[list(positive)].mean(axis=0) - numpy.delete(weights, positive, axis=0).mean(axis=0)


def find_global_pool(model: Any) -> Any:
    """Return the global pooling node of a frozen Inception V3: the last AvgPool before the output.

    Args:
      model: openvino.Model; its input is NHWC, its inner layers are NCHW.
    Returns:
      openvino.Node; `input_value(0)` is the activations of Mixed_7c, `output(0)` the pooled features.
    Raises:
      GraphError: there is none, or it does not pool over the whole image.
    """
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "AvgPool"]
    if not found or list(found[-1].get_output_shape(0))[2:] != [1, 1]:
        raise GraphError(Message("the graph has no global average pooling; an Inception V3 has one"), "graph_io")
    return found[-1]
