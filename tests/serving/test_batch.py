"""Test that the images of one request to /v1/batch are classified at the same time, and stay in order."""

import io
import threading

import numpy

from Classes.common.errors import EngineError
from Classes.inference import backend
from tests.support import services, waiting


class Pairs(backend.InferenceBackend):
    """Answers only when two images are there at the same time; the probability is that of the image's red."""

    name, precision = "OpenVINO CPU", "f32"

    def __init__(self):
        self._barrier = threading.Barrier(2)
        self.serves = False

    def classify(self, batch):
        if self.serves:
            self._barrier.wait(waiting.LIMIT)
        red = batch[:, 0, 0, 0].astype("float32") / 255
        return numpy.stack([1 - red, red], axis=1)

    def close(self):
        pass


class Broken(Pairs):
    def classify(self, batch):
        if self.serves:
            raise EngineError("gone", "device_failed")
        return super().classify(batch)


def post(folder, opened, *images):
    client = services.client(folder, "ServerWorkers=2", backend=opened)
    # It has been warmed up with single images.
    opened.serves = True
    files = [(io.BytesIO(content), f"{number}.png") for number, content in enumerate(images)]
    response = client.post("/v1/batch", data={"file": files}, content_type="multipart/form-data")
    client.service.close()
    return response


def test_images_overlap_and_results_are_in_order(tmp_path):
    reds = (40, 200, 80, 160)
    images = [services.image(red, 64) for red in reds]

    results = post(tmp_path, Pairs(), images[0], b"no image", *images[1:]).get_json()["results"]

    assert [each["index"] for each in results] == [0, 1, 2, 3, 4]
    assert results.pop(1)["error"]
    found = [each["probabilities"]["1"] for each in results]
    assert numpy.allclose(found, numpy.array(reds) / 255, atol=0.02)


def test_a_failed_device_ends_the_request(tmp_path):
    response = post(tmp_path, Broken(), *[services.image(64, 64)] * 4)

    assert (response.status_code, response.get_json()["code"]) == (503, "engine_failed")
