import pytest

from Classes.common import parallel


def test_few_calls_are_under_way_at_a_time():
    started, most = [], []

    def work():
        for number in range(200):
            started.append(number)
            yield (number,)

    for done, answer in enumerate(parallel.map_threads(lambda number: number * 2, work(), 2)):
        assert answer == 2 * done
        most.append(len(started) - done)

    assert done == 199
    assert max(most) <= 17


def test_what_a_call_raises_ends_the_rest():
    called = []

    def one(number):
        called.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    answers = parallel.map_threads(one, ((number,) for number in range(1000)), 2)

    with pytest.raises(ValueError, match="three"):
        list(answers)
    assert len(called) <= 3 + 17
