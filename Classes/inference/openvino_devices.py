"""The devices that OpenVINO lists, and the precisions in which they compute."""

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import openvino

from Classes.common.errors import EngineError
from Classes.common.translation import Message
from Classes.inference import int8_files

# 2022.3, the last release that supports the Neural Compute Stick 2, has everything in openvino.runtime.
openvino_api = openvino if hasattr(openvino, "Core") else importlib.import_module("openvino.runtime")


# Our names of precisions, and OpenVINO's.
CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}


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
        Message(
            "Device={device}: there is no such device; found: {found}; set Device=AUTO", device=device, found=found
        ),
        "no_device",
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
                reason=last_line(error),
            ),
            "device_driver",
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
            ),
            "no_precision",
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


def supported_options(core: Any, device: str, options: dict[str, str]) -> dict[str, str]:
    """Return the options that a device supports: it rejects a model if one is unknown."""
    known = {str(name) for name in core.get_property(device, "SUPPORTED_PROPERTIES")}
    return {name: value for name, value in options.items() if name in known}


def _property(core: Any, device: str, name: str) -> str:
    try:
        return str(core.get_property(device, name))
    except RuntimeError:
        return ""


def last_line(error: Exception) -> str:
    """Return the last line of OpenVINO's message; the lines before it name its source files and checks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
