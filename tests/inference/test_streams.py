"""Test how many images run at the same time, and that this changes no bit of the probabilities."""

import json
import threading

import numpy
import pytest

from Classes.inference import model_card, network, openvino_backend, streams
from Classes.inference.backend import Background
from tests.support import fields, graphs, waiting

IMAGES = numpy.random.default_rng(7).integers(0, 256, (5, graphs.SIZE, graphs.SIZE, 3), dtype="uint8")


@pytest.fixture
def card(tmp_path):
    return model_card.load_model_card(graphs.write(tmp_path, content=graphs.pooled(), size=graphs.SIZE))


@pytest.mark.parametrize("chosen", [(1, 2), (2, 2), (2, 4)])
def test_streams_change_no_bit(card, monkeypatch, chosen):
    monkeypatch.setattr(streams, "choose_streams", lambda *_: streams.Streams(*chosen))
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as engine:
        alone = numpy.concatenate([engine.classify(image[None]) for image in IMAGES])

        assert numpy.array_equal(engine.classify(IMAGES), alone)
        assert numpy.array_equal(Background(engine).classify(IMAGES), alone)
        assert numpy.array_equal(engine.classify_with_places(IMAGES)[0], alone)
    assert len(set(alone[:, 1].tolist())) == len(IMAGES)


def test_another_device_gets_one_image_at_a_time_in_the_background_and_stays_open():
    backend = fields.HandBackend((0.9, 0.1), (0.2, 0.8))
    with Background(backend) as found:
        answers = found.classify(numpy.zeros((2, 64, 64, 3), "uint8"))

    assert answers.tolist() == numpy.array([(0.9, 0.1), (0.2, 0.8)], "float32").tolist()
    assert [len(batch) for batch in backend.batches] == [1, 1]


def choose(folder, monkeypatch, found, identity="a", cores=8):
    measured = []

    def measure(count):
        measured.append(count)
        return streams.Streams(*found)

    monkeypatch.setattr(streams, "available_cores", lambda: list(range(cores)))
    return streams.choose_streams(folder, identity, measure), measured


def test_two_cores_are_not_measured(tmp_path, monkeypatch):
    assert choose(tmp_path, monkeypatch, (4, 3), cores=2) == (streams.Streams(2, 2), [])
    assert choose(tmp_path, monkeypatch, (4, 3), cores=1)[0].streams == 1
    assert not list(tmp_path.iterdir())


def test_a_measurement_is_kept_for_what_it_was_made_for(tmp_path, monkeypatch):
    folder = tmp_path / "Cache"
    assert choose(folder, monkeypatch, (4, 3)) == (streams.Streams(4, 3), [8])
    assert choose(folder, monkeypatch, (8, 5)) == (streams.Streams(4, 3), [])
    assert choose(folder, monkeypatch, (8, 5), "b") == (streams.Streams(8, 5), [8])
    assert choose(folder, monkeypatch, (2, 2)) == (streams.Streams(4, 3), [])


@pytest.mark.parametrize("content", ["", "[1]", '{"a": [4]}', '{"a": [0, 3]}', '{"a": ["4", 3]}', '{"a": [4, 3'])
def test_a_damaged_file_is_measured_again(tmp_path, monkeypatch, content):
    (tmp_path / streams.FILE_NAME).write_text(content)

    assert choose(tmp_path, monkeypatch, (4, 3)) == (streams.Streams(4, 3), [8])
    assert json.loads((tmp_path / streams.FILE_NAME).read_text())["a"] == [4, 3]


def test_a_measurement_ends_with_a_number_of_streams_up_to_the_cores(card):
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as engine:
        core, model, precision = engine.source
        alone = network.Network(core, model, precision)
        found = streams.measure_streams(core, model, precision, alone, 3)

    assert found.streams in (1, 2, 3)
    assert found.start >= 2


class Requests:
    """A stand-in for a compiled model: each request ends when as many as `together` have been started."""

    def __init__(self, together):
        self._barrier = threading.Barrier(together)

    def compile_model(self, *_):
        return self

    def get_property(self, *_):
        return 2 if len(_) == 1 else ["PERFORMANCE_HINT"]

    def create_infer_request(self):
        return Request(self._barrier)


class Request:
    def __init__(self, barrier):
        self._barrier = barrier

    def set_input_tensor(self, tensor):
        self._value = tensor.data.copy()

    def start_async(self):
        self._thread = threading.Thread(target=self._barrier.wait, args=[waiting.LIMIT])
        self._thread.start()

    def wait(self):
        self._thread.join()
        assert not self._barrier.broken

    def get_output_tensor(self, index):
        return Result(self._value + index)


class Result:
    def __init__(self, data):
        self.data = data


def test_the_images_of_a_batch_overlap_and_stay_in_order():
    # Two streams and one image that waits: none of the three ends before all are started.
    compiled = network.Network(Requests(3), None, "f32")
    images = [numpy.full((1, 2), value, "float32") for value in range(6)]

    found = compiled.infer_all(images, outputs=2)

    assert [(first.tolist(), second.tolist()) for first, second in found] == [
        ([value] * 2, [value + 1] * 2) for value in range(6)
    ]
