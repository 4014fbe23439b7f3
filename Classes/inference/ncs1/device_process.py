"""One Movidius stick from outside: its process, a deadline for every call, and what each failure means."""

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
from multiprocessing.connection import Connection

import numpy

from Classes.common.errors import EngineError
from Classes.common.paths import PROJECT
from Classes.inference import backend as Interface

DEVICE_NAME = "Movidius NCS1"

# Seconds that a call may take. The library itself gives up after 15, or never; an inference takes a third of one.
CALL_TIMEOUTS = {"names": 10, "open": 18, "allocate": 18, "infer": 6, "close": 3}

# Seconds in which a stick has to have opened, taken the graph and answered once, whatever each of these may take.
START_TIMEOUT = 18

INSTALL_HINT = "install the API of the NCSDK, version 1 (https://github.com/movidius/ncsdk)"
REPLUG_HINT = "unplug it, plug it in again"

ERROR_MESSAGES = {
    "package": f"the mvnc package is not installed; {INSTALL_HINT}",
    "library": f"mvnc finds no libmvnc.so ({{details}}); {INSTALL_HINT}",
    "version": f"mvnc is of another version, NCAPI v1 is needed; {INSTALL_HINT}",
    "absent": "no stick was found; plug one in, or stop the program that uses it",
    "tensor": "not sent: {details}",
    "rubbish": f"device result invalid: {{details}}; {REPLUG_HINT}",
    "start": "its driver cannot be started ({details}); close other programs",
    "late": f"no answer within {{details}} s, was it unplugged?; {REPLUG_HINT}",
    "ended": f"its driver ended ({{details}}); {REPLUG_HINT}",
    "defect": "its library failed ({details}); " + INSTALL_HINT,
    "unopened": f"the stick does not open (ERROR); stop the program that uses it, or {REPLUG_HINT}",
    "BUSY": "the stick is in use; stop the program that uses it",
    "ERROR": f"the stick does not answer (ERROR), was it unplugged?; {REPLUG_HINT}",
    "OUT_OF_MEMORY": "out of memory on the stick or here (OUT_OF_MEMORY); run python3 Trainer.py Compile again",
    "DEVICE_NOT_FOUND": "the stick is gone (DEVICE_NOT_FOUND); plug it in",
    "INVALID_PARAMETERS": f"the library refuses the call (INVALID_PARAMETERS); {REPLUG_HINT}",
    "TIMEOUT": f"the stick fell silent (TIMEOUT), was it unplugged?; {REPLUG_HINT}",
    "MVCMD_NOT_FOUND": "the firmware file MvNCAPI.mvcmd is missing beside the library; " + INSTALL_HINT,
    "NO_DATA": f"the stick has no answer (NO_DATA); {REPLUG_HINT}",
    "GONE": f"the stick is gone (GONE); {REPLUG_HINT}",
    "UNSUPPORTED_GRAPH_FILE": "the stick refuses the graph's version; run python3 Trainer.py Compile with NCSDK 1",
    "MYRIAD_ERROR": f"the stick reports an error of its own (MYRIAD_ERROR {{details}}); {REPLUG_HINT}",
}

# Isolated, so that no file of the folder one happens to be in is imported for one of the same name.
WORKER_SCRIPT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from Classes.inference.ncs1.worker import main; "
)
WORKER_SCRIPT += "main(int(sys.argv[2]))"


class NCS1Error(EngineError):
    """A stick failed; `kind` is a key of MEANINGS or an unknown status of mvnc."""

    def __init__(self, name, kind, details=""):
        meaning = ERROR_MESSAGES.get(kind, f"the stick failed ({kind} {details}); {REPLUG_HINT}")
        super().__init__(f"{name}: {meaning.format(details=details)}, or set Device=CPU")
        self.kind = kind


