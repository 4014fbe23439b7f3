import concurrent.futures
import ctypes
import signal
import sys
import threading
import weakref

import pytest

from Classes import Helpers
from Classes.common import interrupts, parallel


@pytest.fixture
def stopped():
    """SIGTERM is an exception, as in the entry scripts."""

    def stop(number, frame):
        raise KeyboardInterrupt(number)

    former = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_the_end(stopped, number):
    done = []

    with pytest.raises(KeyboardInterrupt), interrupts.defer_signals():
        signal.raise_signal(number)
        done.append("all of it")

    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_what_goes_wrong_comes_out():
    with pytest.raises(ValueError, match="wrong"), interrupts.defer_signals():
        raise ValueError("wrong")


def test_another_thread_is_never_interrupted():
    errors = []

    def work():
        try:
            with interrupts.defer_signals():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors


@pytest.fixture
def guard():
    """The guard of a run in progress."""
    guard = interrupts.SignalGuard()
    yield guard
    guard.finish()


class Watched:
    """Something with a weak reference."""


def in_a_callback(raising):
    watched = Watched()
    watch = weakref.ref(watched, lambda _: raising())
    del watched
    return watch


def in_a_destructor(raising):
    class Stopping:
        def __del__(self):
            raising()

    Stopping()


def in_compiled_code(raising):
    """Call it from C code that prints what is raised and returns normally, as some of TensorFlow's does."""
    ctypes.CFUNCTYPE(None)(raising)()


@pytest.mark.parametrize("place", [in_a_callback, in_a_destructor, in_compiled_code])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_something_dropped_is_raised_at_the_next_check(guard, capfd, number, place):
    place(lambda: signal.raise_signal(number))

    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    assert guard.received == number
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("iterate", [lambda: list(Helpers.progress(range(3))), lambda: list(map_one_item())])
def test_work_on_many_images_stops_after_a_dropped_interrupt(guard, iterate):
    in_a_destructor(lambda: signal.raise_signal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        iterate()


def map_one_item():
    return parallel.map_threads(str, [(1,)], 1)


def test_check_does_nothing_without_a_signal_or_after_the_run(guard):
    interrupts.check()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    guard.finish()

    interrupts.check()


def test_another_thread_is_not_interrupted_by_a_check(guard):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(interrupts.check).result() is None


def test_other_errors_in_destructors_are_printed_as_before(monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: printed.append(lost.exc_value))
    guard, error = interrupts.SignalGuard(), ValueError("wrong")

    def fail():
        raise error

    in_compiled_code(fail)
    guard.finish()

    assert printed == [error]


def test_a_run_leaves_no_hook_behind():
    before = sys.excepthook, sys.unraisablehook
    interrupts.SignalGuard().finish()
    assert (sys.excepthook, sys.unraisablehook) == before


def test_a_run_in_the_background_ignores_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    interrupts.SignalGuard().finish()

    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
