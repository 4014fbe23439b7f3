import concurrent.futures
import itertools
import threading
import types

import pytest

from Classes.serving.admission import AdmissionController
from Classes.serving.api_errors import ApiError
from tests.support import waiting


@pytest.fixture
def queue():
    found = AdmissionController(workers=1, queue_size=2, timeout=waiting.LIMIT)
    yield found
    found.close()


def through(queue, function, *arguments):
    with queue.admit() as ticket:
        return ticket.run(function, *arguments)


def test_capacity_is_released_after_the_work(queue):
    assert through(queue, lambda value: value + 1, 41) == 42
    assert queue.in_flight == 0


def test_an_exception_is_passed_on_and_releases_the_capacity(queue):
    with pytest.raises(TimeoutError, match="the work's own"):
        through(queue, _raise, TimeoutError("the work's own"))

    assert queue.in_flight == 0


def _raise(error):
    raise error


def test_a_full_queue_rejects_the_next_request(queue):
    free = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        entered = [pool.submit(through, queue, free.wait, waiting.LIMIT) for _ in range(3)]
        waiting.until(lambda: queue.in_flight == 3)
        with pytest.raises(ApiError) as error, queue.admit():
            pass
        free.set()

        assert (error.value.code, error.value.retry_after) == ("busy", 1)
        assert [each.result() for each in entered] == [True] * 3
    assert queue.in_flight == 0
    assert through(queue, lambda: "next") == "next"


def test_an_unused_ticket_releases_its_capacity(queue):
    with pytest.raises(ValueError, match="before the work"), queue.admit():
        raise ValueError("before the work")

    assert queue.in_flight == 0


def test_work_beyond_its_deadline_occupies_its_worker_until_it_ends(monkeypatch):
    queue, free, begun = AdmissionController(workers=1, queue_size=1, timeout=30), threading.Event(), threading.Event()
    calls, done = itertools.count(), []

    def monotonic():
        """Exceed the deadline at every call, but not before the first work has begun."""
        number = next(calls)
        assert number == 0 or begun.wait(waiting.LIMIT)
        return 31 * number

    def work():
        begun.set()
        free.wait(waiting.LIMIT)

    monkeypatch.setattr("Classes.serving.admission.time", types.SimpleNamespace(monotonic=monotonic))
    with pytest.raises(ApiError) as first:
        through(queue, work)
    with pytest.raises(ApiError) as second:
        through(queue, done.append, "too late")

    assert first.value.code == second.value.code == "deadline"
    assert queue.in_flight == 1, "what never began has left; what runs has not"
    free.set()
    waiting.until(lambda: not queue.in_flight)
    assert done == []
    queue.close()


def test_requests_run_in_the_order_of_arrival(queue, monkeypatch):
    free, order, queued = threading.Event(), [], []
    submit = concurrent.futures.ThreadPoolExecutor.submit
    # An admitted request may not be in the executor's queue yet.
    monkeypatch.setattr(
        concurrent.futures.ThreadPoolExecutor, "submit", lambda *work: (submit(*work), queued.append(work))[0]
    )
    works = ((free.wait, waiting.LIMIT), (order.append, 1), (order.append, 2))
    threads = [threading.Thread(target=through, args=(queue, *work)) for work in works]
    for number, thread in enumerate(threads, 1):
        thread.start()
        waiting.until(lambda number=number: len(queued) == number)
    free.set()
    for thread in threads:
        thread.join()

    assert order == [1, 2]


def test_long_work_stops_between_its_steps_after_the_deadline():
    queue = AdmissionController(workers=1, queue_size=0, timeout=0.01)
    with pytest.raises(ApiError), queue.admit() as ticket:
        threading.Event().wait(0.02)
        ticket.check_deadline()

    queue.close()
