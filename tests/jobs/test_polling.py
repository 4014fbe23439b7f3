"""Waiting for another machine: it ends with the first result, with an error, or without either."""

import pytest

from Classes.jobs import polling


def test_the_first_result_counts():
    answers = iter([None, None, "there", "later"])
    assert polling.poll(lambda: next(answers), 60) == "there"


def test_without_time_there_is_one_look():
    looks = []
    assert polling.poll(lambda: looks.append(1), 0) is None
    assert looks == [1]


def test_an_error_ends_the_waiting():
    with pytest.raises(ZeroDivisionError):
        polling.poll(lambda: 1 / 0, 60)
