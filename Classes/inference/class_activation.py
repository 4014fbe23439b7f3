"""Class activation maps (Zhou et al., arXiv:1512.04150) of a frozen graph: which places of an image count for a class.

A map of a model of two classes is for the one that means disease, whatever the result is. A map of any other model is
for the predicted class. map_output.py says where the contributions of the places come from.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy
import PIL.Image

from Classes.common.errors import EngineError, GraphError
from Classes.common.translation import Message
from Classes.imaging import fast_png
from Classes.inference import (
    backend,
    int8_files,
    map_output,
    network,
    occlusion,
    openvino_backend,
    openvino_devices,
    prediction,
)
from Classes.inference.model_card import ModelCard

# Red counts for the class and blue against it; people with a color vision deficiency can distinguish them.
POSITIVE_RGB, NEGATIVE_RGB = (214, 40, 40), (33, 102, 172)

# Opacity of the color where the map is strongest; the cell must stay visible.
OPACITY = 0.6
# The same in levels of 255.
MAX_OPACITY = round(255 * OPACITY)


class Explainer:
    """Class activation maps from the network that makes the predictions.

    If a backend on the CPU predicts, its network gives the probabilities and the map in one pass, in the same streams
    as requests without a map. Two kinds of maps need a network of their own, which is compiled on first use: those of
    small networks, where the output would slow down all other requests, and those of another device, such as an NCS1
    stick, or of an int8 network whose last layer cannot be read. The former also give the probabilities, except in
    int8. The latter come from the frozen graph on the CPU. The network is read here, so a model that is published later
    changes nothing.

    Args:
      card: the model.
      predictor: the backend that predicts; None: maps come from the frozen graph.
    Attributes:
      predicts: whether `explain` returns the probabilities of `predictor`, to the last bit.
      name, precision: of what computes the maps, such as "OpenVINO CPU" and "bf16".
    """

    name = "OpenVINO CPU"

    def __init__(self, card: ModelCard, predictor: backend.InferenceBackend | None = None) -> None:
        self._card = card
        self._for_disease = map_output.maps_disease(card)
        self._lock = threading.Lock()
        self._network: network.Network | None = None
        self._unsupported: GraphError | None = None
        opened = next(
            (
                each
                for each in (predictor, getattr(predictor, "fallback", None))
                if isinstance(each, openvino_backend.OpenVINOBackend) and each.source is not None
            ),
            None,
        )
        self._opened = opened
        self.precision = self._opened.precision if self._opened else "f32"
        self.predicts = False
        try:
            self._open()
        except GraphError as error:
            self._unsupported = error
        else:
            self.predicts = self.predicts and opened is predictor

    def mapped_class(self, label: str) -> str:
        """Return the class that the map of an image with the predicted class `label` is for."""
        return self._card.positive[0] if self._for_disease else label

    def predicted_class(self, probabilities: numpy.ndarray) -> str:
        """Return the predicted class of float32 [classes]."""
        return prediction.make_prediction(probabilities, self._card, 0).label

    def explain(
        self,
        batch: numpy.ndarray,
        labels: Sequence[str] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return class probabilities, and how much each place of an image counts for a class; safe from any thread.

        The class is `mapped_class`. The mean over a map is its logit minus the mean logit of the others (in int8 except
        for rounding). It includes the bias of the last layer, spread evenly: without it, the map would show the
        distance from an empty image and not from the decision boundary. The map of a network with fewer than MIN_PLACES
        places is an occlusion map.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from network_input.InputSpec.decode_and_resize.
          labels: the predicted class of each image, if another device predicts; None: by the probabilities.
          meanwhile: see backend.InferenceBackend.classify_with_source.
        Returns:
          float32 [N, classes], and float32 [N, h, w], such as 8 x 8 places of 299 pixels; positive where it counts for
          the class.
        Raises:
          GraphError: there are no maps for this network, or the graph was not the card's when it was read.
          EngineError: the device failed, or its output is invalid.
        """
        if self._unsupported is not None:
            raise self._unsupported.with_traceback(None)
        if self._opened:
            probabilities, places = self._opened.classify_with_places(batch, meanwhile)
        else:
            probabilities, places = self._run(batch, meanwhile)
        # Maps for the disease do not depend on the predicted class.
        labels = labels or ["" if self._for_disease else self.predicted_class(row) for row in probabilities]
        maps = numpy.stack([self._map(*each) for each in zip(batch, places, labels, strict=True)])
        if not numpy.isfinite(maps).all():
            raise EngineError(
                Message("device result invalid: a heat map with values that are not finite"), "invalid_output"
            )
        return probabilities, maps

    def maps(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return the maps of `explain`, float32 [N, h, w]."""
        return self.explain(batch)[1]

    def draw(self, image: numpy.ndarray) -> bytes:
        """Return a map over the image that the network sees.

        Args:
          image: uint8 [S, S, 3], from network_input.InputSpec.decode_and_resize.
        Returns:
          PNG bytes, S x S pixels; see `render_overlay`.
        """
        return render_overlay(image, self.maps(image[None])[0])

    def _map(self, image: numpy.ndarray, places: numpy.ndarray, label: str) -> numpy.ndarray:
        """Return float32 [h, w] for one image and its second output."""
        index = self._card.classes.index(self.mapped_class(label))
        if self._found.is_coarse:
            return occlusion.occlusion_map(lambda each: self._run(each[None])[0][0], image, index)
        return self._found.contributions(places, 0 if self._for_disease else index)

    def _run(
        self, batch: numpy.ndarray, meanwhile: Callable[[], None] | None = None
    ) -> tuple[numpy.ndarray, list[numpy.ndarray]]:
        """Return what OpenVINOBackend.classify_with_places returns, from the network for maps alone."""
        compiled = self._compiled()

        def inputs() -> Iterator[numpy.ndarray]:
            for image in batch:
                yield self._card.input_spec.normalize(image[None])
            if meanwhile:
                meanwhile()

        try:
            found = compiled.infer_all(inputs(), 2)
        except RuntimeError as error:
            raise openvino_backend.device_failed(self.name, error) from error
        probabilities = numpy.stack([each for each, _ in found])
        backend.validate_probabilities(probabilities, len(self._card.classes))
        return probabilities, [each for _, each in found]

    def _open(self) -> None:
        """Find the network: of the open backend, a copy of it with a second output, or the frozen graph."""
        if self._opened is not None and self._opened.map_output is not None:
            self._found, self.predicts = self._opened.map_output, True
            return
        source, self._opened = self._opened.source if self._opened else None, None
        if source is not None:
            try:
                self._found, self._source = map_output.add_map(source.model, self._card), source
                self.predicts = self.precision != int8_files.INT8 and not self._found.is_coarse
                return
            except GraphError:
                if self.precision != int8_files.INT8:
                    raise
        self.precision = "f32"
        core = openvino_devices.new_core()
        model = openvino_backend.read_model(core, self._card.graph_path)
        self._card.verify_graph()
        self._found, self._source = map_output.add_map(model, self._card), openvino_backend.Source(core, model, "f32")

    def _compiled(self) -> network.Network:
        with self._lock:
            if self._network is None:
                try:
                    self._network = network.Network(self._source.core, self._found.model, self._source.precision)
                except RuntimeError as error:
                    raise EngineError(
                        Message("{graph_path}: no heat maps from it on the CPU", graph_path=self._card.graph_path),
                        "no_heat_map",
                    ) from error
            return self._network


def render_overlay(image: numpy.ndarray | PIL.Image.Image, values: numpy.ndarray) -> bytes:
    """Draw a map over its image in gray: red for its class, blue against it, stronger where it counts more.

    Args:
      image: uint8 [S, S, 3], or a picture in RGB.
      values: float32 [h, w]; the largest magnitude gets the full color.
    Returns:
      PNG bytes, S x S pixels.
    """
    picture = PIL.Image.fromarray(image) if isinstance(image, numpy.ndarray) else image
    # In gray, because stains are red and blue too.
    grey = numpy.asarray(picture.convert("L"))
    largest = float(numpy.abs(values).max())
    scaled = PIL.Image.fromarray((values / largest if largest else values).astype("float32"))
    places = numpy.asarray(scaled.resize(picture.size, PIL.Image.Resampling.BICUBIC)).clip(-1, 1)
    # In the same memory, because that of the network has just left the processor's caches.
    places *= MAX_OPACITY
    numpy.rint(places, out=places)
    # Whole numbers below 2 ** 24, which float32 keeps.
    places += MAX_OPACITY
    places *= 256
    places += grey
    # All places are in the table. Modes other than "wrap" take longer to make sure of that.
    colors = _blended_colors().take(places.astype(numpy.intp), mode="wrap")
    # Pillow leaves out the unused byte in a fraction of the time of numpy.
    content = PIL.Image.frombuffer("RGBX", picture.size, colors, "raw", "RGBX", 0, 1).tobytes("raw", "RGB")
    return fast_png.encode_fast(numpy.frombuffer(content, "uint8").reshape(*grey.shape, 3))


@functools.cache
def _blended_colors() -> numpy.ndarray:
    """Return what POSITIVE_RGB and NEGATIVE_RGB make of each gray, with the roundings of PIL.Image.composite.

    Returns:
      uint32 [(2 * MAX_OPACITY + 1) * 256], red, green, blue and an unused byte: for each opacity from -MAX_OPACITY, at
      which the color is NEGATIVE_RGB, to MAX_OPACITY, all grays.
    """
    opacity = numpy.arange(-MAX_OPACITY, MAX_OPACITY + 1)[:, None]
    positive, negative = opacity.clip(0), (-opacity).clip(0)
    rest = numpy.arange(256) * (255 - positive - negative) + 128
    found = numpy.zeros((*rest.shape, 4), "uint8")
    for channel, colors in enumerate(zip(POSITIVE_RGB, NEGATIVE_RGB, strict=True)):
        values = rest + positive * colors[0] + negative * colors[1]
        # Divided by 255.
        found[..., channel] = (values + (values >> 8)) >> 8
    return found.view("uint32").ravel()
