"""What a verdict rests on: class activation maps (Zhou et al., arXiv:1512.04150) from the frozen graph itself.

Inception V3 averages the activations of Mixed_7c over the picture and weighs them linearly, so that the same weights
on the activations before the average say how much each place of the picture adds to the answer; no gradient is needed.
A small network's dense layer has weights of its own for each place and adds up the same way.
"""

import io
import threading
import typing

import numpy
import openvino
import PIL.Image

from Classes.common.errors import EngineError, GraphError
from Classes.inference import openvino_backend

# Red speaks for ALL and blue against it: told apart with every common colour blindness.
POSITIVE_RGB, NEGATIVE_RGB = (214, 40, 40), (33, 102, 172)

# Share of the colour where the map is strongest; the cell must still be seen under it.
OPACITY = 0.6


class Explainer:
    """Draws maps on the CPU, whatever device the verdicts come from; compiled when the first one is asked for.

    Args:
      card: model_card.ModelCard, whose graph has been verified.
    """

    def __init__(self, card):
        self._card = card
        self._lock = threading.Lock()
        self._compiled = self._evidence = None

    def maps(self, batch):
        """How much each place of a picture speaks for ALL.

        The mean over a map is the logit of the positive class above the mean logit of the others. The last layer's
        bias is a part of each place alike: without it the map would tell of distance from an empty picture, not from
        the line between the classes.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from network_input.InputSpec.decode_and_resize.
        Returns:
          float32 [N, h, w], such as 8 x 8 places of 299 pixels; positive where ALL is spoken for.
        Raises:
          GraphError: the graph is no network of this kind.
          EngineError: the device failed, or a value is no number.
        """
        # One at a time: several at once would only share the processor's cores, and memory is what they would not.
        with self._lock:
            if self._compiled is None:
                self._compiled, self._evidence = self._open()
            inputs = self._card.input_spec.normalize(batch)
            try:
                found = [self._compiled([image[None]])[0][0] for image in inputs]
            except RuntimeError as error:
                raise EngineError("the heat map's network failed on the CPU; run again") from error
        kernel, bias, axis = self._evidence
        maps = (numpy.array(found) * kernel).sum(axis=axis, dtype="float32") + bias
        if not numpy.isfinite(maps).all():
            raise EngineError("device result invalid: a heat map with values that are no numbers")
        return maps

    def draw(self, image):
        """A map over what the network saw.

        Args:
          image: uint8 [S, S, 3], from network_input.InputSpec.decode_and_resize.
        Returns:
          PNG bytes, S x S pixels; see `overlay`.
        """
        return render_overlay(image, self.maps(image[None])[0])

    def _open(self):
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


class Head(typing.NamedTuple):
    """How a network's last layer weighs the places of a picture.

    Attributes:
      activations: openvino.Output of what it weighs, [1, ...] with h, w and the channels in some order.
      kernel: float32 [classes, ...], such that the mean over the places of its product with the activations is a logit.
      biases: float32 [classes].
      axis: of the channels, in batches of activations.
    """

    activations: openvino.Output
    kernel: numpy.ndarray
    biases: numpy.ndarray
    axis: int


def find_head(model):
    """The last layer of a frozen graph: a dense one on all places, or one on their mean.

    Args:
      model: openvino.Model.
    Returns:
      Layer.
    Raises:
      GraphError: it weighs no places.
    """
    dense = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    return _dense(dense[-1]) if dense else _pooled(openvino_backend.find_global_pool(model))


def _dense(node):
    flattened, kernel = (value.get_node() for value in node.input_values())
    before = flattened.input_value(0) if flattened.get_type_name() == "Reshape" else None
    if before is None or len(before.get_shape()) != 4 or kernel.get_type_name() != "Constant":
        raise GraphError("the dense layer of the graph weighs no places of the picture; there are no heat maps for it")
    weights = kernel.data if node.get_attributes()["transpose_b"] else kernel.data.T
    # TensorFlow flattens rows, columns, channels.
    _, height, width, channels = before.get_shape()
    weights = weights.reshape(-1, height, width, channels) * (height * width)
    return Head(before, weights.astype("float32"), _biases(node), 3)


def _pooled(pooled):
    following = list(pooled.output(0).get_target_inputs())
    node = following[0].get_node() if len(following) == 1 else None
    if node is None or node.get_type_name() != "Convolution":
        raise GraphError("the graph has no last layer right after its global pooling; there are no heat maps for it")
    kernel = node.input_value(1).get_node()
    if kernel.get_type_name() != "Constant" or list(kernel.get_output_shape(0))[2:] != [1, 1]:
        raise GraphError("the graph's last layer is no convolution of one pixel; there are no heat maps for it")
    return Head(pooled.input_value(0), kernel.data.astype("float32"), _biases(node), 1)


def _biases(layer):
    """What is added to a layer's output, float32 [classes]."""
    following = list(layer.output(0).get_target_inputs())
    node = following[0].get_node() if len(following) == 1 else None
    constants = (
        [] if node is None or node.get_type_name() != "Add" else [port.get_node() for port in node.input_values()]
    )
    found = [each.data.reshape(-1) for each in constants if each.get_type_name() == "Constant"]
    if not found:
        raise GraphError("the graph's last layer has no bias; there are no heat maps for it")
    return found[0].astype("float32")


def contrast_weights(weights, positive):
    """Weights that tell the positive class from the others: what all classes share moves no softmax.

    Args:
      weights: float32 [classes, ...], kernel or biases of a Layer.
      positive: index of the class that means ALL.
    Returns:
      float32 [...].
    """
    return weights[positive] - numpy.delete(weights, positive, axis=0).mean(axis=0)


def render_overlay(image, values):
    """A map laid over its picture in grey: red for ALL, blue against it, stronger where it counts more.

    Args:
      image: uint8 [S, S, 3].
      values: float32 [h, w]; the largest magnitude is the full colour, whatever it is.
    Returns:
      PNG bytes, S x S pixels.
    """
    height, width = image.shape[:2]
    # Stains are red and blue themselves.
    grey = numpy.asarray(PIL.Image.fromarray(image).convert("L"))[..., None]
    largest = float(numpy.abs(values).max())
    scaled = PIL.Image.fromarray((values / largest if largest else values).astype("float32"))
    smooth = numpy.asarray(scaled.resize((width, height), PIL.Image.Resampling.BICUBIC)).clip(-1, 1)
    colour = numpy.where(smooth[..., None] > 0, POSITIVE_RGB, NEGATIVE_RGB)
    share = OPACITY * numpy.abs(smooth)[..., None]
    blended = numpy.rint(grey * (1 - share) + colour * share).astype("uint8")
    buffer = io.BytesIO()
    PIL.Image.fromarray(blended).save(buffer, "PNG")
    return buffer.getvalue()
