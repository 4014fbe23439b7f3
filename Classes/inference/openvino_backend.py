"""Run frozen graphs with OpenVINO, on the CPU or another device that it lists."""

import contextlib
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy

from Classes.common import cancellation
from Classes.common.errors import EngineError, GraphError
from Classes.common.translation import Message
from Classes.inference import backend, compiled_models, int8_files, map_output, network, openvino_devices, streams
from Classes.inference.model_card import ModelCard

# Seconds for which the next images are expected to come at once, too. An image on all cores and one in a stream hinder
# each other, and two clients often have a moment with one image.
CROWD_SECONDS = 0.25


class Source(NamedTuple):
    """What a backend on the CPU was compiled from; it stays the same if the files are replaced.

    Attributes:
      core: openvino.Core.
      model: openvino.Model of the frozen graph, or of its int8 form.
      precision: "f32" or "bf16"; an int8 network remains one.
    """

    core: Any
    model: Any
    precision: str


class OpenVINOBackend(backend.InferenceBackend):
    """A frozen graph, compiled for one device.

    A single image uses all cores of the CPU. As soon as several images come at once, the network is compiled a second
    time, with the streams that streams.py chooses.

    Attributes:
      source: Source if the device is the CPU, else None.
      map_output: what heat maps are made from; None if the network has no such output, see map_output.py.

    Args:
      card: the model, whose graph has been verified.
      device: a device that OpenVINO lists, in upper or lower case; GPU means GPU.0.
      precision: AUTO, f32, bf16, f16 or int8.
      cache: folder for compiled models and measurements, which make the next start fast; or None.
    """

    name, precision = "OpenVINO", "f32"

    def __init__(
        self, card: ModelCard, device: str = "CPU", precision: str = "AUTO", cache: pathlib.Path | None = None
    ) -> None:
        core = openvino_devices.new_core()
        self._card, self._cache = card, cache
        device = openvino_devices.resolve_device(device, core.available_devices)
        files = int8_files.select_int8(card, precision, device)
        # Few layers of an int8 network stay in float, and bf16 does not make them faster.
        hint = "f32" if files else openvino_devices.resolve_precision(precision, device, core)
        model = read_model(core, *(files or [card.graph_path]))
        if not files:
            # Another model may have been published after the caller verified the file and before it was read.
            card.verify_graph()
        self._check_io(model)
        self.source = Source(core, model, hint) if device == "CPU" else None
        self.map_output = _free_map(model, card) if device == "CPU" else None
        self._model = self.map_output.model if self.map_output else model
        folder = compiled_models.compiled_model_folder(cache, card) if device != "CPU" else None
        try:
            if folder:
                core.set_property({"CACHE_DIR": str(folder)})
            self._alone: network.Network | None = network.Network(core, self._model, hint, device=device)
        except RuntimeError as error:
            raise EngineError(
                Message(
                    "{device}: cannot run {graph_path} ({reason}); try Device=CPU",
                    device=device,
                    graph_path=card.graph_path,
                    reason=openvino_devices.last_line(error),
                ),
                "device_failed",
            ) from error
        self.name = f"OpenVINO {device}"
        self.precision = int8_files.INT8 if files else hint
        self._streams: streams.Streams | None = None
        self._together: network.Network | None = None
        self._lock, self._images_lock, self._images = threading.Lock(), threading.Lock(), 0
        self._crowd, self._crowd_ends = 0, 0.0

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Classify one image on all cores, or several at the same time."""
        return self._run(batch)[0]

    def classify_with_source(
        self, batch: numpy.ndarray, meanwhile: Callable[[], None] | None = None
    ) -> tuple[numpy.ndarray, backend.InferenceBackend]:
        """Return what `classify` returns and this backend; `meanwhile` runs while the last image is computed."""
        return self._run(batch, meanwhile=meanwhile)[0], self

    def classify_with_places(
        self, batch: numpy.ndarray, meanwhile: Callable[[], None] | None = None
    ) -> tuple[numpy.ndarray, list[numpy.ndarray]]:
        """Return what `classify` returns, and the second output for each image, see map_output.MapOutput."""
        return self._run(batch, outputs=2, meanwhile=meanwhile)

    def classify_in_background(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Classify the images one at a time, in one stream."""
        return self._run(batch, at_once=1)[0]

    def close(self) -> None:
        """Release the model; a later `classify` raises an EngineError."""
        with self._lock:
            self._alone = self._together = self._model = self.source = None

    def _run(
        self,
        batch: numpy.ndarray,
        outputs: int = 1,
        at_once: int | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> tuple[numpy.ndarray, list[numpy.ndarray]]:
        backend.validate_batch(batch, self._card.size)
        inputs = self._inputs(batch, at_once is not None, meanwhile)
        with self._count_images(at_once or len(batch)) as images:
            try:
                # In the background always in streams, so that the other cores stay free.
                compiled = self._select(images if at_once is None else None)
                found = compiled.infer_all(inputs, outputs, at_once)
            except RuntimeError as error:
                raise device_failed(self.name, error) from error
        probabilities = numpy.empty((len(batch), len(self._card.classes)), "float32")
        for row, each in zip(probabilities, found, strict=True):
            row[:] = each[0]
        backend.validate_probabilities(probabilities, len(self._card.classes))
        return probabilities, [each[-1] for each in found]

    def _inputs(
        self, batch: numpy.ndarray, in_background: bool, meanwhile: Callable[[], None] | None
    ) -> Iterator[numpy.ndarray]:
        """Yield the input of the network, [1, S, S, 3], for each image; long work may be cancelled before each."""
        for index in range(len(batch)):
            if in_background:
                cancellation.check()
            yield self._card.input_spec.normalize(batch[index : index + 1])
        # The network has started the last image when it asks for another one.
        if meanwhile:
            meanwhile()

    @contextlib.contextmanager
    def _count_images(self, count: int) -> Iterator[int]:
        """Yield the number of images in progress, with these; for a while, that of the last crowd."""
        with self._images_lock:
            self._images += count
            now = time.monotonic()
            if self._images >= self._crowd or now > self._crowd_ends:
                self._crowd, self._crowd_ends = self._images, now + CROWD_SECONDS
            images = self._crowd
        try:
            yield images
        finally:
            with self._images_lock:
                self._images -= count

    def _select(self, images: int | None) -> network.Network:
        """Return the compiled network for a number of images in progress; None: that with streams."""
        alone = self._alone
        if alone is None:
            raise EngineError(Message("{name}: closed", name=self.name), "backend_closed")
        if self.source is None or (images is not None and images < streams.FEW_CORES):
            return alone
        chosen, together = self._open_streams(alone)
        return alone if together is None or (images is not None and images < chosen.start) else together

    def _open_streams(self, alone: network.Network) -> tuple[streams.Streams, network.Network | None]:
        """Choose the streams and compile the network for them on first use; None: there is one stream."""
        with self._lock:
            if self._streams is None and self.source is not None:
                core, model, hint = self.source.core, self._model, self.source.precision
                card = self._card
                digest = card.int8["xml_sha256"] if card.int8 and self.precision == "int8" else card.graph_sha256
                self._streams = streams.choose_streams(
                    self._cache,
                    streams.describe_identity(core, digest, self.precision),
                    lambda cores: streams.measure_streams(core, model, hint, alone, cores),
                )
                if self._streams.streams > 1:
                    self._together = network.Network(core, model, hint, {"NUM_STREAMS": self._streams.streams})
            return self._streams or streams.Streams(1, streams.FEW_CORES), self._together

    def _check_io(self, model: Any) -> None:
        """Raise GraphError unless the model has the inputs and outputs that the card describes."""
        card, path = self._card, self._card.graph_path
        expected = {
            f"{card.input['node']}:0": [1, card.size, card.size, 3],
            f"{card.output}:0": [1, len(card.classes)],
        }
        ports = {name: port for port in (*model.inputs, *model.outputs) for name in port.get_names()}
        for name, shape in expected.items():
            if name not in ports:
                raise GraphError(
                    Message(
                        "{path}: has no {name}, it has {ports}; run python3 Trainer.py",
                        path=path,
                        name=name,
                        ports=", ".join(sorted(ports)),
                    ),
                    "graph_io",
                )
            found = ports[name].get_partial_shape()
            if found != openvino_devices.openvino_api.PartialShape(shape):
                raise GraphError(
                    Message(
                        "{path}: {name} is {found}, the card says {shape}; run python3 Trainer.py",
                        path=path,
                        name=name,
                        found=found,
                        shape=shape,
                    ),
                    "graph_io",
                )


def _free_map(model: Any, card: ModelCard) -> map_output.MapOutput | None:
    """Return a network whose second output serves heat maps and costs nothing; None if there is none."""
    try:
        found = map_output.add_map(model, card)
    except GraphError:
        return None
    return found if found.is_free and not found.is_coarse else None


def device_failed(name: str, error: RuntimeError) -> EngineError:
    """Return the error of a device, such as "OpenVINO CPU", on which OpenVINO has failed."""
    return EngineError(
        Message(
            "{name}: failed ({reason}); run again or try Device=CPU",
            name=name,
            reason=openvino_devices.last_line(error),
        ),
        "device_failed",
    )


def read_model(core: Any, path: pathlib.Path, weights: pathlib.Path | None = None) -> Any:
    """Read a frozen graph.

    Args:
      core: openvino.Core.
      path: the graph's file.
      weights: the file of its weights, if that is another one.
    Returns:
      openvino.Model.
    Raises:
      GraphError: the file is missing, damaged or not a graph.
    """
    try:
        return core.read_model(path, weights) if weights else core.read_model(path)
    except RuntimeError as error:
        raise GraphError(
            Message("{path}: not a readable frozen graph (damaged?); run python3 Trainer.py", path=path),
            "graph_unreadable",
        ) from error


def reference_outputs(path: pathlib.Path, inputs: Iterable[numpy.ndarray]) -> numpy.ndarray:
    """Return the outputs of a frozen graph on the CPU in float32, for comparisons.

    Args:
      path: the graph's file, with any extension.
      inputs: N times float32 [S, S, 3], from network_input.normalize.
    Returns:
      float32 [N, classes], unchecked.
    Raises:
      GraphError: not a readable graph.
    """
    core = openvino_devices.new_core()
    compiled = core.compile_model(read_model(core, path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return numpy.concatenate([compiled([image[None]])[0] for image in inputs])
