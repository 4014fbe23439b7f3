"""Frozen graphs on OpenVINO: the CPU, and any other device it lists."""

import concurrent.futures
import contextlib
import ctypes
import importlib
import logging
import os
import queue
import re
import shutil
import sys
import threading

import numpy
import openvino

from Classes.common.errors import EngineError, GraphError
from Classes.inference import backend, int8_files

# 2022.3, the last release that drives the Neural Compute Stick 2, keeps everything one module deeper.
openvino_api = openvino if hasattr(openvino, "Core") else importlib.import_module("openvino.runtime")

# OpenVINO's names for what a device computes in, and ours, the preferred first where a device has a choice.
CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}

# Models whose compiled form is kept, and the extensions of its files.
CACHED = 8
COMPILED = {".blob", ".cl_cache"}

log = logging.getLogger("OpenVINO")


class OpenVINOBackend(backend.InferenceBackend):
    """A frozen graph, compiled for one device.

    Args:
      card: model_card.ModelCard, whose graph has been verified.
      device: a device that OpenVINO lists, in any case; GPU means GPU.0.
      precision: AUTO, f32, bf16, f16 or int8.
      cache: pathlib.Path of the folder for what was compiled, so that the next start is fast; None: none.
    """

    name, precision = "OpenVINO", "f32"

    def __init__(self, card, device="CPU", precision="AUTO", cache=None):
        core = new_core()
        self._card = card
        device = resolve_device(device, core.available_devices)
        files = int8_files.select_int8(card, precision, device)
        # What stays in float in an int8 network is little, and bf16 would make it no faster.
        hint = "f32" if files else resolve_precision(precision, device, core)
        model = read_model(core, *(files or [card.graph_path]))
        self._fit(model)
        # Latency spreads one image over all cores; in float, a core for each image is no faster on many images.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        folder = _cache_folder(cache, card) if device != "CPU" else None
        try:
            if folder:
                core.set_property({"CACHE_DIR": str(folder)})
            compiled = core.compile_model(model, device, _supported(core, device, options))
            self._request = compiled.create_infer_request()
            self._streams = InferRequestPool(core, model) if files and device == "CPU" else None
        except RuntimeError as error:
            raise EngineError(
                f"{device}: cannot run {card.graph_path} ({_last_line(error)}); try Device=CPU"
            ) from error
        self.name = f"OpenVINO {device}"
        self.precision = int8_files.INT8 if files else hint
        self._lock, self._count, self._inside = threading.Lock(), threading.Lock(), 0

    def classify(self, batch):
        backend.validate_batch(batch, self._card.size)
        with self._counted() as several:
            streams = self._streams if len(batch) and several + len(batch) > 2 else None
            answers = self._in_turn(batch) if streams is None else self._by_streams(streams, batch)
        backend.validate_probabilities(answers, len(self._card.classes))
        return answers

    def close(self):
        with self._lock:
            self._request = self._streams = None

    @contextlib.contextmanager
    def _counted(self):
        """Yields how many callers there are now."""
        with self._count:
            self._inside += 1
            inside = self._inside
        try:
            yield inside
        finally:
            with self._count:
                self._inside -= 1

    def _by_streams(self, streams, batch):
        try:
            return streams.classify(self._card.input_spec.normalize(image[None]) for image in batch)
        except RuntimeError as error:
            raise EngineError(f"{self.name}: failed ({_last_line(error)}); run again or try Device=CPU") from error

    def _in_turn(self, batch):
        answers = numpy.empty((len(batch), len(self._card.classes)), "float32")
        # One image at a time: it keeps all cores busy, and there is one request.
        with self._lock:
            if self._request is None:
                raise EngineError(f"{self.name}: closed")
            try:
                for index in range(len(batch)):
                    answers[index] = infer_in_place(
                        self._request, self._card.input_spec.normalize(batch[index : index + 1])
                    )
            except RuntimeError as error:
                raise EngineError(f"{self.name}: failed ({_last_line(error)}); run again or try Device=CPU") from error
        return answers

    def _fit(self, model):
        """The graph must be the one that the card describes."""
        card, path = self._card, self._card.graph_path
        expected = {
            f"{card.input['node']}:0": [1, card.size, card.size, 3],
            f"{card.output}:0": [1, len(card.classes)],
        }
        ports = {name: port for port in (*model.inputs, *model.outputs) for name in port.get_names()}
        for name, shape in expected.items():
            if name not in ports:
                raise GraphError(f"{path}: has no {name}, it has {', '.join(sorted(ports))}; run python3 Trainer.py")
            found = ports[name].get_partial_shape()
            if found != openvino_api.PartialShape(shape):
                raise GraphError(f"{path}: {name} is {found}, the card says {shape}; run python3 Trainer.py")


