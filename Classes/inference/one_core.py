"""Run an open model on one processor core, so that long work leaves the other cores to short work."""

import threading

import numpy

from Classes.common import cancellation
from Classes.common.errors import EngineError
from Classes.common.translation import Message
from Classes.inference import backend, openvino_backend
from Classes.inference.model_card import ModelCard


def on_one_core(opened: backend.InferenceBackend, card: ModelCard) -> backend.InferenceBackend:
    """Return a backend for the model of another one that uses one core; that one stays open and as it is.

    Args:
      opened: an open backend. One that does not run on the CPU of this machine is used itself, image by image, so that
        another caller's image waits for one image only.
      card: of its model.
    Raises:
      EngineError: OpenVINO cannot compile the model again.
    """
    source = getattr(opened, "source", None)
    return ImageByImage(opened) if source is None else OneCoreBackend(source, card, opened.name, opened.precision)


class OneCoreBackend(backend.InferenceBackend):
    """A model that is compiled for one core of the CPU.

    Args:
      source: what the open backend was compiled from, so that a file that was replaced since changes nothing.
      card: the model card.
      name, precision: of the open backend, whose arithmetic is the same.
    """

    name, precision = "OpenVINO CPU", "f32"

    def __init__(self, source: openvino_backend.Source, card: ModelCard, name: str, precision: str) -> None:
        self.name, self.precision, self._card = name, precision, card
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": 1,
            "INFERENCE_PRECISION_HINT": source.precision,
        }
        try:
            compiled = source.core.compile_model(source.model, "CPU", options)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise openvino_backend.device_failed(self.name, error) from error
        self._lock = threading.Lock()

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Classify the images one after the other."""
        backend.validate_batch(batch, self._card.size)
        with self._lock:
            if self._request is None:
                raise EngineError(Message("{name}: closed", name=self.name), "backend_closed")
            try:
                probabilities = openvino_backend.infer_one_by_one(self._request, self._card, batch)
            except RuntimeError as error:
                raise openvino_backend.device_failed(self.name, error) from error
        backend.validate_probabilities(probabilities, len(self._card.classes))
        return probabilities

    def close(self) -> None:
        """Release the model; a later `classify` raises an EngineError."""
        with self._lock:
            self._request = None


class ImageByImage(backend.InferenceBackend):
    """Passes images to another backend one by one; closing it leaves the other one open."""

    def __init__(self, opened: backend.InferenceBackend) -> None:
        self._opened = opened

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._opened.name

    @property
    def precision(self) -> str:
        """Arithmetic of the device."""
        return self._opened.precision

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Classify the images, each in a call of its own."""
        found = []
        for index in range(len(batch)):
            cancellation.check()
            found.append(self._opened.classify(batch[index : index + 1]))
        return numpy.concatenate(found)

    def close(self) -> None:
        """Do nothing: whoever opened the other backend closes it."""
