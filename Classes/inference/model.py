"""Load a trained model and classify images from Python."""

import os
import pathlib

from Classes.common.config import load_config
from Classes.imaging import content_check, decode
from Classes.inference import device_selection, image_review
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard, load_model_card
from Classes.inference.prediction import Prediction, make_prediction


class Model:
    """A model on a device; `load_model` opens one. A context manager that closes it.

    Attributes:
      card: the model card; `card.classes` are the class names, `card.positive` are those that mean the condition.
      backend: what runs the network; its `classify` takes batches.
    """

    def __init__(
        self, card: ModelCard, backend: InferenceBackend, limits: decode.DecodeLimits, confidence_threshold: float
    ) -> None:
        self.card, self.backend = card, backend
        self._limits, self._confidence_threshold = limits, confidence_threshold

    def predict(self, image: bytes | str | os.PathLike) -> Prediction:
        """Classify one image.

        Args:
          image: bytes or path of an image file.
        Raises:
          ImageError: the image cannot be read, is too large or shows nothing.
          EngineError: the device failed.
        """
        pixels, small = self.card.input_spec.decode_views(image, self._limits)
        content_check.require_content(small, "the image" if isinstance(image, bytes) else os.fspath(image))
        [probabilities] = self.backend.classify(pixels[None])
        features = image_review.review_features(small, self.card)
        reasons = image_review.review_image(pixels, self.card, features).reasons
        return make_prediction(probabilities, self.card, self._confidence_threshold, reasons)

    def close(self) -> None:
        """Release the device; may be called again."""
        self.backend.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_model(path: str | os.PathLike | None = None, device: str = "AUTO", precision: str = "AUTO") -> Model:
    """Load a model that Trainer.py wrote.

    Args:
      path: the frozen graph or its model card, which lie side by side; by default the model of the configuration.
      device: "AUTO", "CPU", "GPU" or "NCS1"; see docs/devices.md.
      precision: "AUTO", "f32", "bf16", "f16" or "int8".
    Raises:
      GraphError: there is no model, or it is damaged.
      EngineError: the device does not exist or does not support the precision.
    """
    configuration = load_config().replace(Device=device, Precision=precision)
    card = load_model_card(configuration.card if path is None else pathlib.Path(path).with_suffix(".json"))
    backend = device_selection.open_backend(configuration, card)
    return Model(card, backend, decode.decode_limits(configuration), configuration["InceptionThreshold"])
