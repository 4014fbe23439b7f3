"""The threads that answer requests, in place of those of waitress.

Waitress starts all of its threads at once and gives a request to the one that has waited longest, so a hundred threads
take turns and each finds nothing of its own in the processor's caches. Here another thread is started only if none is
idle, and the one that has ended its work last gets the next request.
"""

import collections
import logging
import queue
import threading
import time
from typing import Protocol

log = logging.getLogger("ClassifierServer")


class Task(Protocol):
    """What waitress gives to its threads: a connection with a complete request."""

    def service(self) -> None:
        """Answer the request."""

    def cancel(self) -> None:
        """Do nothing more for the connection."""


class TaskThreads:
    """Threads for the tasks of a waitress server, which calls `add_task` and `shutdown`.

    Args:
      most: largest number of threads.
    """

    def __init__(self, most: int):
        self._most = most
        self._lock = threading.Lock()
        self._waiting: collections.deque[Task] = collections.deque()
        # The places where idle threads wait for a task, or for None to end; the newest last.
        self._idle: list[queue.SimpleQueue[Task | None]] = [queue.SimpleQueue()]
        self._stopping = False
        # One thread from the beginning: if the system allows none, no server starts that would answer nobody.
        first = threading.Thread(target=self._work, args=(*self._idle,), name="request-0", daemon=True)
        self._threads = [first]
        first.start()

    @property
    def running(self) -> int:
        """Number of threads that were started."""
        return len(self._threads)

    @property
    def idle(self) -> int:
        """Number of threads that wait for a task."""
        return len(self._idle)

    def add_task(self, task: Task) -> None:
        """Give a task to a thread, or keep it until one is idle."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(task)
                return
            self._waiting.append(task)
            if len(self._threads) == self._most or self._stopping:
                return
            thread = threading.Thread(target=self._work, name=f"request-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            # The system allows no more threads; those that are running take the task.
            with self._lock:
                self._threads.remove(thread)
            log.warning("cannot start a thread for a request; %d are running", len(self._threads))

    def shutdown(self, timeout: float = 5) -> None:
        """Cancel the tasks that no thread has begun, and end the threads.

        Args:
          timeout: seconds to wait for those that are at work.
        """
        with self._lock:
            self._stopping = True
            idle, self._idle = self._idle, []
            cancelled = list(self._waiting)
            self._waiting.clear()
            # A thread that is about to start finds that this is the end.
            threads = [thread for thread in self._threads if thread.ident is not None]
        for place in idle:
            place.put(None)
        for task in cancelled:
            task.cancel()
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0, end - time.monotonic()))

    def _work(self, idle_at: "queue.SimpleQueue[Task | None] | None" = None) -> None:
        place: queue.SimpleQueue[Task | None] = idle_at or queue.SimpleQueue()
        task = place.get() if idle_at else self._next(place)
        while task is not None:
            try:
                task.service()
            except BaseException:
                # The thread must go on whatever a request does.
                log.exception("%r", task)
            task = self._next(place)

    def _next(self, place: "queue.SimpleQueue[Task | None]") -> Task | None:
        """Return the next task, or None to end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._stopping:
                return None
            self._idle.append(place)
        return place.get()
