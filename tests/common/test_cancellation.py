import threading

import pytest

from Classes.common import cancellation


class StopError(Exception):
    pass


def stop():
    raise StopError


def test_work_stops_only_inside_the_block():
    cancellation.check()
    with cancellation.checked_by(stop), pytest.raises(StopError):
        cancellation.check()
    cancellation.check()


def test_the_inner_check_is_used_and_the_outer_one_comes_back():
    calls = []
    with cancellation.checked_by(lambda: calls.append("outer")):
        with cancellation.checked_by(lambda: calls.append("inner")):
            cancellation.check()
        cancellation.check()
    assert calls == ["inner", "outer"]


def test_other_threads_go_on():
    reached = []

    def work():
        cancellation.check()
        reached.append(True)

    with cancellation.checked_by(stop):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert reached == [True]
