"""Test that a model answers the same on one core."""

import numpy
import pytest

from Classes.common.errors import EngineError
from Classes.inference import model_card, one_core, openvino_backend
from tests.support import fields, graphs

IMAGES = numpy.concatenate([graphs.red(value, size=graphs.SIZE)[None] for value in (0, 64, 192)])


@pytest.fixture
def opened(tmp_path):
    card = model_card.load_model_card(graphs.write(tmp_path, content=graphs.pooled(), size=graphs.SIZE))
    with openvino_backend.OpenVINOBackend(card) as found:
        yield found, card


def test_the_probabilities_are_those_of_the_open_model(opened):
    backend, card = opened
    with one_core.on_one_core(backend, card) as found:
        assert found is not backend
        assert (found.name, found.precision) == (backend.name, backend.precision)
        assert numpy.allclose(found.classify(IMAGES), backend.classify(IMAGES), atol=1e-6)


def test_it_works_after_the_files_and_the_other_backend_are_gone(opened):
    backend, card = opened
    expected = backend.classify(IMAGES)
    card.graph_path.unlink()
    found = one_core.on_one_core(backend, card)
    backend.close()
    assert numpy.allclose(found.classify(IMAGES), expected, atol=1e-6)
    found.close()
    with pytest.raises(EngineError):
        found.classify(IMAGES)


def test_another_device_gets_one_image_at_a_time_and_stays_open():
    backend = fields.HandBackend((0.9, 0.1), (0.2, 0.8))
    with one_core.on_one_core(backend, fields.card()) as found:
        answers = found.classify(numpy.zeros((2, 64, 64, 3), "uint8"))
    assert answers.tolist() == numpy.array([(0.9, 0.1), (0.2, 0.8)], "float32").tolist()
    assert [len(batch) for batch in backend.batches] == [1, 1]
