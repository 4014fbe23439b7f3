"""The compiled graph on Movidius sticks (NCS1): several share the work, and one that was lost is taken back."""

import concurrent.futures
import contextlib
import logging
import threading
import time

import numpy

from Classes.common.errors import EngineError
from Classes.inference import backend as Interface
from Classes.inference.ncs1 import device_process, graph_file

# Seconds between two attempts to get a lost stick back.
RETRY_INTERVAL = 5

# Seconds after which an image that a stick failed on is given to no other: several may hang one after the other.
RETRY_BUDGET = 10

# Seconds that a healthy stick needs to start. Where one hangs, the others still get as many; with less time left they
# are taken while those that work do.
START_BUDGET = 6

log = logging.getLogger("Movidius")


class NCS1Backend:
    """A compiled graph on every stick there is; see backend.open_engine.

    Args:
      configuration: Configuration; `InceptionGraph` and `Precision` are used.
      card: model_card.ModelCard, whose graph has been verified.
      names: of the sticks to take, from device_process.list_sticks.
    Attributes:
      name, precision: see backend.open_engine.
    Raises:
      GraphError: there is no compiled graph of this model.
      EngineError: no stick, no library, or a precision that a stick does not have.
    """

    name, precision = device_process.DEVICE_NAME, "f16"

    def __init__(self, configuration, card, names):
        if configuration["Precision"] not in ("AUTO", self.precision):
            raise EngineError(
                f"Precision={configuration['Precision']}: a stick computes in f16 only; set Precision=AUTO"
            )
        self._card = card
        self._blob = graph_file.load_graph(configuration.path("InceptionGraph"), card)
        self._changed = threading.Condition()
        self._idle, self._busy, self._failed, self._lost = [], set(), [], 0
        self._figures = {}
        self._error = self._keeper = self._attempt = self._pool = None
        self._closed = threading.Event()
        log.info("Movidius class initialization complete.")
        try:
            self._open_all(names)
        except BaseException:
            self.close()
            raise
        self._pool = concurrent.futures.ThreadPoolExecutor(len(names), "stick")

    def classify(self, batch):
        """Probabilities of images; an image that one stick fails on goes to another.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from network_input.InputSpec.decode_and_resize.
        Returns:
          float32 [N, classes], every row checked.
        Raises:
          EngineError: no stick works, or the engine is closed.
        """
        Interface.validate_batch(batch, self._card.size)
        if self._closed.is_set():
            raise EngineError(f"{self.name}: closed")
        if not len(batch):
            return numpy.zeros((0, len(self._card.classes)), "float32")
        try:
            jobs = [self._pool.submit(self._one, image) for image in batch]
        except RuntimeError as error:
            raise EngineError(f"{self.name}: closed") from error
        try:
            return numpy.stack([job.result() for job in jobs])
        except concurrent.futures.CancelledError as error:
            raise EngineError(f"{self.name}: closed") from error
        finally:
            # After a failure or Ctrl-C nobody waits for the rest.
            for job in jobs:
                job.cancel()

    def telemetry(self):
        """Figures for the service: a list of one dict a stick.

        Each has `stick` (its name), `connected`, `inferences`, `failures`, and, where the stick tells them,
        `milliseconds` (its own time for the last image) and `celsius`.
        """
        with self._changed:
            connected = {stick.name for stick in (*self._idle, *self._busy)}
            return [
                {"stick": name, "connected": name in connected, **figures} for name, figures in self._figures.items()
            ]

    def close(self):
        """Let the sticks go; may be called again."""
        self._closed.set()
        with self._changed:
            idle, self._idle = self._idle, []
            for stick in self._busy:
                stick.kill()
            self._changed.notify_all()
            keeper = self._keeper
            if self._attempt is not None:
                self._attempt.kill()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if keeper is not None:
            keeper.join()
        for stick in idle:
            stick.close()
        self._close_failed()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _one(self, image):
        """Probabilities of one image, from the first stick that can tell them."""
        began = time.monotonic()
        tensor = self._card.input_spec.normalize(image[None])[0].astype("float16")
        while True:
            stick = self._take()
            try:
                answer = stick.infer(tensor)
            except BaseException as error:
                self._lose(stick, error)
                if not isinstance(error, device_process.NCS1Error) or time.monotonic() - began > RETRY_BUDGET:
                    raise
            else:
                self._give_back(stick)
                return answer

    def _take(self):
        with self._changed:
            self._changed.wait_for(lambda: self._idle or not self._busy or self._closed.is_set())
            if self._closed.is_set():
                raise EngineError(f"{self.name}: closed")
            if not self._idle:
                self._look_for_lost()
                # Anew each time: one that is raised again keeps the images of all who met it before.
                raise EngineError(self._error)
            stick = self._idle.pop()
            self._busy.add(stick)
            return stick

    def _give_back(self, stick):
        log.debug("%s: %s ms on the stick, %s °C", stick.name, stick.milliseconds, stick.celsius)
        with self._changed:
            self._busy.discard(stick)
            self._count(stick, "inferences")
            # Asked once: either close finds it idle and closes it, or it is closed here.
            closed = self._closed.is_set()
            if not closed:
                self._idle.append(stick)
            self._changed.notify()
        if closed:
            stick.close()

    def _lose(self, stick, error):
        """Go on without a stick; the keeper looks for it from now on."""
        with self._changed:
            self._busy.discard(stick)
            self._count(stick, "failures")
            self._failed.append(stick)
            self._error, self._lost = str(error), self._lost + 1
            left = len(self._idle) + len(self._busy)
            self._look_for_lost()
            self._changed.notify_all()
        # The last one's error is told by whoever asked.
        if left and not self._closed.is_set():
            log.error("%s; %d other stick(s) go on", error, left)

    def _look_for_lost(self):
        if self._keeper is None and self._lost and not self._closed.is_set():
            keeper = threading.Thread(target=self._keep, name="stick keeper", daemon=True)
            # Where the system allows no further thread, the next image tries again.
            with contextlib.suppress(RuntimeError):
                keeper.start()
                self._keeper = keeper

    def _keep(self):
        """Take lost sticks back as they come: the same, or others in their place."""
        while True:
            # Here, since a last attempt to close one in order may take seconds that no image should wait for.
            self._close_failed()
            if self._closed.wait(RETRY_INTERVAL):
                return
            with contextlib.suppress(EngineError, MemoryError):
                self._take_back(device_process.list_sticks(self._trying))
            with self._changed:
                if not self._lost:
                    self._keeper = None
                    return

    def _trying(self, process):
        """Note what a thread waits for from now on, so that close need not wait for it too."""
        with self._changed:
            self._attempt = process
            if self._closed.is_set():
                process.kill()

    def _close_failed(self):
        with self._changed:
            failed, self._failed = self._failed, []
        for stick in failed:
            stick.close()

    def _take_back(self, names):
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

    def _open_all(self, names):
        errors, waiting = [], list(names)
        end = time.monotonic() + device_process.START_TIMEOUT
        while waiting and (left := end - time.monotonic()) >= START_BUDGET:
            share = max(START_BUDGET, left / len(waiting))
            try:
                self._open(waiting.pop(0), share)
            except EngineError as error:
                errors.append(error)
        if not self._idle:
            raise errors[0]
        for error in errors:
            log.warning("%s; %d other stick(s) go on", error, len(self._idle))
        with self._changed:
            self._lost = len(errors) + len(waiting)
            self._look_for_lost()
        log.info("Connected To NCS1 successfully.")
        log.info("Movidius graph allocated successfully.")
        log.info("%s loaded successfully.", self._card.display_name)

    def _open(self, name, within=device_process.START_TIMEOUT):
        stick = device_process.NCS1Stick(
            name, self._blob, self._card.size, len(self._card.classes), self._trying, within
        )
        with self._changed:
            self._attempt = None
            self._figures.setdefault(name, {"inferences": 0, "failures": 0, "milliseconds": None, "celsius": None})
            if not self._closed.is_set():
                self._idle.append(stick)
                self._changed.notify()
                return
        stick.close()

    def _count(self, stick, figure):
        figures = self._figures[stick.name]
        figures[figure] += 1
        figures.update(milliseconds=stick.milliseconds, celsius=stick.celsius)
