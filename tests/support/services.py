"""The service around an engine whose answers are known, for tests."""

import io
import threading

import numpy
from PIL import Image

from Classes.inference import model_card
from Classes.serving import app
from Classes.serving.prediction_service import PredictionService
from tests.support import graphs, smears


class Engine:
    """Says what the red of an image says (graphs.RED), as the tiny graph does; can be held up and broken.

    Attributes:
      free: threading.Event; while it is cleared, every call waits.
      entered: threading.Semaphore, released by every call.
      error: raised by every call, when not None.
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
    """The bytes of an image of one red."""
    if kind == "PNG":
        return smears.png(graphs.red(red, size))
    buffer = io.BytesIO()
    Image.fromarray(graphs.red(red, size)).save(buffer, kind)
    return buffer.getvalue()


def laboratory(folder, *settings, engine=None, warm=True, card=None, **parts):
    """A Laboratory over a card whose graph is never read."""
    card = card or model_card.load_model_card(graphs.write(folder / "Model", content=b"no graph"))
    found = PredictionService(graphs.configuration(folder, *settings), card, engine or Engine(), **parts)
    if warm:
        found.warm_up()
    return found


def client(folder, *settings, **parts):
    """Flask's test client of a service; `client.laboratory` is what stands behind it."""
    behind = laboratory(folder, *settings, **parts)
    found = app.create_app(behind).test_client()
    found.laboratory = behind
    return found
