"""Class activation maps (Zhou et al., arXiv:1512.04150) of a frozen graph: which places of an image count for ALL.

Inception V3 averages the activations of Mixed_7c over the image and applies a linear layer. Applied before the average,
the same weights give the contribution of each place, without gradients. The dense layer of a small network has separate
weights for each place, and its contributions add up in the same way.
"""

import io
import threading
from typing import Any, NamedTuple

import numpy
import openvino
import PIL.Image

from Classes.common.errors import EngineError, GraphError
from Classes.inference import openvino_backend
from Classes.inference.model_card import ModelCard

# Red counts for ALL and blue against it; people with a color vision deficiency can distinguish them.
POSITIVE_RGB, NEGATIVE_RGB = (214, 40, 40), (33, 102, 172)

# Opacity of the color where the map is strongest; the cell must stay visible.
OPACITY = 0.6


class Explainer:
    """Computes maps on the CPU, whatever device makes the predictions; compiled on first use.

    Args:
      card: the model, whose graph has been verified.
    """

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._lock = threading.Lock()
        self._compiled: Any = None
        self._weights: tuple[numpy.ndarray, numpy.ndarray, int] | None = None

    def maps(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return how much each place of an image counts for ALL.

        The mean over a map is the logit of the positive class minus the mean logit of the others. It includes the bias
        of the last layer, spread evenly: without it, the map would show the distance from an empty image and not from
        the decision boundary.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from network_input.InputSpec.decode_and_resize.
        Returns:
          float32 [N, h, w], such as 8 x 8 places of 299 pixels; positive where it counts for ALL.
        Raises:
          GraphError: there are no maps for this network.
          EngineError: the device failed, or a value is not finite.
        """
        # One at a time: parallel maps would share the cores but need more memory.
        with self._lock:
            if self._compiled is None or self._weights is None:
                self._compiled, self._weights = self._open()
            kernel, bias, axis = self._weights
            inputs = self._card.input_spec.normalize(batch)
            try:
                activations = [self._compiled([image[None]])[0][0] for image in inputs]
            except RuntimeError as error:
                raise EngineError("the heat map's network failed on the CPU; run again") from error
        maps = (numpy.array(activations) * kernel).sum(axis=axis, dtype="float32") + bias
        if not numpy.isfinite(maps).all():
            raise EngineError("device result invalid: a heat map with values that are not finite")
        return maps

    def draw(self, image: numpy.ndarray) -> bytes:
        """Return a map over the image that the network sees.

        Args:
          image: uint8 [S, S, 3], from network_input.InputSpec.decode_and_resize.
        Returns:
          PNG bytes, S x S pixels; see `render_overlay`.
        """
        return render_overlay(image, self.maps(image[None])[0])

    def _open(self) -> tuple[Any, tuple[numpy.ndarray, numpy.ndarray, int]]:
        core = openvino_backend.new_core()
        model = openvino_backend.read_model(core, self._card.graph_path)
        layer = find_head(model)
        positive = self._card.classes.index(self._card.positive)
        found = contrast_weights(layer.kernel, positive), contrast_weights(layer.biases, positive), layer.axis
        shortened = openvino.Model([layer.activations], model.get_parameters())
        try:
            compiled = core.compile_model(shortened, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            raise EngineError(f"{self._card.graph_path}: no heat maps from it on the CPU") from error
        return compiled, found


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
    flattened, kernel = (value.get_node() for value in node.input_values())
    before = flattened.input_value(0) if flattened.get_type_name() == "Reshape" else None
    if before is None or len(before.get_shape()) != 4 or kernel.get_type_name() != "Constant":
        raise GraphError(
            "the dense layer of the graph has no weights per place of the image; there are no heat maps for it"
        )
    weights = kernel.data if node.get_attributes()["transpose_b"] else kernel.data.T
    # TensorFlow flattens rows, columns, channels.
    _, height, width, channels = before.get_shape()
    weights = weights.reshape(-1, height, width, channels) * (height * width)
    return Head(before, weights.astype("float32"), _biases(node), 3)


def _pooled(pooled: Any) -> Head:
    following = list(pooled.output(0).get_target_inputs())
    node = following[0].get_node() if len(following) == 1 else None
    if node is None or node.get_type_name() != "Convolution":
        raise GraphError("the graph has no last layer right after its global pooling; there are no heat maps for it")
    kernel = node.input_value(1).get_node()
    if kernel.get_type_name() != "Constant" or list(kernel.get_output_shape(0))[2:] != [1, 1]:
        raise GraphError("the graph's last layer is not a 1x1 convolution; there are no heat maps for it")
    return Head(pooled.input_value(0), kernel.data.astype("float32"), _biases(node), 1)


def _biases(layer: Any) -> numpy.ndarray:
    """Return the bias of a layer, float32 [classes]."""
    following = list(layer.output(0).get_target_inputs())
    node = following[0].get_node() if len(following) == 1 else None
    constants = (
        [] if node is None or node.get_type_name() != "Add" else [port.get_node() for port in node.input_values()]
    )
    found = [each.data.reshape(-1) for each in constants if each.get_type_name() == "Constant"]
    if not found:
        raise GraphError("the graph's last layer has no bias; there are no heat maps for it")
    return found[0].astype("float32")


def contrast_weights(weights: numpy.ndarray, positive: int) -> numpy.ndarray:
    """Return weights minus the mean of the other classes: what all classes share does not change a softmax.

    Args:
      weights: float32 [classes, ...], kernel or biases of a Head.
      positive: index of the class that means ALL.
    Returns:
      float32 [...].
    """
    return weights[positive] - numpy.delete(weights, positive, axis=0).mean(axis=0)


def render_overlay(image: numpy.ndarray, values: numpy.ndarray) -> bytes:
    """Draw a map over its image in gray: red for ALL, blue against it, stronger where it counts more.

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
