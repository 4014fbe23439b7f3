"""The service around a fake backend with known results, for tests."""

import io
import pathlib
import threading

import numpy
from PIL import Image

from Classes.inference import model_card
from Classes.inference.backend import InferenceBackend
from Classes.serving import app
from Classes.serving.api_errors import ERROR_CODES
from Classes.serving.models import ModelRegistry, ServedModel
from Classes.serving.prediction_service import PredictionService
from tests.support import graphs, smears


class FakeBackend(InferenceBackend):
    """Classifies an image by its mean red (graphs.RED), as the tiny graph does; can be paused and can fail.

    Attributes:
      free: threading.Event; every call waits while it is not set.
      entered: threading.Semaphore, released at the start of every call.
      error: raised by every call unless it is None.
    """

    name, precision = "OpenVINO CPU", "f32"

    def __init__(self):
        self.free, self.entered = threading.Event(), threading.Semaphore(0)
        self.free.set()
        self.error = None

    def classify(self, batch):
        self.entered.release()
        self.free.wait()
        if self.error is not None:
            raise self.error
        red = batch[..., 0].mean(axis=(1, 2))
        positive = 1 / (1 + numpy.exp(-4 * (red - 128) / 128))
        return numpy.stack([1 - positive, positive], axis=1).astype("float32")

    def close(self):
        pass


def image(red, size=300, kind="PNG"):
    """Return the bytes of an image with this red."""
    if kind == "PNG":
        return smears.png(graphs.red(red, size))
    buffer = io.BytesIO()
    Image.fromarray(graphs.red(red, size)).save(buffer, kind)
    return buffer.getvalue()


def create_service(folder, *settings, backend=None, warm=True, card=None, others=(), unavailable=None, **parts):
    """Create a PredictionService; by default with a model card whose graph is never read.

    Args:
      folder: where the card is written and relative paths start.
      settings: of the configuration.
      backend, card: of the default model, ALLGraph; `card` may be a path.
      warm: whether each model has classified an image.
      others: (name, card, backend) of further models.
      unavailable: {name: why}; if ALLGraph is in it, `others` are the only models.
      parts: further arguments of PredictionService.
    """
    configuration = graphs.configuration(folder, *settings)
    own = ("ALLGraph", card or graphs.write(folder / "Model", content=b""), backend or FakeBackend())
    unavailable = unavailable or {}
    opened = [
        ServedModel(name, configuration, _load(card), backend)
        for name, card, backend in [own, *others]
        if name not in unavailable
    ]
    found = PredictionService(configuration, ModelRegistry(opened, unavailable, "ALLGraph"), **parts)
    if warm:
        found.warm_up()
    return found


def _load(card):
    return model_card.load_model_card(card, cell_types=True) if isinstance(card, pathlib.Path) else card


def client(folder, *settings, **parts):
    """Return Flask's test client of a new service, which is its attribute `service`."""
    service = create_service(folder, *settings, **parts)
    found = app.create_app(service).test_client()
    found.service = service
    return found


def assert_error(response, code):
    """Assert that a response is the API error `code`; return its JSON."""
    body = response.get_json()
    assert (response.status_code, body["code"]) == (ERROR_CODES[code][0], code)
    assert body["message"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert response.mimetype == "application/json"
    return body
