"""Run frozen graphs with OpenVINO, on the CPU or another device that it lists."""

import concurrent.futures
import contextlib
import pathlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy

from Classes.common import cancellation
from Classes.common.errors import EngineError, GraphError
from Classes.common.translation import Message
from Classes.inference import backend, compiled_models, int8_files, openvino_devices
from Classes.inference.model_card import ModelCard


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

    Attributes:
      source: Source if the device is the CPU, else None.

    Args:
      card: the model, whose graph has been verified.
      device: a device that OpenVINO lists, in upper or lower case; GPU means GPU.0.
      precision: AUTO, f32, bf16, f16 or int8.
      cache: folder for compiled models, which makes the next start fast; or None.
    """

    name, precision = "OpenVINO", "f32"

    def __init__(
        self, card: ModelCard, device: str = "CPU", precision: str = "AUTO", cache: pathlib.Path | None = None
    ) -> None:
        core = openvino_devices.new_core()
        self._card = card
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
        # LATENCY spreads one image over all cores; in float, one image per core is not faster for many images.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        folder = compiled_models.compiled_model_folder(cache, card) if device != "CPU" else None
        try:
            if folder:
                core.set_property({"CACHE_DIR": str(folder)})
            compiled = core.compile_model(model, device, openvino_devices.supported_options(core, device, options))
            self._request = compiled.create_infer_request()
            self._pool = InferRequestPool(core, model) if files and device == "CPU" else None
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
        self._lock, self._calls_lock, self._calls = threading.Lock(), threading.Lock(), 0

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Classify one image on all cores, or several at the same time if the network is int8."""
        backend.validate_batch(batch, self._card.size)
        with self._count_calls() as calls:
            pool = self._pool if len(batch) and calls + len(batch) > 2 else None
            probabilities = self._classify_sequential(batch) if pool is None else self._classify_parallel(pool, batch)
        backend.validate_probabilities(probabilities, len(self._card.classes))
        return probabilities

    def close(self) -> None:
        """Release the model; a later `classify` raises an EngineError."""
        with self._lock:
            self._request = self._pool = self.source = None

    @contextlib.contextmanager
    def _count_calls(self) -> Iterator[int]:
        """Yield the number of calls in progress."""
        with self._calls_lock:
            self._calls += 1
            calls = self._calls
        try:
            yield calls
        finally:
            with self._calls_lock:
                self._calls -= 1

    def _classify_parallel(self, pool: "InferRequestPool", batch: numpy.ndarray) -> numpy.ndarray:
        try:
            return pool.classify(self._card.input_spec.normalize(image[None]) for image in batch)
        except RuntimeError as error:
            raise self._device_failed(error) from error

    def _classify_sequential(self, batch: numpy.ndarray) -> numpy.ndarray:
        # One image at a time: it uses all cores, and there is one request.
        with self._lock:
            if self._request is None:
                raise EngineError(Message("{name}: closed", name=self.name), "backend_closed")
            try:
                probabilities = infer_one_by_one(self._request, self._card, batch)
            except RuntimeError as error:
                raise self._device_failed(error) from error
        return probabilities

    def _device_failed(self, error: RuntimeError) -> EngineError:
        return device_failed(self.name, error)

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


class InferRequestPool:
    """Runs several images at the same time, one per core: int8 layers are too short to share among cores.

    OpenVINO's AsyncInferQueue can deadlock when a model is released: its callbacks need the GIL, and the release waits
    for them while it holds the GIL.

    Args:
      core: openvino.Core.
      model: openvino.Model with one input and one output; compiled for the CPU on first use.
      precision: f32 or bf16; an int8 network stays int8.
    """

    def __init__(self, core: Any, model: Any, precision: str = "f32") -> None:
        self._core, self._model, self._precision = core, model, precision
        self._lock = threading.Lock()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def classify(self, inputs: Iterable[numpy.ndarray]) -> numpy.ndarray:
        """Return float32 [N, classes] for float32 [1, S, S, 3] each; safe from any thread."""
        return numpy.stack(list(self._open().map(self.infer, inputs)))

    def infer(self, inputs: numpy.ndarray) -> numpy.ndarray:
        """Return float32 [F] for float32 [1, S, S, 3], as soon as a core is free; safe from any thread."""
        self._open()
        request = self._free.get()
        try:
            return infer_in_place(request, inputs)
        finally:
            self._free.put(request)

    def _open(self) -> concurrent.futures.ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self._precision}
                compiled = self._core.compile_model(self._model, "CPU", options)
                count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
                for _ in range(count):
                    self._free.put(compiled.create_infer_request())
                self._pool = concurrent.futures.ThreadPoolExecutor(count, "Streams")
        return self._pool


def infer_in_place(request: Any, inputs: numpy.ndarray) -> numpy.ndarray:
    """Return the output of an InferRequest without copying its input, which would take half a millisecond.

    Args:
      request: openvino.InferRequest.
      inputs: float32 [1, S, S, 3], from network_input.normalize.
    Returns:
      float32 [classes].
    """
    request.infer([openvino_devices.openvino_api.Tensor(inputs, shared_memory=True)])
    return request.get_output_tensor().data.reshape(-1).copy()


def infer_one_by_one(request: Any, card: ModelCard, batch: numpy.ndarray) -> numpy.ndarray:
    """Return the outputs, float32 [N, classes], for images, uint8 [N, S, S, 3], with one InferRequest."""
    probabilities = numpy.empty((len(batch), len(card.classes)), "float32")
    for index in range(len(batch)):
        cancellation.check()
        probabilities[index] = infer_in_place(request, card.input_spec.normalize(batch[index : index + 1]))
    return probabilities


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
