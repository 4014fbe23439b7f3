"""One Movidius stick in a worker process of its own: a deadline for every call, and a message for every failure."""

import contextlib
import errno
import json
import math
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy

from Classes.common import translation
from Classes.common.errors import EngineError, system_reason
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.inference import backend

DEVICE_NAME = "Movidius NCS1"

# Seconds that a call may take. The library itself gives up after 15, or never; an inference takes a third of a second.
CALL_TIMEOUTS = {"names": 10, "open": 18, "allocate": 18, "infer": 6, "close": 3}

# Seconds within which a stick must open, receive the graph and run once.
START_TIMEOUT = 18

INSTALL_HINT = translation.mark("install the API of the NCSDK, version 1 (https://github.com/movidius/ncsdk)")
REPLUG_HINT = translation.mark("unplug it, plug it in again")

ERROR_MESSAGES = {
    "package": translation.mark("the mvnc package is not installed; {install}"),
    "library": translation.mark("mvnc finds no libmvnc.so ({details}); {install}"),
    "version": translation.mark("mvnc is of another version, NCAPI v1 is needed; {install}"),
    "absent": translation.mark("no stick was found; plug one in, or stop the program that uses it"),
    "tensor": translation.mark("not sent: {details}"),
    "invalid_output": translation.mark("device result invalid: {details}; {replug}"),
    "start": translation.mark("its process cannot be started ({details}); close other programs"),
    "timeout": translation.mark("no answer within {details} s, was it unplugged?; {replug}"),
    "exited": translation.mark("its process ended ({details}); {replug}"),
    "defect": translation.mark("its library failed ({details}); {install}"),
    "unopened": translation.mark("the stick does not open (ERROR); stop the program that uses it, or {replug}"),
    "BUSY": translation.mark("the stick is in use; stop the program that uses it"),
    "ERROR": translation.mark("the stick does not answer (ERROR), was it unplugged?; {replug}"),
    "OUT_OF_MEMORY": translation.mark(
        "out of memory on the stick or here (OUT_OF_MEMORY); run python3 Trainer.py Compile again"
    ),
    "DEVICE_NOT_FOUND": translation.mark("the stick is gone (DEVICE_NOT_FOUND); plug it in"),
    "INVALID_PARAMETERS": translation.mark("the library refuses the call (INVALID_PARAMETERS); {replug}"),
    "TIMEOUT": translation.mark("the stick stopped answering (TIMEOUT), was it unplugged?; {replug}"),
    "MVCMD_NOT_FOUND": translation.mark("the firmware file MvNCAPI.mvcmd is missing beside the library; {install}"),
    "NO_DATA": translation.mark("the stick has no answer (NO_DATA); {replug}"),
    "GONE": translation.mark("the stick is gone (GONE); {replug}"),
    "UNSUPPORTED_GRAPH_FILE": translation.mark(
        "the stick refuses the graph's version; run python3 Trainer.py Compile with NCSDK 1"
    ),
    "MYRIAD_ERROR": translation.mark("the stick reports an error (MYRIAD_ERROR {details}); {replug}"),
}

# Isolated (-I), so that no module of the current folder shadows one of the same name.
WORKER_SCRIPT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from Classes.inference.ncs1.worker import main; "
)
WORKER_SCRIPT += "main(int(sys.argv[2]))"


class NCS1Error(EngineError):
    """A stick failed.

    Attributes:
      kind: a key of ERROR_MESSAGES or an unknown status of mvnc; the code is "ncs1_" and the kind in lower case.
      details: what the message adds, such as the seconds of a timeout.
    """

    def __init__(self, name: str, kind: str, details: str = "") -> None:
        template = ERROR_MESSAGES.get(kind, translation.mark("the stick failed ({kind} {details}); {replug}"))
        install, replug = Message(INSTALL_HINT), Message(REPLUG_HINT)
        failure = Message(template, kind=kind, details=details, install=install, replug=replug)
        super().__init__(
            Message("{name}: {failure}, or set Device=CPU", name=name, failure=failure), f"ncs1_{kind.lower()}"
        )
        self.kind, self.details = kind, details


