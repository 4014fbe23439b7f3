"""The request queue: limits how many requests run and wait at the same time, and how long each may take."""

import concurrent.futures
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from Classes.serving.api_errors import ApiError

# Seconds after which a rejected client may try again.
RETRY_AFTER = 1

# Of threads that give way to others: about a ninth of their processor time.
BACKGROUND_NICENESS = 10

Result = TypeVar("Result")


class AdmissionController:
    """Runs requests in worker threads in the order of arrival, and rejects those that exceed its capacity.

    Args:
      workers: number of requests that run at the same time.
      queue_size: number of requests that may wait.
      timeout: seconds from the arrival of a request to its response.
      background: whether the work gives way to that of other controllers, as far as the system can do that.
    """

    def __init__(self, workers: int, queue_size: int, timeout: float, background: bool = False):
        self.workers = workers
        self.capacity = workers + queue_size
        self.timeout = timeout
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, "worker", _lower_priority if background else None)
        self._lock = threading.Lock()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Number of requests that run or wait, including those that timed out and still occupy a worker."""
        return self._in_flight

    @contextlib.contextmanager
    def admit(self, arrived: float | None = None) -> Iterator["Ticket"]:
        """Reserve capacity until both the block and the work started in it have ended.

        Args:
          arrived: time.monotonic() when the first byte of the request arrived; None: now.
        Raises:
          ApiError: `busy` if the capacity is used up.
        """
        with self._lock:
            if self._in_flight >= self.capacity:
                raise ApiError("busy", f"All {self.capacity} places in the queue are taken. Try again.", RETRY_AFTER)
            self._in_flight += 1
        ticket = Ticket(self._pool, self.timeout, time.monotonic() if arrived is None else arrived)
        try:
            yield ticket
        finally:
            # Work that exceeds its timeout cannot be stopped, so its capacity is released when it ends.
            if ticket.job is None:
                self._release()
            else:
                ticket.job.add_done_callback(self._release)

    def close(self) -> None:
        """Accept no more work; do not wait for running work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, *_: object) -> None:
        with self._lock:
            self._in_flight -= 1


def _lower_priority() -> None:
    """Let other threads of this process go first; only Linux has a priority per thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)


class Ticket:
    """The reserved capacity of one request; see AdmissionController.admit."""

    def __init__(self, pool: concurrent.futures.Executor, timeout: float, arrived: float):
        self.job: concurrent.futures.Future[Any] | None = None
        self._deadline = arrived + timeout
        self._timeout = timeout
        self._pool = pool

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of `function`, called once in a worker thread.

        Raises:
          ApiError: `deadline` if the time is over; work that has not begun by then is cancelled.
        """
        self.job = job = self._pool.submit(function, *arguments)
        try:
            return job.result(max(0, self._deadline - time.monotonic()))
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            # The work itself may raise such an error, too.
            if job.done() and not job.cancelled():
                raise
            job.cancel()
            raise self._timeout_error() from None

    def check_deadline(self) -> None:
        """Raise the ApiError `deadline` if the time is over; for use between the steps of long work."""
        if time.monotonic() > self._deadline:
            raise self._timeout_error()

    def _timeout_error(self) -> ApiError:
        return ApiError("deadline", f"The result was not ready within {self._timeout:g} s. Try again.", RETRY_AFTER)