class InferRequestPool:
    """A core for each image, for several at once: int8 layers are so short that cores mostly wait for each other.

    OpenVINO's AsyncInferQueue would do the same, but its callbacks need Python's lock when the model is let go, which
    waits for them holding it: once in a while a training never ended.

    Args:
      core: openvino.Core.
      model: openvino.Model with one input and one output; compiled for the CPU when it is first used.
      precision: f32 or bf16; an int8 network stays one.
    """

    def __init__(self, core, model, precision="f32"):
        self._core, self._model, self._precision = core, model, precision
        self._lock, self._pool, self._free = threading.Lock(), None, queue.SimpleQueue()

    def classify(self, inputs):
        """float32 [N, classes] for an iterable of float32 [1, S, S, 3]; safe from any thread."""
        return numpy.stack(list(self._opened().map(self.answer, inputs)))

    def answer(self, inputs):
        """float32 [F] for float32 [1, S, S, 3], as soon as a core is free; safe from any thread."""
        self._opened()
        request = self._free.get()
        try:
            return infer_in_place(request, inputs)
        finally:
            self._free.put(request)

    def _opened(self):
        with self._lock:
            if self._pool is None:
                options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self._precision}
                compiled = self._core.compile_model(self._model, "CPU", options)
                count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
                for _ in range(count):
                    self._free.put(compiled.create_infer_request())
                self._pool = concurrent.futures.ThreadPoolExecutor(count, "Streams")
        return self._pool


def infer_in_place(request, inputs):
    """The answer of an InferRequest, which reads its input where it is: a copy would cost half a millisecond.

    Args:
      request: openvino.InferRequest.
      inputs: float32 [1, S, S, 3], from network_input.normalize.
    Returns:
      float32 [classes].
    """
    request.infer([openvino_api.Tensor(inputs, shared_memory=True)])
    return request.get_output_tensor().data.reshape(-1).copy()


def new_core():
    """OpenVINO with its CPU plugin loaded, in a process that Ctrl-C still ends in order."""
    core = openvino_api.Core()
    with _restore_signal_stack(), contextlib.suppress(RuntimeError):
        core.get_property("CPU", "FULL_DEVICE_NAME")
    return core


class _SignalStack(ctypes.Structure):
    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _restore_signal_stack():
    """Give the thread back the signal stack it had.

    The CPU plugin puts one of its own under the thread that loads it and frees it from whichever thread lets the
    plugin go; the next signal, be it Ctrl-C, would then be handled in memory that is no more.
    """
    if sys.platform != "linux":
        yield
        return
    former = _SignalStack()
    library = ctypes.CDLL(None)
    library.sigaltstack(None, ctypes.byref(former))
    yield
    library.sigaltstack(ctypes.byref(former), None)


def read_model(core, path, weights=None):
    """A frozen graph as an OpenVINO model.

    Args:
      core: openvino.Core.
      path: the graph's file.
      weights: file of its weights, where they are not in the same one.
    Raises:
      GraphError: the file is missing, damaged or no graph.
    """
    try:
        return core.read_model(path, weights) if weights else core.read_model(path)
    except RuntimeError as error:
        raise GraphError(f"{path}: no readable frozen graph (damaged?); run python3 Trainer.py") from error


def resolve_device(device, available):
    """The device that a configuration means.

    Args:
      device: a name in any case, such as "cpu" or "GPU.1".
      available: what OpenVINO lists.
    Returns:
      a name from `available`.
    Raises:
      EngineError: there is no such device.
    """
    wanted = device.upper()
    for name in available:
        # OpenVINO numbers devices only where there are several: GPU means GPU.0.
        if wanted in (name.upper(), name.upper().removesuffix(".0")):
            return name
    found = ", ".join(available) or "none"
    raise EngineError(f"Device={device}: there is no such device; found: {found}; set Device=AUTO")


