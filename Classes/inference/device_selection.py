"""Choose the device that runs a model, and list the available ones."""

import importlib.util
import logging
import statistics
import time

import numpy

from Classes import Movidius
from Classes.common import terminal
from Classes.common.config import Configuration
from Classes.common.errors import ALLError, EngineError, GraphError
from Classes.inference.backend import InferenceBackend
from Classes.inference.failover import FailoverBackend
from Classes.inference.model_card import ModelCard, load_model_card
from Classes.inference.ncs1 import device_process

# Images timed for the list.
TIMED_IMAGES = 5

log = logging.getLogger("Engine")


def open_backend(configuration: Configuration, card: ModelCard) -> InferenceBackend:
    """Open a model on the configured device; with Device=AUTO on the fastest that works.

    Args:
      configuration: `Device`, `Precision`, `InceptionGraph` and `CacheDir` are used.
      card: the model; its graph is verified first.
    Raises:
      GraphError: the device needs a graph that is missing, damaged or of another model.
      EngineError: the device does not exist or does not support the precision.
    """
    card.verify_graph()
    return _open_device(configuration, card, configuration["Device"])


def list_devices(configuration: Configuration) -> int:
    """Print every device with its time per image, which needs a model; return exit code 0."""
    from Classes.inference import openvino_devices

    card = None
    try:
        found = load_model_card(configuration.card)
        found.verify_graph()
        card = found
    except GraphError as error:
        log.warning("%s; without a model no times are measured", error)
    rows = [("Device", "What it is", "Precision", "Time per image")]
    try:
        sticks = find_ncs1_sticks()
        rows.append(("NCS1", f"Movidius stick {', '.join(sticks)}", *_time_device(configuration, card, "NCS1")))
    except EngineError as error:
        rows.append(("NCS1", "not there", "", str(error)))
    for name, description in openvino_devices.list_openvino_devices():
        rows.append((name, description, *_time_device(configuration, card, name)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        terminal.print_lines(["  ".join(cells).rstrip()])
    return 0


def find_ncs1_sticks() -> list[str]:
    """Return the names of the Movidius sticks that are free.

    Raises:
      EngineError: there is none; without the mvnc package no process is started to find out.
    """
    if importlib.util.find_spec("mvnc") is None:
        raise device_process.NCS1Error(device_process.DEVICE_NAME, "package")
    return device_process.list_sticks()


def has_ncs1_stick() -> bool:
    """Return whether a Movidius stick is free."""
    try:
        return bool(find_ncs1_sticks())
    except EngineError:
        return False


def measure_latency(backend: InferenceBackend, size: int, images: int = TIMED_IMAGES) -> float:
    """Return the median seconds per image, one at a time, after one that is not counted.

    Args:
      backend: an open backend.
      size: side of the network's input in pixels.
      images: number of timed images.
    """
    batch = numpy.full((1, size, size, 3), 128, "uint8")
    seconds = []
    for _ in range(images + 1):
        start = time.perf_counter()
        backend.classify(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _time_device(configuration: Configuration, card: ModelCard | None, device: str) -> tuple[str, str]:
    """Return (precision, time or the reason why there is none) for the list."""
    if card is None:
        return "", "no model yet"
    try:
        with _open_device(configuration, card, device) as backend:
            return backend.precision, f"{measure_latency(backend, card.size) * 1000:.1f} ms"
    except ALLError as error:
        return "", str(error)


def _open_device(configuration: Configuration, card: ModelCard, device: str) -> InferenceBackend:
    if device.upper() == "NCS1":
        return _open_ncs1(configuration, card)
    if device.upper() == "AUTO":
        backend, rejected = _open_auto(configuration, card)
        # Without the remedies: most users have no stick and need none.
        why = "".join(f"; not {name}: {str(reason).partition(';')[0]}" for name, reason in rejected)
        log.info("Device=AUTO took %s (%s)%s", backend.name, backend.precision, why)
    else:
        backend = _open_openvino(configuration, card, device)
    # NCS1Backend logs its own lines.
    if backend.name.startswith("OpenVINO"):
        openvino_log = logging.getLogger("OpenVINO")
        openvino_log.info("Connected To %s (%s) successfully.", backend.name, backend.precision)
        openvino_log.info("%s loaded successfully.", card.display_name)
    return backend


Rejected = list[tuple[str, Exception | str]]


def _open_auto(configuration: Configuration, card: ModelCard) -> tuple[InferenceBackend, Rejected]:
    """Return (backend, [(device, why it was not chosen)])."""
    from Classes.inference import openvino_devices

    rejected: Rejected = []
    cpu: InferenceBackend | EngineError
    try:
        cpu = _open_openvino(configuration, card, "CPU")
    except EngineError as error:
        # The CPU lacks the precision. Another device may have it, and then there is no fallback.
        cpu = error
    try:
        primary = _open_accelerator(configuration, card, rejected)
    except BaseException:
        if isinstance(cpu, InferenceBackend):
            cpu.close()
        raise
    if primary is not None and isinstance(cpu, EngineError):
        return primary, [*rejected, ("CPU", cpu)]
    if isinstance(cpu, EngineError):
        raise cpu
    if primary is not None:
        return FailoverBackend(primary, cpu), rejected
    if all(name == "NCS1" for name, _ in rejected):
        rejected.append(("GPU", "OpenVINO lists none"))
    for name, _ in openvino_devices.list_openvino_devices():
        if name.partition(".")[0] not in ("CPU", "GPU"):
            rejected.append((name, "saves power rather than time"))
    return cpu, rejected


def _open_accelerator(configuration: Configuration, card: ModelCard, rejected: Rejected) -> InferenceBackend | None:
    """Open the first accelerator that works, and append the others to `rejected`; None if there is none."""
    from Classes.inference import openvino_devices

    for device in ("NCS1", *openvino_devices.list_accelerators()):
        try:
            if device == "NCS1":
                return _open_ncs1(configuration, card)
            return _open_openvino(configuration, card, device)
        except (EngineError, GraphError) as error:
            rejected.append((device, error))
    return None


def _open_ncs1(configuration: Configuration, card: ModelCard) -> InferenceBackend:
    return Movidius.NCS1Backend(configuration, card, find_ncs1_sticks())


def _open_openvino(configuration: Configuration, card: ModelCard, device: str) -> InferenceBackend:
    # Imported late: a stick works without OpenVINO.
    from Classes.inference import openvino_backend

    return openvino_backend.OpenVINOBackend(card, device, configuration["Precision"], configuration.path("CacheDir"))