class WorkerProcess:
    """A process of StickDriver's; ended, not reused, when a call is late.

    Args:
      name: what messages call it.
      within: seconds from now that all calls may take together, until it is `patient`.
    """

    def __init__(self, name, within=math.inf):
        self._name = name
        self._deadline, self._ended = time.monotonic() + within, False
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                # A stopped process must not hold up a send either; it waits twice, in the last part and after.
                ours.setsockopt(
                    socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", CALL_TIMEOUTS["infer"] // 2, 0)
                )
                self._connection = Connection(os.dup(ours.fileno()))
                self._process = _start_worker(theirs.fileno())
                self._watch_it(ours.dup())
        except OSError as error:
            raise NCS1Error(name, "start", error.strerror) from error

    def _watch_it(self, ours):
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

    def call(self, method, *arguments):
        """The result of a method of worker.Driver.

        Raises:
          StickError: it failed, was late, or its process has ended; after the last two the process is no more.
        """
        seconds = min(CALL_TIMEOUTS[method], max(0, self._deadline - time.monotonic()))
        try:
            self._connection.send((method, arguments))
            if not self.answered(seconds):
                raise TimeoutError
            sound, *answer = self._connection.recv()
        except (TimeoutError, BlockingIOError) as error:
            self.end()
            raise NCS1Error(self._name, "late", f"{seconds:.0f}") from error
        except (EOFError, OSError) as error:
            raise NCS1Error(self._name, "ended", self.end(grace=1)) from error
        except BaseException:
            # After Ctrl-C an answer would still be under way, and be taken for the next call's.
            self.end()
            raise
        if not sound:
            raise NCS1Error(self._name, *answer)
        return answer[0]

    def answered(self, seconds):
        """Whether an answer, or the end of the process, came within so many seconds."""
        return self._connection.poll(seconds)

    @property
    def pid(self):
        """The process's number."""
        return self._process.pid

    def patient(self):
        """Give every call its own time from here on."""
        self._deadline = math.inf

    def _watch(self, ours):
        """End the connection when the process ends; a child of its may hold the other end open for ever."""
        with ours:
            self._process.wait()
            # What it had answered before can still be read; some systems call the end of both sides an error.
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)

    def end(self, grace=0):
        """End the process; may be called again.

        Args:
          grace: seconds in which it may end by itself, where that is what it seems to be doing.
        Returns:
          how it ended, in words.
        """
        self._watcher.join(0 if self._ended else grace)
        self.kill()
        self._process.stdin.close()
        with contextlib.suppress(OSError):
            self._connection.close()
        # A second is long for a process that was killed; whoever waits for a verdict has waited already.
        self._watcher.join(0 if self._ended else 1)
        self._ended = True
        code = self._process.returncode
        if code is None:
            # The system lets nothing end that waits inside a broken USB driver.
            return "it cannot be ended"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill(self):
        """End the process whatever another thread waits for from it; that thread is told so."""
        self._process.kill()


def _start_worker(descriptor):
    """A process that serves over an inherited socket."""
    project = str(PROJECT)
    paths = json.dumps([project, *(str(pathlib.Path(path).resolve()) for path in sys.path)])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", WORKER_SCRIPT, paths, str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        # Ctrl-C is for this program, which ends the other one.
        start_new_session=True,
    )


def list_sticks(started=lambda process: None):
    """Names of the sticks that are plugged in and free, asked in a process of its own.

    Args:
      started: told of the Process, which another thread may kill.
    Raises:
      StickError: there is none, or no library that could tell.
    """
    process = WorkerProcess(DEVICE_NAME)
    try:
        started(process)
        found = process.call("names")
    finally:
        process.end()
    if not found:
        raise NCS1Error(DEVICE_NAME, "absent")
    return found


class NCS1Stick:
    """A stick that has the graph and has answered once.

    Args:
      name: from `names`.
      blob: bytes of the compiled graph, checked.
      size: side of the network's input in pixels.
      classes: number of outputs.
      started: told of the Process, which another thread may kill.
      within: seconds until it has to be usable.
    Attributes:
      name.
      milliseconds: what the stick itself needed for the last image, or None.
      celsius: its temperature, or None.
    Raises:
      StickError: it cannot be used; its process is ended.
    """

    def __init__(self, name, blob, size, classes, started=lambda process: None, within=START_TIMEOUT):
        self.name, self.milliseconds, self.celsius = name, None, None
        self._label = f"{DEVICE_NAME} {name}"
        self._classes, self._number = classes, 0
        self._usable = True
        self._process = WorkerProcess(self._label, within)
        try:
            started(self._process)
            self._process.call("open", name)
            self._process.call("allocate", blob, size)
            # The first image tells whether it computes; better now than with somebody's picture.
            self.infer(numpy.zeros((size, size, 3), "float16"))
            self._process.patient()
        except BaseException:
            self.close()
            raise

    def infer(self, tensor):
        """Probabilities of one image.

        Args:
          tensor: float16 [size, size, 3], scaled for the network.
        Returns:
          float32 [classes], checked.
        Raises:
          StickError: the stick failed, or its answer is no probability; it must be closed then.
        """
        self._number += 1
        try:
            content, self.milliseconds, self.celsius = self._process.call("infer", tensor.tobytes(), self._number)
        except NCS1Error as error:
            # After these the library's next call never returns, not even the one that closes.
            self._usable = error.kind not in ("ERROR", "late", "ended")
            raise
        answer = numpy.frombuffer(content, "float16").astype("float32")
        try:
            Interface.validate_probabilities(answer[None], self._classes)
        except EngineError as error:
            raise NCS1Error(self._label, "rubbish", f"{answer.tolist()[:8]}") from error
        return answer

    def close(self):
        """Let the stick go, in order where that is possible, and end its process."""
        if self._usable:
            self._usable = False
            with contextlib.suppress(NCS1Error):
                self._process.call("close")
        self._process.end()

    def kill(self):
        """End its process while another thread uses the stick; that thread gets a StickError, and closes it."""
        self._process.kill()
