"""Run frozen graphs with OpenVINO, on the CPU or another device that it lists."""

import concurrent.futures
import contextlib
import ctypes
import importlib
import logging
import os
import pathlib
import queue
import re
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy
import openvino

from Classes.common.errors import EngineError, GraphError
from Classes.common.translation import Message
from Classes.inference import backend, int8_files
from Classes.inference.model_card import ModelCard

# 2022.3, the last release that supports the Neural Compute Stick 2, has everything in openvino.runtime.
openvino_api = openvino if hasattr(openvino, "Core") else importlib.import_module("openvino.runtime")

# Our names of precisions, and OpenVINO's.
CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}

# Number of models whose compiled form is kept, and the extensions of its files.
MAX_CACHED_MODELS = 8
COMPILED_EXTENSIONS = {".blob", ".cl_cache"}

log = logging.getLogger("OpenVINO")


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
        core = new_core()
        self._card = card
        device = resolve_device(device, core.available_devices)
        files = int8_files.select_int8(card, precision, device)
        # Few layers of an int8 network stay in float, and bf16 does not make them faster.
        hint = "f32" if files else resolve_precision(precision, device, core)
        model = read_model(core, *(files or [card.graph_path]))
        if not files:
            # Another model may have been published after the caller verified the file and before it was read.
            card.verify_graph()
        self._check_io(model)
        self.source = Source(core, model, hint) if device == "CPU" else None
        # LATENCY spreads one image over all cores; in float, one image per core is not faster for many images.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        folder = _cache_folder(cache, card) if device != "CPU" else None
        try:
            if folder:
                core.set_property({"CACHE_DIR": str(folder)})
            compiled = core.compile_model(model, device, _supported(core, device, options))
            self._request = compiled.create_infer_request()
            self._pool = InferRequestPool(core, model) if files and device == "CPU" else None
        except RuntimeError as error:
            raise EngineError(
                Message(
                    "{device}: cannot run {graph_path} ({reason}); try Device=CPU",
                    device=device,
                    graph_path=card.graph_path,
                    reason=_last_line(error),
                )
            ) from error
        self.name = f"OpenVINO {device}"
        self.precision = int8_files.INT8 if files else hint
        self._lock, self._calls_lock, self._calls = threading.Lock(), threading.Lock(), 0

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        backend.validate_batch(batch, self._card.size)
        with self._count_calls() as calls:
            pool = self._pool if len(batch) and calls + len(batch) > 2 else None
            probabilities = self._classify_sequential(batch) if pool is None else self._classify_parallel(pool, batch)
        backend.validate_probabilities(probabilities, len(self._card.classes))
        return probabilities

    def close(self) -> None:
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
            raise EngineError(
                Message(
                    "{name}: failed ({reason}); run again or try Device=CPU", name=self.name, reason=_last_line(error)
                )
            ) from error

    def _classify_sequential(self, batch: numpy.ndarray) -> numpy.ndarray:
        probabilities = numpy.empty((len(batch), len(self._card.classes)), "float32")
        # One image at a time: it uses all cores, and there is one request.
        with self._lock:
            if self._request is None:
                raise EngineError(Message("{name}: closed", name=self.name))
            try:
                for index in range(len(batch)):
                    probabilities[index] = infer_in_place(
                        self._request, self._card.input_spec.normalize(batch[index : index + 1])
                    )
            except RuntimeError as error:
                raise EngineError(
                    Message(
                        "{name}: failed ({reason}); run again or try Device=CPU",
                        name=self.name,
                        reason=_last_line(error),
                    )
                ) from error
        return probabilities

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
                    )
                )
            found = ports[name].get_partial_shape()
            if found != openvino_api.PartialShape(shape):
                raise GraphError(
                    Message(
                        "{path}: {name} is {found}, the card says {shape}; run python3 Trainer.py",
                        path=path,
                        name=name,
                        found=found,
                        shape=shape,
                    )
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
    request.infer([openvino_api.Tensor(inputs, shared_memory=True)])
    return request.get_output_tensor().data.reshape(-1).copy()


def new_core() -> Any:
    """Return a Core with the CPU plugin loaded, and keep Ctrl-C working."""
    core = openvino_api.Core()
    with _restore_signal_stack(), contextlib.suppress(RuntimeError):
        core.get_property("CPU", "FULL_DEVICE_NAME")
    return core


class _SignalStack(ctypes.Structure):
    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _restore_signal_stack() -> Iterator[None]:
    """Restore the signal stack of this thread.

    The CPU plugin replaces the signal stack of the thread that loads it, and frees it in whichever thread releases the
    plugin; the next signal, such as Ctrl-C, would then be handled in freed memory.
    """
    if sys.platform != "linux":
        yield
        return
    former = _SignalStack()
    library = ctypes.CDLL(None)
    library.sigaltstack(None, ctypes.byref(former))
    yield
    library.sigaltstack(ctypes.byref(former), None)


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
            Message("{path}: not a readable frozen graph (damaged?); run python3 Trainer.py", path=path)
        ) from error


