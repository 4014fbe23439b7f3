import signal
import threading

import pytest

from Classes import Interruptions


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

    with pytest.raises(KeyboardInterrupt), Interruptions.deferred():
        signal.raise_signal(number)
        done.append("all of it")

    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_what_goes_wrong_comes_out():
    with pytest.raises(ValueError, match="wrong"), Interruptions.deferred():
        raise ValueError("wrong")


def test_another_thread_is_never_interrupted():
    errors = []

    def work():
        try:
            with Interruptions.deferred():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
