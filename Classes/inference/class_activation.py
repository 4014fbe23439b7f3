"""Class activation maps (Zhou et al., arXiv:1512.04150) of a frozen graph: which places of an image count for a class.

A map of a model of two classes is for the one that means disease, whatever the result is. A map of any other model is
for the predicted class.

Inception V3 averages the activations of Mixed_7c over the image and applies a linear layer. Applied before the average,
the same weights give the contribution of each place, without gradients. The dense layer of a small network has separate
weights for each place, and its contributions add up in the same way.
"""

import importlib
import io
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import PIL.Image

from Classes.common.errors import EngineError, GraphError
from Classes.common.translation import Message
from Classes.inference import backend, int8_files, occlusion, openvino_backend, openvino_devices, prediction
from Classes.inference.model_card import ModelCard

OPERATIONS = importlib.import_module(f"{openvino_devices.openvino_api.__name__}.opset8")

# Red counts for the class and blue against it; people with a color vision deficiency can distinguish them.
POSITIVE_RGB, NEGATIVE_RGB = (214, 40, 40), (33, 102, 172)

# With fewer places, a map shows hardly more than one color, and occlusion.py makes it. Images of 128 pixels have 4.
MIN_PLACES = 16

# Opacity of the color where the map is strongest; the cell must stay visible.
OPACITY = 0.6


