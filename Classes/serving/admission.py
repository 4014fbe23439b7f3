"""Who may come in: so many at work, so many waiting, each with a deadline; the rest is turned away at once."""

import concurrent.futures
import contextlib
import threading
import time

from Classes.serving.api_errors import ApiError

# Seconds after which a turned-away client is told to come back.
RETRY_AFTER = 1


class AdmissionController:
    """Workers in the order of arrival, and a bounded number of requests before them.

    Args:
      workers: requests worked on at once.
      places: requests that may wait.
      deadline: seconds from coming in to the answer.
    """

    def __init__(self, workers, places, deadline):
        self.workers = workers
        self.capacity = workers + places
        self.deadline = deadline
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, "worker")
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def inside(self):
        """Requests at work and waiting now, given-up ones that still hold a worker included."""
        return self._inside

    @contextlib.contextmanager
    def place(self, since=None):
        """Hold a place as long as the block, and as long as the work begun in it, lasts; yields Place.

        Args:
          since: when the request's first byte arrived, by time.monotonic, which the deadline counts from; None: now.
        Raises:
          Refusal: every place is taken.
        """
        with self._lock:
            if self._inside >= self.capacity:
                raise ApiError("busy", f"all {self.capacity} places are taken; try again in a moment", RETRY_AFTER)
            self._inside += 1
        place = Ticket(self._pool, self.deadline, time.monotonic() if since is None else since)
        try:
            yield place
        finally:
            # Work that outlives its deadline cannot be stopped; its place is free when it ends, not before.
            if place.job is None:
                self._leave()
            else:
                place.job.add_done_callback(self._leave)

    def close(self):
        """Take no more work; what runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, *_):
        with self._lock:
            self._inside -= 1


class Ticket:
    """One request's place; see admission.place.

    Attributes:
      until: when its time is over, by time.monotonic.
    """

    def __init__(self, pool, deadline, since):
        self.until = since + deadline
        self.job = None
        self._pool = pool
        self._deadline = deadline

    def run(self, function, *arguments):
        """The result of work that is done in a worker, when it is this request's turn; called once.

        Raises:
          Refusal: the deadline has passed; what has not begun then never does.
        """
        self.job = self._pool.submit(function, *arguments)
        concurrent.futures.wait([self.job], max(0, self.until - time.monotonic()))
        if not self.job.done() or self.job.cancelled():
            self.job.cancel()
            raise self.late()
        return self.job.result()

    def check(self):
        """Give up between two steps of long work once the deadline has passed."""
        if time.monotonic() > self.until:
            raise self.late()

    def late(self):
        return ApiError("deadline", f"no answer within {self._deadline:g} s; try again later", RETRY_AFTER)
