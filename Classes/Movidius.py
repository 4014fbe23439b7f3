"""Run a compiled graph on Movidius sticks (NCS1); several share the work, and a lost one is reconnected."""

import concurrent.futures
import contextlib
import logging
import threading
import time

import numpy

from Classes.common.config import Configuration
from Classes.common.errors import EngineError
from Classes.common.translation import Message
from Classes.inference import backend
from Classes.inference.model_card import ModelCard
from Classes.inference.ncs1 import device_process, graph_file

# Seconds between two attempts to reconnect a lost stick.
RETRY_INTERVAL = 5

# Seconds after which an image that failed on one stick is not tried on another: several may hang one after the other.
RETRY_BUDGET = 10

# Seconds that a working stick needs to start. If one hangs, the others still get this long; when less time is left,
# they are connected while those that work are in use.
START_BUDGET = 6

log = logging.getLogger("Movidius")


class NCS1Backend(backend.InferenceBackend):
    """A compiled graph on every stick.

    Args:
      configuration: `InceptionGraph` and `Precision` are used.
      card: the model, whose graph has been verified.
      names: sticks to use, from device_process.list_sticks.
    Raises:
      GraphError: there is no compiled graph of this model.
      EngineError: no stick, no library, or a precision that a stick does not have.
    """

    name, precision = device_process.DEVICE_NAME, "f16"

    def __init__(self, configuration: Configuration, card: ModelCard, names: list[str]) -> None:
        if configuration["Precision"] not in ("AUTO", self.precision):
            raise EngineError(
                Message(
                    "Precision={precision}: a stick computes in f16 only; set Precision=AUTO",
                    precision=configuration["Precision"],
                ),
                "no_precision",
            )
        self._card = card
        self._graph = graph_file.load_graph(configuration.path("InceptionGraph"), card)
        self._changed = threading.Condition()
        self._idle: list[device_process.NCS1Stick] = []
        self._busy: set[device_process.NCS1Stick] = set()
        self._failed: list[device_process.NCS1Stick] = []
        # Number of sticks to reconnect.
        self._lost = 0
        self._statistics: dict[str, dict] = {}
        self._error: tuple[str, str | None] = "", None
        self._reconnect_thread: threading.Thread | None = None
        self._starting: device_process.WorkerProcess | None = None
        self._closed = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(len(names), "stick")
        log.info("Movidius class initialization complete.")
        try:
            self._open_all(names)
        except BaseException:
            self.close()
            raise

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return class probabilities; an image that fails on one stick is tried on another."""
        backend.validate_batch(batch, self._card.size)
        if self._closed.is_set():
            raise self._closed_error()
        if not len(batch):
            return numpy.zeros((0, len(self._card.classes)), "float32")
        try:
            jobs = [self._pool.submit(self._classify_image, image) for image in batch]
        except RuntimeError as error:
            # The pool has been shut down.
            raise self._closed_error() from error
        try:
            return numpy.stack([job.result() for job in jobs])
        except concurrent.futures.CancelledError as error:
            raise self._closed_error() from error
        finally:
            # After a failure or Ctrl-C nobody waits for the rest.
            for job in jobs:
                job.cancel()

    def telemetry(self) -> list[dict]:
        """Return one dict per stick.

        Each has `stick` (its name), `connected`, `inferences`, `failures`, and, if the stick reports them,
        `milliseconds` (its own time for the last image) and `celsius`; else these are None.
        """
        with self._changed:
            connected = {stick.name for stick in (*self._idle, *self._busy)}
            return [
                {"stick": name, "connected": name in connected, **values} for name, values in self._statistics.items()
            ]

    def close(self) -> None:
        """Close every stick; images in progress end with an EngineError."""
        self._closed.set()
        with self._changed:
            idle, self._idle = self._idle, []
            for stick in self._busy:
                stick.kill()
            self._changed.notify_all()
            thread = self._reconnect_thread
            if self._starting is not None:
                self._starting.kill()
        self._pool.shutdown(cancel_futures=True)
        if thread is not None:
            thread.join()
        for stick in idle:
            stick.close()
        self._close_failed()

    def _closed_error(self) -> EngineError:
        return EngineError(Message("{name}: closed", name=self.name), "backend_closed")

    def _classify_image(self, image: numpy.ndarray) -> numpy.ndarray:
        """Return the probabilities of one image, from the first stick that does not fail."""
        start = time.monotonic()
        tensor = self._card.input_spec.normalize(image[None])[0].astype("float16")
        while True:
            stick = self._acquire()
            try:
                probabilities = stick.infer(tensor)
            except BaseException as error:
                self._mark_failed(stick, error)
                if not isinstance(error, device_process.NCS1Error) or time.monotonic() - start > RETRY_BUDGET:
                    raise
            else:
                self._release(stick)
                return probabilities

    def _acquire(self) -> device_process.NCS1Stick:
        with self._changed:
            self._changed.wait_for(lambda: self._idle or not self._busy or self._closed.is_set())
            if self._closed.is_set():
                raise self._closed_error()
            if not self._idle:
                self._start_reconnecting()
                # A new exception each time: one that is raised again keeps the images of all earlier frames alive.
                raise EngineError(*self._error)
            stick = self._idle.pop()
            self._busy.add(stick)
            return stick

    def _release(self, stick: device_process.NCS1Stick) -> None:
        log.debug("%s: %s ms on the stick, %s °C", stick.name, stick.milliseconds, stick.celsius)
        with self._changed:
            self._busy.discard(stick)
            self._count(stick, "inferences")
            # Read once: either `close` finds the stick idle and closes it, or it is closed here.
            closed = self._closed.is_set()
            if not closed:
                self._idle.append(stick)
            self._changed.notify()
        if closed:
            stick.close()

    def _mark_failed(self, stick: device_process.NCS1Stick, error: BaseException) -> None:
        """Continue without a stick, and start to reconnect it."""
        with self._changed:
            self._busy.discard(stick)
            self._count(stick, "failures")
            self._failed.append(stick)
            self._error = str(error), getattr(error, "code", None)
            self._lost += 1
            left = len(self._idle) + len(self._busy)
            self._start_reconnecting()
            self._changed.notify_all()
        # `classify` raises the error of the last stick.
        if left and not self._closed.is_set():
            log.error("%s; continuing on %d other stick(s)", error, left)

    def _start_reconnecting(self) -> None:
        if self._reconnect_thread is None and self._lost and not self._closed.is_set():
            thread = threading.Thread(target=self._reconnect_loop, name="stick reconnect", daemon=True)
            # If the system allows no further thread, the next image tries again.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._reconnect_thread = thread

    def _reconnect_loop(self) -> None:
        """Connect the lost sticks, or others in their place, until as many work as before."""
        while True:
            # Closed here because a last attempt to close one in order may take seconds, and no image should wait.
            self._close_failed()
            if self._closed.wait(RETRY_INTERVAL):
                return
            with contextlib.suppress(EngineError, MemoryError):
                self._reconnect(device_process.list_sticks(self._note_start))
            with self._changed:
                if not self._lost:
                    self._reconnect_thread = None
                    return

    def _note_start(self, process: device_process.WorkerProcess) -> None:
        """Remember the process that a thread waits for, so that `close` can kill it."""
        with self._changed:
            self._starting = process
            if self._closed.is_set():
                process.kill()

    def _close_failed(self) -> None:
        with self._changed:
            failed, self._failed = self._failed, []
        for stick in failed:
            stick.close()

    def _reconnect(self, names: list[str]) -> None:
        for name in names:
            with self._changed:
                used = {stick.name for stick in (*self._idle, *self._busy)}
            if name in used or not self._lost or self._closed.is_set():
                continue
            try:
                self._open(name)
            except EngineError as error:
                log.debug("%s", error)
                continue
            with self._changed:
                self._lost -= 1
            log.info("Connected To NCS1 %s again.", name)

    def _open_all(self, names: list[str]) -> None:
        errors, waiting = [], list(names)
        end = time.monotonic() + device_process.START_TIMEOUT
        while waiting and (left := end - time.monotonic()) >= START_BUDGET:
            timeout = max(START_BUDGET, left / len(waiting))
            try:
                self._open(waiting.pop(0), timeout)
            except EngineError as error:
                errors.append(error)
        if not self._idle:
            raise errors[0]
        for each in errors:
            log.warning("%s; continuing on %d other stick(s)", each, len(self._idle))
        with self._changed:
            self._lost = len(errors) + len(waiting)
            self._start_reconnecting()
        log.info("Connected To NCS1 successfully.")
        log.info("Movidius graph allocated successfully.")
        log.info("%s loaded successfully.", self._card.display_name)

    def _open(self, name: str, timeout: float = device_process.START_TIMEOUT) -> None:
        stick = device_process.NCS1Stick(
            name, self._graph, self._card.size, len(self._card.classes), self._note_start, timeout
        )
        with self._changed:
            self._starting = None
            self._statistics.setdefault(name, {"inferences": 0, "failures": 0, "milliseconds": None, "celsius": None})
            if not self._closed.is_set():
                self._idle.append(stick)
                self._changed.notify()
                return
        stick.close()

    def _count(self, stick: device_process.NCS1Stick, event: str) -> None:
        values = self._statistics[stick.name]
        values[event] += 1
        values.update(milliseconds=stick.milliseconds, celsius=stick.celsius)
