"""Tests of the threads that answer requests."""

import threading

import pytest

from Classes.serving import task_threads
from tests.support import waiting

SECONDS = waiting.LIMIT


class Recorded:
    """A task that notes its thread, and goes on when `gate` is set."""

    def __init__(self, gate=None, error=None):
        self.thread, self.cancelled = None, False
        self.begun, self.done = threading.Event(), threading.Event()
        self._gate, self._error = gate, error

    def service(self):
        self.thread = threading.current_thread()
        self.begun.set()
        if self._gate is not None:
            assert self._gate.wait(SECONDS)
        self.done.set()
        if self._error is not None:
            raise self._error

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def threads():
    started = task_threads.TaskThreads(2)
    yield started
    started.shutdown()


def until_idle(threads):
    """Wait until no thread is at work."""
    waiting.until(lambda: threads.idle == threads.running)


def add_one_too_many(threads):
    """Return (event until which tasks last, three tasks, of which two threads have begun the first two)."""
    gate = threading.Event()
    tasks = [Recorded(gate) for _ in range(3)]
    for task in tasks:
        threads.add_task(task)
    assert tasks[0].begun.wait(SECONDS) and tasks[1].begun.wait(SECONDS)
    return gate, tasks


def test_tasks_one_after_the_other_need_one_thread(threads):
    tasks = [Recorded() for _ in range(5)]

    for task in tasks:
        threads.add_task(task)
        assert task.done.wait(SECONDS)
        until_idle(threads)

    assert len({task.thread for task in tasks}) == 1 == threads.running


def test_the_thread_that_ended_its_work_last_gets_the_next_task(threads):
    gates = [threading.Event(), threading.Event()]
    first, second = (Recorded(gate) for gate in gates)
    for task in (first, second):
        threads.add_task(task)
        assert task.begun.wait(SECONDS)
    gates[1].set()
    waiting.until(lambda: threads.idle == 1)
    gates[0].set()
    until_idle(threads)

    third = Recorded()
    threads.add_task(third)

    assert third.done.wait(SECONDS)
    assert third.thread is first.thread is not second.thread


def test_tasks_beyond_the_threads_wait_for_their_turn(threads):
    gate, tasks = add_one_too_many(threads)

    assert not tasks[2].begun.is_set()
    gate.set()

    assert tasks[2].done.wait(SECONDS)
    assert threads.running == 2


@pytest.mark.parametrize("error", [ValueError("one"), SystemExit(3)])
def test_a_thread_goes_on_after_an_error(threads, caplog, error):
    failing, next_one = Recorded(error=error), Recorded()
    threads.add_task(failing)
    assert failing.done.wait(SECONDS)
    until_idle(threads)

    threads.add_task(next_one)

    assert next_one.done.wait(SECONDS)
    assert next_one.thread is failing.thread
    assert [record.exc_info[1] for record in caplog.records] == [error]


def test_without_room_for_another_thread_the_others_take_the_task(threads, monkeypatch):
    gate = threading.Event()
    first, second = Recorded(gate), Recorded()
    threads.add_task(first)
    assert first.begun.wait(SECONDS)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        threads.add_task(second)
    gate.set()

    assert second.done.wait(SECONDS)
    assert second.thread is first.thread


def test_a_shutdown_cancels_what_waits_and_ends_the_threads(threads):
    gate, tasks = add_one_too_many(threads)

    threads.shutdown(timeout=0)
    gate.set()
    threads.shutdown(timeout=SECONDS)

    assert [task.cancelled for task in tasks] == [False, False, True]
    assert not any(task.thread.is_alive() for task in tasks[:2])
    assert not tasks[2].begun.is_set()