class Explainer:
    """Class activation maps from the network that makes the predictions.

    If a backend on the CPU predicts, the map is a second output of its network, in the same precision: one pass gives
    the probabilities and the map, and requests without a map use the network without it. If another device predicts,
    such as an NCS1 stick, or if the last layer of an int8 network cannot be read, the map comes from the frozen graph
    on the CPU. The network is read here and compiled on first use, so a model that is published later changes nothing.

    Args:
      card: the model.
      predictor: the backend that predicts; None: maps come from the frozen graph.
    Attributes:
      predicts: whether `explain` returns the probabilities of `predictor`.
      name, precision: of what computes the maps, such as "OpenVINO CPU" and "bf16".
    """

    name = "OpenVINO CPU"

    def __init__(self, card: ModelCard, predictor: backend.InferenceBackend | None = None) -> None:
        self._card = card
        self._for_disease = len(card.classes) == 2 and bool(card.positive)
        self._kernel: numpy.ndarray | None = None
        self._is_coarse = False
        self._lock = threading.Lock()
        self._request: Any = None
        self._unsupported: GraphError | None = None
        source = getattr(predictor, "source", None)
        self.predicts = source is not None
        on_cpu = predictor if self.predicts else getattr(predictor, "fallback", None)
        source = getattr(on_cpu, "source", None)
        self.precision = on_cpu.precision if on_cpu is not None and source is not None else "f32"
        try:
            self._source = self._open(source)
        except GraphError as error:
            self._unsupported = error

    def mapped_class(self, label: str) -> str:
        """Return the class that the map of an image with the predicted class `label` is for."""
        return self._card.positive[0] if self._for_disease else label

    def predicted_class(self, probabilities: numpy.ndarray) -> str:
        """Return the predicted class of float32 [classes]."""
        return prediction.make_prediction(probabilities, self._card, 0).label

    def explain(self, batch: numpy.ndarray, labels: Sequence[str] | None = None) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return class probabilities, and how much each place of an image counts for a class; safe from any thread.

        The class is `mapped_class`. The mean over a map is its logit minus the mean logit of the others (in int8 except
        for rounding). It includes the bias of the last layer, spread evenly: without it, the map would show the
        distance from an empty image and not from the decision boundary. The map of a network with fewer than MIN_PLACES
        places is an occlusion map.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from network_input.InputSpec.decode_and_resize.
          labels: the predicted class of each image, if another device predicts; None: by the probabilities.
        Returns:
          float32 [N, classes], and float32 [N, h, w], such as 8 x 8 places of 299 pixels; positive where it counts for
          the class.
        Raises:
          GraphError: there are no maps for this network, or the graph was not the card's when it was read.
          EngineError: the device failed, or its output is invalid.
        """
        if self._unsupported is not None:
            raise self._unsupported.with_traceback(None)
        # One at a time: parallel maps would share the cores but need more memory.
        with self._lock:
            if self._request is None:
                self._request = self._compile()
            found = [self._infer(image) for image in batch]
            probabilities = numpy.stack([each for each, _ in found])
            backend.validate_probabilities(probabilities, len(self._card.classes))
            labels = labels or [self.predicted_class(row) for row in probabilities]
            places = [each for _, each in found]
            maps = numpy.stack([self._map(*each) for each in zip(batch, places, labels, strict=True)])
        if not numpy.isfinite(maps).all():
            raise EngineError(
                Message("device result invalid: a heat map with values that are not finite"), "invalid_output"
            )
        return probabilities, maps

    def maps(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return the maps of `explain`, float32 [N, h, w]."""
        return self.explain(batch)[1]

    def _infer(self, image: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the probabilities of an image, float32 [classes], and the second output of the network."""
        try:
            self._request.infer([self._card.input_spec.normalize(image[None])])
        except RuntimeError as error:
            raise EngineError(
                Message("the heat map's network failed on the CPU; run again"), "device_failed"
            ) from error
        probabilities, places = (self._request.get_output_tensor(index).data[0].copy() for index in (0, 1))
        return probabilities, places

    def _map(self, image: numpy.ndarray, places: numpy.ndarray, label: str) -> numpy.ndarray:
        """Return float32 [h, w] for one image: a channel of its output, or the weighed sum of the activations."""
        mapped = self.mapped_class(label)
        row = 0 if self._for_disease else self._card.classes.index(mapped)
        if self._is_coarse:
            return occlusion.occlusion_map(lambda each: self._infer(each)[0], image, self._card.classes.index(mapped))
        values = places[row] if self._kernel is None else (places * self._kernel[row]).sum(axis=-1, dtype="float32")
        return values + self._bias[row]

    def draw(self, image: numpy.ndarray) -> bytes:
        """Return a map over the image that the network sees.

        Args:
          image: uint8 [S, S, 3], from network_input.InputSpec.decode_and_resize.
        Returns:
          PNG bytes, S x S pixels; see `render_overlay`.
        """
        return render_overlay(image, self.maps(image[None])[0])

    def _open(self, source: openvino_backend.Source | None) -> openvino_backend.Source:
        """Return the network with a second output: the map, or the activations that it is a sum of."""
        if source is not None:
            try:
                return self._add_map(source)
            except GraphError:
                if self.precision != int8_files.INT8:
                    raise
        self.predicts, self.precision = False, "f32"
        core = openvino_devices.new_core()
        model = openvino_backend.read_model(core, self._card.graph_path)
        self._card.verify_graph()
        return self._add_map(openvino_backend.Source(core, model, "f32"))

    def _add_map(self, source: openvino_backend.Source) -> openvino_backend.Source:
        # A copy, because the backend may be compiling its network at the same time.
        model = source.model.clone()
        head = find_head(model)
        scheme = self._card.scheme
        targets = [scheme.positive_indices] if self._for_disease else [[index] for index in range(len(scheme.names))]
        kernel, self._bias = (
            numpy.stack([contrast_weights(weights, each) for each in targets]) for weights in (head.kernel, head.biases)
        )
        [probabilities] = model.get_results()
        output, self._kernel = head.activations, kernel
        if head.axis == 1:
            # With the activations as output, OpenVINO would pool them in float32, and the probabilities in bf16 would
            # differ from those of the backend.
            output = OPERATIONS.convolution(output, kernel, [1, 1], [0, 0], [0, 0], [1, 1]).output(0)
            self._kernel = None
        shape = list(head.activations.get_shape())
        if numpy.prod(shape) / shape[head.axis] < MIN_PLACES:
            # An occlusion map takes many passes, which would count as the time of the prediction.
            self._is_coarse, self.predicts = True, False
        outputs = [probabilities.input_value(0), output]
        return source._replace(model=openvino_devices.openvino_api.Model(outputs, model.get_parameters()))

    def _compile(self) -> Any:
        core, model, precision = self._source
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        try:
            return core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise EngineError(
                Message("{graph_path}: no heat maps from it on the CPU", graph_path=self._card.graph_path),
                "no_heat_map",
            ) from error


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
    return _dense(dense[-1]) if dense else _pooled(openvino_backend.find_global_pool(model))


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
    """Return the float32 value of a port that does not depend on the image; in int8 it has to be computed."""
    if port.get_node().get_type_name() == "Constant":
        return port.get_node().data.astype("float32")
    try:
        model = openvino_devices.openvino_api.Model([port], [])
        compiled = openvino_devices.new_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return compiled([])[0].astype("float32")
    except RuntimeError as error:
        raise GraphError(
            Message("the weights of the graph's last layer are not constant; there are no heat maps"), "no_heat_map"
        ) from error


def _biases(layer: Any) -> numpy.ndarray:
    """Return the bias of a layer, float32 [classes]."""
    node = _consumer(layer)
    constants = (
        [] if node is None or node.get_type_name() != "Add" else [port.get_node() for port in node.input_values()]
    )
    found = [each.data.reshape(-1) for each in constants if each.get_type_name() == "Constant"]
    if not found:
        raise GraphError(Message("the graph's last layer has no bias; there are no heat maps for it"), "no_heat_map")
    return found[0].astype("float32")


def contrast_weights(weights: numpy.ndarray, positive: Sequence[int]) -> numpy.ndarray:
    """Return the mean weights of some classes minus those of the others; what all share does not change a softmax.

    Args:
      weights: float32 [classes, ...], kernel or biases of a Head.
      positive: indices of the classes that the map is for.
    Returns:
      float32 [...].
    """
    return weights[list(positive)].mean(axis=0) - numpy.delete(weights, positive, axis=0).mean(axis=0)


def render_overlay(image: numpy.ndarray, values: numpy.ndarray) -> bytes:
    """Draw a map over its image in gray: red for its class, blue against it, stronger where it counts more.

    Args:
      image: uint8 [S, S, 3].
      values: float32 [h, w]; the largest magnitude gets the full color.
    Returns:
      PNG bytes, S x S pixels.
    """
    height, width = image.shape[:2]
    # In gray, because stains are red and blue too.
    grey = numpy.asarray(PIL.Image.fromarray(image).convert("L"))[..., None]
    largest = float(numpy.abs(values).max())
    scaled = PIL.Image.fromarray((values / largest if largest else values).astype("float32"))
    smooth = numpy.asarray(scaled.resize((width, height), PIL.Image.Resampling.BICUBIC)).clip(-1, 1)
    colour = numpy.where(smooth[..., None] > 0, POSITIVE_RGB, NEGATIVE_RGB)
    opacity = OPACITY * numpy.abs(smooth)[..., None]
    blended = numpy.rint(grey * (1 - opacity) + colour * opacity).astype("uint8")
    buffer = io.BytesIO()
    PIL.Image.fromarray(blended).save(buffer, "PNG")
    return buffer.getvalue()