def resolve_device(device: str, available: list[str]) -> str:
    """Return the name in `available` that a configured name, such as "cpu" or "GPU", means.

    Raises:
      EngineError: there is no such device.
    """
    wanted = device.upper()
    for name in available:
        # OpenVINO numbers devices only if there are several: GPU means GPU.0.
        if wanted in (name.upper(), name.upper().removesuffix(".0")):
            return name
    found = ", ".join(available) or "none"
    raise EngineError(
        Message("Device={device}: there is no such device; found: {found}; set Device=AUTO", device=device, found=found)
    )


def resolve_precision(wanted: str, device: str, core: Any = None) -> str:
    """Return the precision in which a device runs a float graph: "f32", "bf16" or "f16".

    Args:
      wanted: AUTO (on the CPU bf16 if the processor supports it, else f32; elsewhere f16), f32, bf16 or f16; int8 does
        not apply to a float graph and means AUTO.
      device: a name that OpenVINO lists.
      core: openvino.Core; by default a new one.
    Raises:
      EngineError: the device does not support the precision, and would silently use another; or its driver fails.
    """
    if (wanted, device) == ("f32", "CPU"):
        return wanted
    core = core or new_core()
    try:
        capable = set(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError as error:
        raise EngineError(
            Message(
                "{device}: its driver does not answer ({reason}); try Device=CPU",
                device=device,
                reason=_last_line(error),
            )
        ) from error
    has = [name for name, capability in CAPABILITIES.items() if capability in capable]
    if wanted in ("AUTO", int8_files.INT8):
        order = ("bf16", "f32") if device == "CPU" else ("f16", "bf16", "f32")
        return next((name for name in order if name in has), "f32")
    if wanted not in has:
        raise EngineError(
            Message(
                "Precision={wanted}: {device} has no {wanted} arithmetic, only {has}; set Precision=AUTO",
                wanted=wanted,
                device=device,
                has=", ".join(has),
            )
        )
    return wanted


def cpu_precision(wanted: str) -> str:
    """Return `resolve_precision` for the CPU."""
    return resolve_precision(wanted, "CPU")


def list_openvino_devices() -> list[tuple[str, str]]:
    """Return (name, description) of each device that OpenVINO lists."""
    core = new_core()
    return [(name, _property(core, name, "FULL_DEVICE_NAME")) for name in core.available_devices]


def list_accelerators() -> list[str]:
    """Return the devices that AUTO prefers to the CPU: GPUs, those with memory of their own first.

    NPU and MYRIAD are not among them: they save power, not time.
    """
    core = new_core()
    found = [name for name in core.available_devices if name.partition(".")[0] == "GPU"]
    return sorted(found, key=lambda name: "dGPU" not in _property(core, name, "FULL_DEVICE_NAME"))


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
    core = new_core()
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
        raise GraphError(Message("the graph has no global average pooling; an Inception V3 has one"))
    return found[-1]


def _supported(core: Any, device: str, options: dict[str, str]) -> dict[str, str]:
    """Return the options that a device supports: it rejects a model if one is unknown."""
    known = {str(name) for name in core.get_property(device, "SUPPORTED_PROPERTIES")}
    return {name: value for name, value in options.items() if name in known}


def _property(core: Any, device: str, name: str) -> str:
    try:
        return str(core.get_property(device, name))
    except RuntimeError:
        return ""


def _cache_folder(cache: pathlib.Path | None, card: ModelCard) -> pathlib.Path | None:
    """Return the folder for a model's compiled form, and delete all but the last used; None if it is not writable."""
    if cache is None:
        return None
    folder = cache / card.graph_sha256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        ours = [each for each in cache.iterdir() if re.fullmatch("[0-9a-f]{16}", each.name) and _is_ours(each)]
        # Another process may remove the same folder at the same time.
        for other in sorted(ours, key=_used, reverse=True)[MAX_CACHED_MODELS:]:
            shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        log.warning("%s: %s; the model is compiled again at every start", folder, error.strerror)
        return None
    return folder


def _is_ours(folder: pathlib.Path) -> bool:
    """Return whether a folder contains only what OpenVINO compiled."""
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and all(each.suffix in COMPILED_EXTENSIONS for each in folder.iterdir())
    )


def _used(folder: pathlib.Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0


def _last_line(error: Exception) -> str:
    """Return the last line of OpenVINO's message; the lines before it name its source files and checks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
