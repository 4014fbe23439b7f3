"""The process that a Movidius stick lives in: the one place where its library is loaded, since that can hang for ever.

Started by device_process.WorkerProcess; nothing else imports this module. Needs the standard library, numpy and mvnc alone.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

import numpy

# Seconds between two looks at the thermometer: each is a question over USB.
TEMPERATURE_INTERVAL = 1.0


class DriverError(Exception):
    """What went wrong, as (kind, details); kinds are mvnc's statuses and the keys of device_process.ERROR_MESSAGES."""


class Tensor(numpy.ndarray):
    """mvnc calls `tostring`, which numpy has no longer."""

    def tostring(self):
        return self.tobytes()


class Driver:
    """NCAPI v1, one stick; every method may hang."""

    def __init__(self):
        self._device = self._graph = self._api = None
        self._size = self._looked = 0
        self._celsius = None

    def names(self):
        """Names of the sticks that are plugged in and free."""
        return list(self._library().EnumerateDevices())

    def open(self, name):
        """Take the stick of that name."""
        self._device = self._library().Device(name)
        try:
            self._device.OpenDevice()
        except Exception as error:
            kind, details = error_kind(error)
            # What its sources answer where the link does not open; in words that fit a stick in use too.
            raise DriverError("unopened" if kind == "ERROR" else kind, details) from error

    def allocate(self, blob, size):
        """Send a compiled graph, bytes, whose input is [size, size, 3]."""
        self._size = size
        self._graph = self._device.AllocateGraph(blob)

    def infer(self, content, number):
        """One image.

        Args:
          content: bytes of float16 [size, size, 3].
          number: of the call; the answer must bear it.
        Returns:
          (bytes of the float16 answer, milliseconds on the stick or None, degrees Celsius or None).
        """
        tensor = validate_tensor(numpy.frombuffer(content, "float16").reshape(self._size, self._size, -1), self._size)
        try:
            # False means that the stick has two images already; whoever waits for us has a deadline.
            while not self._graph.LoadTensor(tensor.view(Tensor), number):
                time.sleep(0.01)
            answer, returned = self._graph.GetResult()
        except Exception as error:
            raise DriverError(*self._explain(error)) from error
        if answer is None:
            raise DriverError("NO_DATA", "no answer to an image that it took")
        if returned != number:
            raise DriverError("rubbish", "the answer to another image")
        return numpy.asarray(answer, "float16").tobytes(), self._milliseconds(), self._temperature()

    def close(self):
        """Let the stick go in order."""
        with contextlib.suppress(Exception):
            if self._graph is not None:
                self._graph.DeallocateGraph()
        if self._device is not None:
            self._device.CloseDevice()

    def _library(self):
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

    def _explain(self, error):
        kind, details = error_kind(error)
        if kind == "MYRIAD_ERROR":
            with contextlib.suppress(Exception):
                details = str(self._graph.GetGraphOption(self._api.GraphOption.DEBUG_INFO))
        return kind, details

    def _milliseconds(self):
        with contextlib.suppress(Exception):
            return float(numpy.sum(self._graph.GetGraphOption(self._api.GraphOption.TIME_TAKEN)))
        return None

    def _temperature(self):
        if time.monotonic() - self._looked > TEMPERATURE_INTERVAL:
            self._looked, self._celsius = time.monotonic(), None
            with contextlib.suppress(Exception):
                # A history with the newest first.
                stats = self._device.GetDeviceOption(self._api.DeviceOption.THERMAL_STATS)
                self._celsius = float(numpy.atleast_1d(stats)[0])
        return self._celsius


def validate_tensor(tensor, size):
    """The tensor if it is float16 [size, size, 3]: the library would send anything and answer rubbish.

    Raises:
      DriverError: it is something else.
    """
    if tensor.dtype != numpy.float16 or tensor.shape != (size, size, 3):
        raise DriverError(
            "tensor", f"{tensor.dtype} {list(tensor.shape)} where float16 [{size}, {size}, 3] is expected"
        )
    return tensor


def error_kind(error):
    """(kind, details) of what mvnc or this module raised: mvnc knows only `Exception(mvncStatus.X)`."""
    if isinstance(error, DriverError):
        return error.args
    status = error.args[0] if error.args else None
    name = getattr(status, "name", None)
    return (name, "") if type(error) is Exception and name else ("defect", f"{type(error).__name__}: {error}")


def serve_calls(connection):
    """Answer (method, arguments) with (True, result) or (False, kind, details), until the other end closes."""
    driver = Driver()
    while True:
        method, arguments = connection.recv()
        try:
            answer = True, getattr(driver, method)(*arguments)
        except Exception as error:
            answer = (False, *error_kind(error))
        connection.send(answer)


def main(descriptor):
    """Serve over an inherited socket, and end with the process that started this one, whatever hangs here."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A service manager stops all of a service's processes at once, and the images under way need this one.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        serve_calls(Connection(descriptor))
    # Not in order: the library may hang there too.
    os._exit(0)


def _exit_with_parent():
    # Nobody writes there; it ends when the parent does, even where that was killed.
    sys.stdin.buffer.read()
    os._exit(0)
