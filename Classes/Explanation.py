"""What a verdict rests on: class activation maps (Zhou et al., arXiv:1512.04150) from the frozen graph itself.

Inception V3 averages the activations of Mixed_7c over the picture and weighs them linearly, so that the same weights
on the activations before the average say how much each place of the picture adds to the answer; no gradient is needed.
"""

import io
import threading

import numpy
import openvino
import PIL.Image

from Classes import Images, OpenVINO
from Classes.Errors import EngineError, GraphError

# Red speaks for ALL and blue against it: told apart with every common colour blindness.
FOR, AGAINST = (214, 40, 40), (33, 102, 172)

# Share of the colour where the map is strongest; the cell must still be seen under it.
OPACITY = 0.6


class Explainer:
    """Draws maps on the CPU, whatever device the verdicts come from; compiled when the first one is asked for.

    Args:
      card: Card.Card, whose graph has been verified.
    """

    def __init__(self, card):
        self._card = card
        self._lock = threading.Lock()
        self._compiled = self._weights = None

    def maps(self, batch):
        """How much each place of a picture speaks for ALL.

        The mean over a map is the logit of the positive class above the mean logit of the others. The last layer's
        bias is a part of each place alike: without it the map would tell of distance from an empty picture, not from
        the line between the classes.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from Images.prepare.
        Returns:
          float32 [N, h, w], 8 x 8 places for the usual 299 pixels; positive where ALL is spoken for.
        Raises:
          GraphError: the graph is no network of this kind.
          EngineError: the device failed, or a value is no number.
        """
        # One at a time: several at once would only share the processor's cores, and memory is what they would not.
        with self._lock:
            if self._compiled is None:
                self._compiled, self._weights = self._open()
            inputs = Images.network_input(batch, self._card.mean)
            try:
                found = [self._compiled([image[None]])[0][0] for image in inputs]
            except RuntimeError as error:
                raise EngineError("the heat map's network failed on the CPU; run again") from error
        maps = numpy.einsum("nchw,c->nhw", numpy.array(found), self._weights[:-1]) + self._weights[-1]
        maps = maps.astype("float32")
        if not numpy.isfinite(maps).all():
            raise EngineError("device result invalid: a heat map with values that are no numbers")
        return maps

    def draw(self, image):
        """A map over what the network saw.

        Args:
          image: uint8 [S, S, 3], from Images.prepare.
        Returns:
          PNG bytes, S x S pixels; see `overlay`.
        """
        return overlay(image, self.maps(image[None])[0])

    def _open(self):
        core = OpenVINO.new_core()
        model = OpenVINO.read(core, self._card.graph_path)
        pooled = OpenVINO.pooling(model)
        weights = evidence(last_layer(pooled), self._card.classes.index(self._card.positive))
        shortened = openvino.Model([pooled.input_value(0)], model.get_parameters())
        try:
            compiled = core.compile_model(shortened, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            raise EngineError(f"{self._card.graph_path}: no heat maps from it on the CPU") from error
        return compiled, weights


def last_layer(pooled):
    """The kernel and the biases of the layer after the global pooling.

    Args:
      pooled: openvino.Node, from OpenVINO.pooling.
    Returns:
      float32 [classes, channels + 1], the biases last.
    Raises:
      GraphError: it is no convolution of one by one pixel with a bias.
    """
    following = list(pooled.output(0).get_target_inputs())
    node = following[0].get_node() if len(following) == 1 else None
    if node is None or node.get_type_name() != "Convolution":
        raise GraphError("the graph has no last layer right after its global pooling; there are no heat maps for it")
    kernel = node.input_value(1).get_node()
    if kernel.get_type_name() != "Constant" or list(kernel.get_output_shape(0))[2:] != [1, 1]:
        raise GraphError("the graph's last layer is no convolution of one pixel; there are no heat maps for it")
    biases = _biases(node)
    return numpy.concatenate([kernel.data[:, :, 0, 0], biases[:, None]], axis=1).astype("float32")


def _biases(convolution):
    """What is added to a convolution's output, [classes]."""
    following = list(convolution.output(0).get_target_inputs())
    node = following[0].get_node() if len(following) == 1 else None
    constants = (
        [] if node is None or node.get_type_name() != "Add" else [port.get_node() for port in node.input_values()]
    )
    found = [each.data.reshape(-1) for each in constants if each.get_type_name() == "Constant"]
    if not found:
        raise GraphError("the graph's last layer has no bias; there are no heat maps for it")
    return found[0]


def evidence(kernel, positive):
    """Weights that tell the positive class from the others: what all classes share moves no softmax.

    Args:
      kernel: float32 [classes, channels + 1], from `last_layer`.
      positive: index of the class that means ALL.
    Returns:
      float32 [channels + 1].
    """
    return kernel[positive] - numpy.delete(kernel, positive, axis=0).mean(axis=0)


def overlay(image, values):
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
    colour = numpy.where(smooth[..., None] > 0, FOR, AGAINST)
    share = OPACITY * numpy.abs(smooth)[..., None]
    blended = numpy.rint(grey * (1 - share) + colour * share).astype("uint8")
    buffer = io.BytesIO()
    PIL.Image.fromarray(blended).save(buffer, "PNG")
    return buffer.getvalue()
