"""Tests of a prediction from the bytes of an image, without HTTP."""

import concurrent.futures
import contextlib
import dataclasses
import gc
import hashlib
import sys
import threading

import pytest

from Classes.common.errors import ImageError
from Classes.imaging import decode, image_check, network_input
from Classes.inference import class_activation, image_review, model_card, streams
from Classes.serving import predictor
from tests.support import graphs, services, smears, waiting
from tests.support.encoded_images import encoded, noise

CELL = encoded(smears.cell(1, 3, size=360), "PNG")


class FirstWaits(services.FakeBackend):
    """A backend whose first image is not done before `go_on` is set, if there is such an event."""

    def __init__(self, go_on=None):
        super().__init__()
        self.go_on, self.begun = go_on, threading.Event()

    def classify(self, batch):
        waits, self.go_on = self.go_on, None
        if waits is not None:
            self.begun.set()
            assert waits.wait(waiting.LIMIT)
        return super().classify(batch)


@pytest.fixture
def card(tmp_path):
    found = model_card.load_model_card(graphs.write(tmp_path / "Model", content=b""))
    return dataclasses.replace(found, image_check={"images": 1, "limit": image_check.DEFAULT_LIMIT})


@pytest.fixture(params=["a core is idle", "all cores are busy"])
def predict(request, tmp_path, card, monkeypatch):
    """The method of a predictor on two cores that makes no other prediction, or another one all the time."""
    monkeypatch.setattr(streams, "available_cores", lambda: [0, 1])
    go_on = threading.Event() if request.param == "all cores are busy" else None
    backend = FirstWaits(go_on)
    made = predictor.Predictor(graphs.configuration(tmp_path), card, backend, class_activation.Explainer(card))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        if go_on is not None:
            other = pool.submit(made.predict, CELL)
            assert backend.begun.wait(waiting.LIMIT)
        yield made.predict
        if go_on is not None:
            go_on.set()
            assert other.result().sha256 == hashlib.sha256(CELL).hexdigest()


@pytest.mark.parametrize("content", [CELL, encoded(smears.cell(0, 4, size=90), "JPEG")])
def test_an_image_is_examined_whether_or_not_a_core_is_idle(predict, card, content):
    image, small = card.input_spec.decode_views(content)
    expected = image_review.review_image(image, card, image_review.review_features(small, card))

    found = predict(content)

    assert found.prediction.image_reasons == expected.reasons != ()
    assert found.remark == expected.remark
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.image_info == decode.read_header(content)
    assert found.brightness == pytest.approx(image[::4, ::4].mean())


def test_an_image_is_examined_if_the_system_allows_no_more_threads(predict, monkeypatch):
    def refuse(self, *arguments):
        raise RuntimeError("can't start new thread")

    expected = predict(CELL)
    monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", refuse)

    assert predict(CELL).prediction == expected.prediction


@pytest.mark.parametrize("name", ["cell", "blank"])
def test_nothing_holds_an_upload_after_its_prediction(predict, name):
    # Bytes of their own, which no other test holds.
    content = bytes(bytearray({"cell": CELL, "blank": encoded(smears.cell(0, 1) * 0 + 90, "PNG")}[name]))
    before = sys.getrefcount(content)
    gc.disable()
    try:
        with contextlib.suppress(ImageError):
            predict(content)
        # The thread that examined the image forgets it a moment after the result is known.
        waiting.until(lambda: sys.getrefcount(content) == before)
    finally:
        gc.enable()


@pytest.mark.parametrize("content", [encoded(noise(200, 200), "PNG"), encoded(smears.cell(0, 1) * 0 + 90, "PNG")])
def test_an_image_without_content_has_no_result(predict, content):
    with pytest.raises(ImageError) as caught:
        predict(content)

    assert caught.value.code == "no_content"


def test_an_error_of_the_device_is_reported_although_the_image_is_examined(tmp_path, card):
    backend = services.FakeBackend()
    backend.error = RuntimeError("the device is gone")
    made = predictor.Predictor(graphs.configuration(tmp_path), card, backend, class_activation.Explainer(card))

    for _ in range(3):
        with pytest.raises(RuntimeError, match="the device is gone"):
            made.predict(CELL)

    backend.error = None
    assert made.predict(CELL).sha256 == hashlib.sha256(CELL).hexdigest()


def test_the_check_does_not_depend_on_the_size_of_the_network(card):
    features = [
        image_review.review_features(network_input.InputSpec(size).decode_views(CELL)[1], card) for size in (32, 299)
    ]

    assert (features[0] == features[1]).all()
