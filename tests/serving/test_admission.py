import concurrent.futures
import itertools
import threading
import types

import pytest

from Classes.serving.admission import AdmissionController
from Classes.serving.api_errors import ApiError
from tests.support import waiting


@pytest.fixture
def room():
    found = AdmissionController(workers=1, queue_size=2, timeout=waiting.LIMIT)
    yield found
    found.close()


def through(room, function, *arguments):
    with room.admit() as ticket:
        return ticket.run(function, *arguments)


def test_capacity_is_released_after_the_work(room):
    assert through(room, lambda value: value + 1, 41) == 42
    assert room.in_flight == 0


def test_an_exception_is_passed_on_and_releases_the_capacity(room):
    with pytest.raises(TimeoutError, match="the work's own"):
        through(room, _raise, TimeoutError("the work's own"))

    assert room.in_flight == 0


def _raise(error):
    raise error


def test_a_full_queue_rejects_the_next_request(room):
    free = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        entered = [pool.submit(through, room, free.wait, waiting.LIMIT) for _ in range(3)]
        while room.in_flight < 3:
            threading.Event().wait(0.001)
        with pytest.raises(ApiError) as refusal, room.admit():
            pass
        free.set()

        assert (refusal.value.code, refusal.value.retry_after) == ("busy", 1)
        assert [each.result() for each in entered] == [True] * 3
    assert room.in_flight == 0
    assert through(room, lambda: "next") == "next"


def test_an_unused_ticket_releases_its_capacity(room):
    with pytest.raises(ValueError, match="before the work"), room.admit():
        raise ValueError("before the work")

    assert room.in_flight == 0


def test_work_beyond_its_deadline_occupies_its_worker_until_it_ends(monkeypatch):
    room, free, begun = AdmissionController(workers=1, queue_size=1, timeout=30), threading.Event(), threading.Event()
    calls, done = itertools.count(), []

    def monotonic():
        """A deadline passes between any two looks at the clock, but not before the first work has begun."""
        number = next(calls)
        assert number == 0 or begun.wait(waiting.LIMIT)
        return 31 * number

    def work():
        begun.set()
        free.wait(waiting.LIMIT)

    monkeypatch.setattr("Classes.serving.admission.time", types.SimpleNamespace(monotonic=monotonic))
    with pytest.raises(ApiError) as first:
        through(room, work)
    with pytest.raises(ApiError) as second:
        through(room, done.append, "too late")

    assert first.value.code == second.value.code == "deadline"
    assert room.in_flight == 1, "what never began has left; what runs has not"
    free.set()
    while room.in_flight:
        threading.Event().wait(0.001)
    assert done == []
    room.close()


def test_requests_run_in_the_order_of_arrival(room, monkeypatch):
    free, order, queued = threading.Event(), [], []
    submit = concurrent.futures.ThreadPoolExecutor.submit
    # Who is inside may not have come to the queue yet.
    monkeypatch.setattr(
        concurrent.futures.ThreadPoolExecutor, "submit", lambda *work: (submit(*work), queued.append(work))[0]
    )
    works = ((free.wait, waiting.LIMIT), (order.append, 1), (order.append, 2))
    callers = [threading.Thread(target=through, args=(room, *work)) for work in works]
    for number, caller in enumerate(callers, 1):
        caller.start()
        waiting.until(lambda number=number: len(queued) == number)
    free.set()
    for caller in callers:
        caller.join()

    assert order == [1, 2]


def test_long_work_stops_between_its_steps_after_the_deadline():
    room = AdmissionController(workers=1, queue_size=0, timeout=0.01)
    with pytest.raises(ApiError), room.admit() as ticket:
        threading.Event().wait(0.02)
        ticket.check_deadline()

    room.close()
