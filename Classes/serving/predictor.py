"""From the bytes somebody sent to what is said about them; knows nothing of HTTP."""

import dataclasses
import hashlib
import time

import numpy

from Classes.imaging import color_stats, content_check, decode
from Classes.inference import backend, prediction


@dataclasses.dataclass(frozen=True)
class PredictionResult:
    """What was found in one image.

    Attributes:
      verdict: prediction.Prediction.
      seconds: how long the device took.
      engine, precision: the names of what computed it.
      facts: decode.ImageInfo.
      sha256: of the bytes sent, 64 hexadecimal digits.
      brightness: mean of the pixels that the network saw, 0..255.
      content: the bytes sent.
      remark: in which respects its colours are unlike those of the training images, or None.
      heat_map: PNG bytes, or None where it was not asked for.
    """

    verdict: prediction.Prediction
    seconds: float
    engine: str
    precision: str
    facts: decode.ImageInfo
    sha256: str
    brightness: float
    content: bytes
    remark: str | None
    heat_map: bytes | None


class Predictor:
    """Decodes, asks the engine, and judges.

    Args:
      configuration: Configuration; `MaxPixels`, `MaxSide` and `InceptionThreshold` are used.
      card: model_card.ModelCard.
      engine: see backend.open_engine.
      explainer: class_activation.Explainer.
    """

    def __init__(self, configuration, card, engine, explainer):
        self._limits = decode.decode_limits(configuration)
        self._low_below = configuration["InceptionThreshold"]
        self._card = card
        self._engine = engine
        self._explainer = explainer

    def examine(self, content, heat_map=False):
        """What is found in one image.

        Args:
          content: the bytes of an image file.
          heat_map: whether to draw what the verdict rests on.
        Returns:
          Finding.
        Raises:
          ImageError: the bytes are not one readable image within the limits, or it shows nothing.
          EngineError: the device failed.
        """
        image = self._card.input_spec.decode_and_resize(content, self._limits)
        content_check.require_content(image)
        start = time.perf_counter()
        [probabilities], engine = backend.classify_with_source(self._engine, image[None])
        seconds = time.perf_counter() - start
        return PredictionResult(
            verdict=prediction.make_prediction(probabilities, self._card, self._low_below),
            seconds=seconds,
            engine=engine.name,
            precision=engine.precision,
            facts=decode.read_header(content),
            sha256=hashlib.sha256(content).hexdigest(),
            # Every fourth pixel tells as much and takes a tenth of the time.
            brightness=float(image[::4, ::4].mean()),
            content=content,
            remark=color_stats.domain_shift_warning(image, self._card),
            heat_map=self._explainer.draw(image) if heat_map else None,
        )

    def warm_up(self):
        """Inferences on grey images, so that the first callers do not wait for what is done only once."""
        # Two, since an engine may have one way for a single image and one for several.
        for count in (1, 2):
            self._engine.classify(numpy.full((count, self._card.size, self._card.size, 3), 128, "uint8"))
