"""The process that owns a Movidius stick: the only place that loads its library, which can hang forever.

device_process.WorkerProcess starts it; nothing else imports this module. Needs only the standard library, numpy, mvnc.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy

# Seconds between two readings of the thermometer: each is a request over USB.
TEMPERATURE_INTERVAL = 1.0


class DriverError(Exception):
    """A failure as (kind, details); kinds are mvnc's statuses and the keys of device_process.ERROR_MESSAGES."""


class Tensor(numpy.ndarray):
    """An array with `tostring`, which mvnc calls and numpy has removed."""

    def tostring(self) -> bytes:
        """Return the bytes of the array."""
        return self.tobytes()


class Driver:
    """One stick through NCAPI v1; every method may hang."""

    def __init__(self) -> None:
        self._device: Any = None
        self._graph: Any = None
        self._api: Any = None
        self._size = 0
        self._measured = 0.0
        self._celsius: float | None = None

    def names(self) -> list[str]:
        """Return the names of the sticks that are plugged in and free."""
        return list(self._library().EnumerateDevices())

    def open(self, name: str) -> None:
        """Open the stick of that name."""
        self._device = self._library().Device(name)
        try:
            self._device.OpenDevice()
        except Exception as error:
            kind, details = error_kind(error)
            # mvnc reports ERROR if the link does not open; the message of "unopened" also fits a stick in use.
            raise DriverError("unopened" if kind == "ERROR" else kind, details) from error

    def allocate(self, graph: bytes, size: int) -> None:
        """Send a compiled graph whose input is [size, size, 3]."""
        self._size = size
        self._graph = self._device.AllocateGraph(graph)

    def infer(self, content: bytes, number: int) -> tuple[bytes, float | None, float | None]:
        """Run one image.

        Args:
          content: bytes of float16 [size, size, 3].
          number: number of the call, which the answer must repeat.
        Returns:
          (bytes of the float16 output, milliseconds on the stick or None, degrees Celsius or None).
        """
        tensor = validate_tensor(numpy.frombuffer(content, "float16").reshape(self._size, self._size, -1), self._size)
        try:
            # False means that the stick already has two images; the caller has a deadline.
            while not self._graph.LoadTensor(tensor.view(Tensor), number):
                time.sleep(0.01)
            output, returned = self._graph.GetResult()
        except Exception as error:
            raise DriverError(*self._explain(error)) from error
        if output is None:
            raise DriverError("NO_DATA", "no answer to an image that it accepted")
        if returned != number:
            raise DriverError("invalid_output", "the answer to another image")
        return numpy.asarray(output, "float16").tobytes(), self._milliseconds(), self._temperature()

    def close(self) -> None:
        """Close the stick in order."""
        with contextlib.suppress(Exception):
            if self._graph is not None:
                self._graph.DeallocateGraph()
        if self._device is not None:
            self._device.CloseDevice()

    def _library(self) -> Any:
        if self._api is not None:
            return self._api
        try:
            from mvnc import mvncapi
        except ImportError as error:
            raise DriverError("package", str(error)) from error
        except OSError as error:
            raise DriverError("library", str(error)) from error
        if not hasattr(mvncapi, "EnumerateDevices"):
            raise DriverError("version", "")
        self._api = mvncapi
        return mvncapi

    def _explain(self, error: Exception) -> tuple[str, str]:
        kind, details = error_kind(error)
        if kind == "MYRIAD_ERROR":
            with contextlib.suppress(Exception):
                details = str(self._graph.GetGraphOption(self._api.GraphOption.DEBUG_INFO))
        return kind, details

    def _milliseconds(self) -> float | None:
        with contextlib.suppress(Exception):
            return float(numpy.sum(self._graph.GetGraphOption(self._api.GraphOption.TIME_TAKEN)))
        return None

    def _temperature(self) -> float | None:
        if time.monotonic() - self._measured > TEMPERATURE_INTERVAL:
            self._measured, self._celsius = time.monotonic(), None
            with contextlib.suppress(Exception):
                # A history, newest first.
                stats = self._device.GetDeviceOption(self._api.DeviceOption.THERMAL_STATS)
                self._celsius = float(numpy.atleast_1d(stats)[0])
        return self._celsius


def validate_tensor(tensor: numpy.ndarray, size: int) -> numpy.ndarray:
    """Return the tensor if it is float16 [size, size, 3]: the library would send anything and return nonsense.

    Raises:
      DriverError: another dtype or shape.
    """
    if tensor.dtype != numpy.float16 or tensor.shape != (size, size, 3):
        raise DriverError(
            "tensor", f"{tensor.dtype} {list(tensor.shape)} where float16 [{size}, {size}, 3] is expected"
        )
    return tensor


def error_kind(error: Exception) -> tuple[str, str]:
    """Return (kind, details) of what mvnc or this module raised: mvnc raises only `Exception(mvncStatus.X)`."""
    if isinstance(error, DriverError):
        kind, details = error.args
        return kind, details
    status = error.args[0] if error.args else None
    name = getattr(status, "name", None)
    return (name, "") if type(error) is Exception and name else ("defect", f"{type(error).__name__}: {error}")


def serve_calls(connection: Connection) -> None:
    """Answer (method, arguments) with (True, result) or (False, kind, details), until the other end closes."""
    driver = Driver()
    while True:
        method, arguments = connection.recv()
        answer: tuple
        try:
            answer = True, getattr(driver, method)(*arguments)
        except Exception as error:
            answer = (False, *error_kind(error))
        connection.send(answer)


def main(descriptor: int) -> None:
    """Serve over an inherited socket, and end with the parent process, whatever hangs here."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A service manager signals all processes of a service, and the images in progress need this one.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        serve_calls(Connection(descriptor))
    # Not an orderly exit: the library may hang there too.
    os._exit(0)


def _exit_with_parent() -> None:
    # Nobody writes to stdin; reading ends when the parent ends, even if it was killed.
    sys.stdin.buffer.read()
    os._exit(0)