class WorkerProcess:
    """A process that runs worker.main; killed, not reused, when a call times out.

    Args:
      name: name of the stick in messages.
      timeout: seconds that all calls together may take, until `clear_startup_deadline`.
    """

    def __init__(self, name: str, timeout: float = math.inf) -> None:
        self._name = name
        self._deadline, self._ended = time.monotonic() + timeout, False
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                # A stopped process must not block a send either; the kernel waits twice, hence half of the timeout.
                ours.setsockopt(
                    socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", CALL_TIMEOUTS["infer"] // 2, 0)
                )
                self._connection = Connection(os.dup(ours.fileno()))
                self._process = _start_worker(theirs.fileno())
                self._start_watcher(ours.dup())
        except OSError as error:
            raise NCS1Error(name, "start", system_reason(error)) from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def call(self, method: str, *arguments: Any) -> Any:
        """Return the result of a method of worker.Driver.

        Raises:
          NCS1Error: it failed, timed out, or its process has ended; after the last two the process is gone.
        """
        seconds = min(CALL_TIMEOUTS[method], max(0, self._deadline - time.monotonic()))
        try:
            self._connection.send((method, arguments))
            if not self.has_answer(seconds):
                raise TimeoutError
            succeeded, *result = self._connection.recv()
        except (TimeoutError, BlockingIOError) as error:
            self.end()
            raise NCS1Error(self._name, "timeout", f"{seconds:.0f}") from error
        except (EOFError, OSError) as error:
            raise NCS1Error(self._name, "exited", self.end(grace=1)) from error
        except BaseException:
            # After Ctrl-C an answer may still arrive and would be taken for the answer of the next call.
            self.end()
            raise
        if not succeeded:
            raise NCS1Error(self._name, *result)
        return result[0]

    def has_answer(self, seconds: float) -> bool:
        """Return whether an answer, or the end of the process, arrived within this number of seconds."""
        return self._connection.poll(seconds)

    def clear_startup_deadline(self) -> None:
        """Give every call its own timeout from now on."""
        self._deadline = math.inf

    def end(self, grace: float = 0) -> str:
        """End the process; may be called again.

        Args:
          grace: seconds in which it may end by itself.
        Returns:
          how it ended, for a message.
        """
        self._watcher.join(0 if self._ended else grace)
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(OSError):
            self._connection.close()
        # A killed process ends within a second, or not at all; the caller has waited long enough already.
        self._watcher.join(0 if self._ended else 1)
        self._ended = True
        code = self._process.returncode
        if code is None:
            # The system cannot end a process that waits inside a broken USB driver.
            return "it cannot be ended"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """Kill the process; another thread that waits for an answer gets an NCS1Error."""
        self._process.kill()

    def _start_watcher(self, ours: socket.socket) -> None:
        self._watcher = threading.Thread(target=self._watch, args=[ours], name="stick watcher", daemon=True)
        try:
            self._watcher.start()
        except RuntimeError as error:
            # The process itself was the last that the system's limit allows.
            ours.close()
            self._connection.close()
            self._process.kill()
            self._process.communicate()
            raise OSError(errno.EAGAIN, str(error)) from error

    def _watch(self, ours: socket.socket) -> None:
        """Shut down the connection when the process ends; a child of it may hold the other end open forever."""
        with ours:
            self._process.wait()
            # What it had answered before can still be read; some systems call the end of both sides an error.
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)


def _start_worker(descriptor: int) -> subprocess.Popen[bytes]:
    """Start a process that serves over an inherited socket."""
    project = str(PROJECT)
    paths = json.dumps([project, *(str(pathlib.Path(path).resolve()) for path in sys.path)])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", WORKER_SCRIPT, paths, str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        # Ctrl-C must reach this program only, which then ends the worker.
        start_new_session=True,
    )


def _ignore(process: WorkerProcess) -> None:
    pass


def list_sticks(on_start: Callable[[WorkerProcess], None] = _ignore) -> list[str]:
    """Return the names of the sticks that are plugged in and free; a worker process finds them.

    Args:
      on_start: called with the process, which another thread may kill.
    Raises:
      NCS1Error: there is none, or no library to find one.
    """
    process = WorkerProcess(DEVICE_NAME)
    try:
        on_start(process)
        found = process.call("names")
    finally:
        process.end()
    if not found:
        raise NCS1Error(DEVICE_NAME, "absent")
    return found


class NCS1Stick:
    """A stick that has received the graph and has run once.

    Args:
      name: from `list_sticks`.
      graph: bytes of the compiled graph, verified.
      size: side of the network's input in pixels.
      classes: number of outputs.
      on_start: called with the process, which another thread may kill.
      timeout: seconds within which it must be usable.
    Attributes:
      milliseconds: the stick's own time for the last image, or None.
      celsius: its temperature, or None.
    Raises:
      NCS1Error: it cannot be used; its process is ended.
    """

    def __init__(
        self,
        name: str,
        graph: bytes,
        size: int,
        classes: int,
        on_start: Callable[[WorkerProcess], None] = _ignore,
        timeout: float = START_TIMEOUT,
    ) -> None:
        self.name = name
        self.milliseconds: float | None = None
        self.celsius: float | None = None
        self._label = f"{DEVICE_NAME} {name}"
        self._classes, self._number = classes, 0
        self._usable = True
        self._process = WorkerProcess(self._label, timeout)
        try:
            on_start(self._process)
            self._process.call("open", name)
            self._process.call("allocate", graph, size)
            # A first image shows whether the stick computes, before it gets an image that somebody waits for.
            self.infer(numpy.zeros((size, size, 3), "float16"))
            self._process.clear_startup_deadline()
        except BaseException:
            self.close()
            raise

    def infer(self, tensor: numpy.ndarray) -> numpy.ndarray:
        """Return the probabilities of one image.

        Args:
          tensor: float16 [size, size, 3], scaled for the network.
        Returns:
          float32 [classes], validated.
        Raises:
          NCS1Error: the stick failed, or its output is invalid; it must be closed then.
        """
        self._number += 1
        try:
            content, self.milliseconds, self.celsius = self._process.call("infer", tensor.tobytes(), self._number)
        except NCS1Error as error:
            # After these the library's next call never returns, not even the one that closes.
            self._usable = error.kind not in ("ERROR", "timeout", "exited")
            raise
        probabilities = numpy.frombuffer(content, "float16").astype("float32")
        try:
            backend.validate_probabilities(probabilities[None], self._classes)
        except EngineError as error:
            raise NCS1Error(self._label, "invalid_output", f"{probabilities.tolist()[:8]}") from error
        return probabilities

    def close(self) -> None:
        """Close the stick in order if that is possible, and end its process."""
        if self._usable:
            self._usable = False
            with contextlib.suppress(NCS1Error):
                self._process.call("close")
        self._process.end()

    def kill(self) -> None:
        """Kill its process while another thread uses the stick; that thread gets an NCS1Error and closes it."""
        self._process.kill()
