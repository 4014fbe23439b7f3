"""The child processes of a Dask worker: they stay for the next unit, and end when there is none."""

import threading

import pytest

from Classes.jobs import dask_worker
from Classes.jobs.executor import Outcome, Work
from Classes.jobs.items import Item, Unit
from tests.support import waiting

UNIT, SECOND = (Unit((Item(name, {}),)) for name in "ab")
WORK, OTHER = (Work("a:B", {"model": name}, f"/{name}") for name in ("one", "two"))


class Pool:
    """Stands for the child process of a WorkerPool; `made` lists all."""

    made: list["Pool"]

    def __init__(self, work, processes, cores):
        self.work, self.is_closed, self.is_killed = work, False, False
        # Set: the unit is finished.
        self.submitted = []
        self.finish = threading.Event()
        self.finish.set()
        self.made.append(self)

    def submit(self, unit):
        self.submitted.append(unit)

    def next_outcome(self):
        self.finish.wait(waiting.LIMIT)
        return Outcome(self.submitted[-1], died=self.is_killed)

    def kill(self):
        self.is_killed = True
        self.finish.set()

    def close(self):
        self.is_closed = True


@pytest.fixture
def pools(monkeypatch):
    monkeypatch.setattr(Pool, "made", [], raising=False)
    monkeypatch.setattr(dask_worker, "WorkerPool", Pool)
    return Pool.made


def test_a_child_stays_for_the_next_unit_and_makes_room_for_another_job(pools):
    children = dask_worker.Children(1)
    for _ in range(2):
        assert not children.compute(WORK, [UNIT])[0].died
    assert [pool.work for pool in pools] == [WORK]
    children.compute(OTHER, [UNIT])
    assert [(pool.work, pool.is_closed) for pool in pools] == [(WORK, True), (OTHER, False)]


def test_a_child_without_work_ends(pools, monkeypatch):
    monkeypatch.setattr(dask_worker, "IDLE_TIMEOUT", 0)
    children = dask_worker.Children(1)
    for number in (1, 2):
        children.compute(WORK, [UNIT])
        waiting.until(lambda number=number: [pool.is_closed for pool in pools] == number * [True])


def test_the_end_of_a_run_ends_what_computes_for_it(pools):
    children = dask_worker.Children(2)
    children.compute(OTHER, [UNIT])
    pools[0].finish.clear()
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(children.compute(OTHER, [UNIT, SECOND])))
    thread.start()
    waiting.until(lambda: len(pools[0].submitted) == 2)
    children.stop(WORK.folder)
    assert not pools[0].is_killed
    children.stop(OTHER.folder)
    thread.join(waiting.LIMIT)
    # Nor does the other unit of the call start.
    assert [answer.died for answer in answers] == [True, True]
    assert pools[0].submitted == [UNIT, UNIT]
