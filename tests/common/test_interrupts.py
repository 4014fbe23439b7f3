import ctypes
import gc
import signal
import sys
import threading
import time
import weakref

import pytest

from Classes.common import interrupts


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
def stop():
    """The stop of a run that is under way."""
    stop = interrupts.SignalGuard()
    yield stop
    stop.over()


class Looked:
    """Something whose end is watched."""


def in_a_callback(raising):
    looked = Looked()
    watch = weakref.ref(looked, lambda _: raising())
    del looked
    return watch


def in_a_destructor(raising):
    class Stopping:
        def __del__(self):
            raising()

    Stopping()


def in_compiled_code(raising):
    """A call that prints what is raised and answers without it, as some of TensorFlow's do."""
    ctypes.CFUNCTYPE(None)(raising)()


def printed_and_kept(raising):
    """The same by the interpreter's other way, which leaves the exception in sys.last_value."""
    try:
        raising()
    except KeyboardInterrupt as error:
        sys.last_value = error
        sys.excepthook(type(error), error, error.__traceback__)


@pytest.mark.parametrize("place", [in_a_callback, in_a_destructor, in_compiled_code, printed_and_kept])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_raised_again_where_something_dropped_it(stop, capfd, number, place):
    with pytest.raises(KeyboardInterrupt):
        place(lambda: signal.raise_signal(number))
        time.sleep(10)

    assert stop.arrived == number
    assert capfd.readouterr() == ("", "")


def test_a_stop_that_is_caught_comes_once(stop):
    with pytest.raises(KeyboardInterrupt) as caught:
        signal.raise_signal(signal.SIGINT)
    gc.collect()
    time.sleep(3 * interrupts.RERAISE_INTERVAL)

    assert caught.type is interrupts.Interrupted


def test_a_stop_that_was_dropped_waits_for_the_end_too(stop):
    done = []

    with pytest.raises(KeyboardInterrupt), interrupts.defer_signals():
        stop.dropped()
        time.sleep(3 * interrupts.RERAISE_INTERVAL)
        done.append("all of it")

    assert done == ["all of it"]


def test_other_errors_without_a_caller_are_printed_as_ever(monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: printed.append(error))
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: printed.append(lost.exc_value))
    stop, error = interrupts.SignalGuard(), ValueError("wrong")

    def fail():
        raise error

    in_compiled_code(fail)
    sys.excepthook(ValueError, error, None)
    stop.over()

    assert printed == [error, (ValueError, error, None)]


def test_a_run_in_the_background_stays_deaf_to_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    interrupts.SignalGuard().over()

    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
