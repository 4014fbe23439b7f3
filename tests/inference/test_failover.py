import threading

import numpy
import pytest

from Classes.common.errors import EngineError
from Classes.inference import failover
from Classes.inference.backend import InferenceBackend
from tests.support import waiting

IMAGE = numpy.zeros((1, 8, 8, 3), "uint8")


class Fake(InferenceBackend):
    """An engine that does what `answers` says, call by call."""

    name, precision = "", "f32"

    def __init__(self, name, *answers):
        self.name, self._answers = name, iter(answers)

    def classify(self, batch):
        answer = next(self._answers)
        return answer() if callable(answer) else answer

    def close(self):
        pass


def fails():
    raise EngineError("stick: gone")


RIGHT, OTHER = numpy.array([[0.25, 0.75]], "float32"), numpy.array([[0.5, 0.5]], "float32")


@pytest.fixture
def no_rest(monkeypatch):
    monkeypatch.setattr(failover, "RETRY_INTERVAL", 0)


def test_the_source_is_returned_with_the_result(no_rest):
    stick, processor = Fake("stick", RIGHT, fails, RIGHT), Fake("processor", OTHER)
    engine = failover.FailoverBackend(stick, processor)

    found = [engine.classify_with_source(IMAGE) for _ in range(3)]

    assert [spoke.name for _, spoke in found] == ["stick", "processor", "stick"]
    assert [float(answers[0, 0]) for answers, _ in found] == [0.25, 0.5, 0.25]


def test_a_single_backend_is_its_own_source():
    stick = Fake("stick", RIGHT)

    assert stick.classify_with_source(IMAGE) == (RIGHT, stick)


def test_other_work_runs_once_though_two_devices_are_tried(no_rest):
    done = []
    engine = failover.FailoverBackend(Fake("stick", fails), Fake("processor", OTHER))

    found, source = engine.classify_with_source(IMAGE, lambda: done.append("checked"))

    assert done == ["checked"] and source.name == "processor" and found is OTHER


def test_an_answer_from_before_a_failure_does_not_bring_the_device_back(caplog):
    caplog.set_level("INFO")
    began, go = threading.Event(), threading.Event()

    def slow():
        began.set()
        go.wait(waiting.LIMIT)
        return RIGHT

    engine = failover.FailoverBackend(Fake("stick", slow, fails), Fake("processor", OTHER, OTHER))
    first = threading.Thread(target=engine.classify, args=(IMAGE,))
    first.start()
    began.wait(waiting.LIMIT)
    engine.classify(IMAGE)
    go.set()
    first.join()

    assert engine.name == "processor"
    assert "works again" not in caplog.text
