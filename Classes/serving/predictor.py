"""From the bytes of an image file to a prediction; independent of HTTP."""

import dataclasses
import hashlib
import time
from typing import NamedTuple

import numpy
import PIL.Image

from Classes.common.config import Configuration
from Classes.imaging import content_check, decode, pixel_math
from Classes.inference import class_activation, image_review, prediction
from Classes.inference.backend import InferenceBackend
from Classes.inference.class_activation import Explainer
from Classes.inference.model_card import ModelCard


class HeatMap(NamedTuple):
    """A rendered class activation map.

    Attributes:
      content: PNG bytes, as large as the network input.
      class_name: the class that it is for, see class_activation.
      backend, precision: what computed it.
    """

    content: bytes
    class_name: str
    backend: str
    precision: str


@dataclasses.dataclass(frozen=True)
class PredictionResult:
    """The prediction for one image, and how it was made.

    Attributes:
      prediction: the prediction.
      class_title: what people read in place of the predicted class, if its name is an abbreviation.
      seconds: time until the network and the checks of the image, which run meanwhile, had both ended.
      backend, precision: what computed it, such as "OpenVINO CPU" and "bf16".
      image_info: format and size of the image.
      sha256: SHA-256 of the uploaded bytes, 64 hexadecimal digits.
      brightness: mean of the pixels of the network input, 0..255.
      content: the uploaded bytes.
      remark: how the colors differ from the training images, or None.
      heat_map: the heat map, or None if it was not requested.
    """

    prediction: prediction.Prediction
    class_title: str
    seconds: float
    backend: str
    precision: str
    image_info: decode.ImageInfo
    sha256: str
    brightness: float
    content: bytes
    remark: str | None
    heat_map: HeatMap | None


class _Examination:
    """All that is found on an image without the network.

    Args:
      picture: the image as the network sees it.
      image: its pixels, uint8 [S, S, 3].
      content: the uploaded bytes.
      card: the model.
      heat_map: whether a heat map will be drawn.
    Attributes:
      grey: the image in gray, on which the heat map is drawn, if there is one.
      review: what the checks found.
      image_info, sha256, brightness: see PredictionResult.
    """

    grey: PIL.Image.Image | None = None
    review: image_review.ImageReview
    image_info: decode.ImageInfo
    sha256: str
    brightness: float

    def __init__(
        self, picture: PIL.Image.Image, image: numpy.ndarray, content: bytes, card: ModelCard, heat_map: bool = False
    ) -> None:
        self._picture, self._image, self._content, self._card = picture, image, content, card
        self._heat_map = heat_map

    def run(self) -> None:
        """Set the attributes.

        Raises:
          ImageError: the image has no content.
        """
        small = pixel_math.resize(self._picture, pixel_math.TEXTURE_SIDE)
        content_check.require_content(self._image, small=small)
        self.review = image_review.review_image(self._image, self._card, small)
        self.image_info = decode.read_header(self._content)
        self.sha256 = hashlib.sha256(self._content).hexdigest()
        # Every fourth row and column gives the same mean in a tenth of the time.
        self.brightness = float(self._image[::4, ::4].mean())
        if self._heat_map:
            self.grey = self._picture.convert("L")


class Predictor:
    """Decodes images and classifies them.

    Args:
      configuration: `MaxPixels`, `MaxSide` and `InceptionThreshold` are used.
      card: the model card.
      backend: runs the model.
      explainer: renders heat maps.
    """

    def __init__(self, configuration: Configuration, card: ModelCard, backend: InferenceBackend, explainer: Explainer):
        self._limits = decode.decode_limits(configuration)
        self._low_below = configuration["InceptionThreshold"]
        self._card = card
        self._backend = backend
        self._explainer = explainer

    def predict(self, content: bytes, heat_map: bool = False) -> PredictionResult:
        """Classify the image in the bytes of a file, and render a heat map if `heat_map` is set.

        Raises:
          ImageError: the bytes are not one readable image within the limits, or the image has no content.
          EngineError: the device failed.
          GraphError: the model does not support heat maps.
        """
        picture = self._card.input_spec.decode_picture(content, self._limits)
        image = numpy.asarray(picture)
        examination = _Examination(picture, image, content, self._card, heat_map)
        start = time.perf_counter()
        values = None
        if heat_map and self._explainer.predicts:
            [probabilities], [values] = self._explainer.explain(image[None], meanwhile=examination.run)
            source = self._backend
        else:
            [probabilities], source = self._backend.classify_with_source(image[None], examination.run)
        seconds = time.perf_counter() - start
        review = examination.review
        predicted = prediction.make_prediction(probabilities, self._card, self._low_below, review.reasons)
        if heat_map and values is None:
            _, [values] = self._explainer.explain(image[None], [predicted.label])
        return PredictionResult(
            prediction=predicted,
            class_title=(self._card.cell_types or {}).get("names", {}).get(predicted.label, predicted.label),
            seconds=seconds,
            backend=source.name,
            precision=source.precision,
            image_info=examination.image_info,
            sha256=examination.sha256,
            brightness=examination.brightness,
            content=content,
            remark=review.remark,
            heat_map=None if values is None else self._render(examination.grey or picture, values, predicted.label),
        )

    def render_heat_map(self, content: bytes) -> HeatMap:
        """Return the heat map of the image in the bytes of a file, without a prediction; raises as `predict`."""
        picture = self._card.input_spec.decode_picture(content, self._limits)
        image = numpy.asarray(picture)
        content_check.require_content(image)
        [probabilities], [values] = self._explainer.explain(image[None])
        return self._render(picture, values, self._explainer.predicted_class(probabilities))

    def _render(self, picture: PIL.Image.Image, values: numpy.ndarray, label: str) -> HeatMap:
        overlay = class_activation.render_overlay(picture, values)
        mapped = self._explainer.mapped_class(label)
        return HeatMap(overlay, mapped, self._explainer.name, self._explainer.precision)

    def warm_up(self) -> None:
        """Classify grey images, so that the first request does not wait for lazy initialization."""
        # Twice, because a backend may handle single images and batches differently.
        for count in (1, 2):
            self._backend.classify(numpy.full((count, self._card.size, self._card.size, 3), 128, "uint8"))