def resolve_precision(wanted, device, core=None):
    """The arithmetic that a device is asked for.

    Args:
      wanted: AUTO (on the CPU bf16 where the processor has it, else f32; elsewhere f16), f32, bf16 or f16; int8 is no
        arithmetic of a float graph and means AUTO.
      device: a name that OpenVINO lists.
      core: Core, made when None.
    Returns:
      "f32", "bf16" or "f16".
    Raises:
      EngineError: the device does not have what is wanted, and would silently compute otherwise; or its driver fails.
    """
    if (wanted, device) == ("f32", "CPU"):
        return wanted
    core = core or new_core()
    try:
        capable = set(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError as error:
        raise EngineError(f"{device}: its driver does not answer ({_last_line(error)}); try Device=CPU") from error
    has = [name for name, capability in CAPABILITIES.items() if capability in capable]
    if wanted in ("AUTO", int8_files.INT8):
        order = ("bf16", "f32") if device == "CPU" else ("f16", "bf16", "f32")
        return next((name for name in order if name in has), "f32")
    if wanted not in has:
        raise EngineError(
            f"Precision={wanted}: {device} has no {wanted} arithmetic, only {', '.join(has)}; set Precision=AUTO"
        )
    return wanted


def cpu_precision(wanted):
    """`choose_precision` on the CPU."""
    return resolve_precision(wanted, "CPU")


def list_openvino_devices():
    """[(name, description)] of what OpenVINO lists."""
    core = new_core()
    return [(name, _property(core, name, "FULL_DEVICE_NAME")) for name in core.available_devices]


def list_accelerators():
    """Devices that AUTO prefers to the CPU: graphics processors, those of their own memory first.

    Not NPU and MYRIAD: they save power, not time.
    """
    core = new_core()
    found = [name for name in core.available_devices if name.partition(".")[0] == "GPU"]
    return sorted(found, key=lambda name: "dGPU" not in _property(core, name, "FULL_DEVICE_NAME"))


def reference_outputs(path, inputs):
    """What a frozen graph answers on the CPU in float32, for comparisons.

    Args:
      path: the graph's file, whatever its name ends with.
      inputs: float32 [N, S, S, 3], from network_input.normalize.
    Returns:
      float32 [N, classes], unchecked.
    Raises:
      GraphError: no readable graph.
    """
    core = new_core()
    compiled = core.compile_model(read_model(core, path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return numpy.concatenate([compiled([image[None]])[0] for image in inputs])


def find_global_pool(model):
    """The global pooling node of a frozen Inception V3: the last AvgPool on the way to the output.

    Args:
      model: openvino.Model, NHWC at its border, NCHW inside.
    Returns:
      openvino.Node; `input_value(0)` is the activations of Mixed_7c, `output(0)` the pooled features.
    Raises:
      GraphError: there is none, or what it pools is not the whole picture.
    """
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "AvgPool"]
    if not found or list(found[-1].get_output_shape(0))[2:] != [1, 1]:
        raise GraphError("the graph has no global average pooling, an Inception V3 has one")
    return found[-1]


def _supported(core, device, options):
    """The options that a device knows: it refuses a model for the sake of one that it does not."""
    known = {str(name) for name in core.get_property(device, "SUPPORTED_PROPERTIES")}
    return {name: value for name, value in options.items() if name in known}


def _property(core, device, name):
    try:
        return str(core.get_property(device, name))
    except RuntimeError:
        return ""


def _cache_folder(cache, card):
    """The folder for one model's compiled form; the `CACHED` last used stay. None where nothing can be written."""
    if cache is None:
        return None
    folder = cache / card.graph_sha256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        ours = [each for each in cache.iterdir() if re.fullmatch("[0-9a-f]{16}", each.name) and _is_ours(each)]
        # Several models may share the folder, and another process may remove the same one.
        for other in sorted(ours, key=_used, reverse=True)[CACHED:]:
            shutil.rmtree(other, ignore_errors=True)
    except OSError as error:
        log.warning("%s: %s; the model is compiled anew at every start", folder, error.strerror)
        return None
    return folder


def _is_ours(folder):
    """Whether a folder holds nothing but what OpenVINO compiled."""
    return folder.is_dir() and not folder.is_symlink() and all(each.suffix in COMPILED for each in folder.iterdir())


def _used(folder):
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0


def _last_line(error):
    """The last line of OpenVINO's message: the ones before it are its own source files and checks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
