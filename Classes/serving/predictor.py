"""From the bytes of an image file to a prediction; independent of HTTP."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy
import PIL.Image

from Classes.common.config import Configuration
from Classes.imaging import content_check, decode, network_input
from Classes.inference import class_activation, image_review, prediction, streams
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

    The larger part needs the decoded image only. If a core is idle, it runs there while this thread makes the network's
    input: afterwards the network uses all cores, and each millisecond of other work delays it by more than that.

    Args:
      square: the part of the decoded image that the network sees.
      content: the uploaded bytes.
      card: the model.
      pool: runs the larger part at once; None: `finish` does.
    Attributes:
      review: what the checks found.
      image_info, sha256, brightness: see PredictionResult.
    """

    review: image_review.ImageReview
    image_info: decode.ImageInfo
    sha256: str
    brightness: float

    def __init__(
        self,
        square: network_input.CentralSquare,
        content: bytes,
        card: ModelCard,
        pool: concurrent.futures.Executor | None,
    ) -> None:
        self._card = card
        self._examined = _begin(square, content, card, pool)

    def finish(self, picture: PIL.Image.Image) -> None:
        """Set the attributes.

        Args:
          picture: the image as the network sees it.
        Raises:
          ImageError: the image has no content.
        """
        image = numpy.asarray(picture)
        # Every fourth row and column gives the same mean in a tenth of the time.
        self.brightness = float(image[::4, ::4].mean())
        try:
            features, self.image_info, self.sha256 = self._examined()
        finally:
            # An error has this object in its traceback, and they would keep each other and the image.
            del self._examined
        self.review = image_review.review_image(image, self._card, features)


class _Examined(NamedTuple):
    """What does not depend on the network's input; see image_review.review_features and PredictionResult."""

    features: numpy.ndarray | None
    image_info: decode.ImageInfo
    sha256: str


def _begin(
    square: network_input.CentralSquare, content: bytes, card: ModelCard, pool: concurrent.futures.Executor | None
) -> Callable[[], _Examined]:
    """Start `_examine` in the pool, if there is one; return a function that returns or raises what it does."""
    if pool:
        # The system may allow no more threads.
        with contextlib.suppress(RuntimeError):
            return pool.submit(lambda: _examine(square.small(), content, card)).result
    return functools.partial(_examine, square.small(), content, card)


def _examine(small: numpy.ndarray, content: bytes, card: ModelCard) -> _Examined:
    content_check.require_content(small)
    features = image_review.review_features(small, card)
    return _Examined(features, decode.read_header(content), hashlib.sha256(content).hexdigest())


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
        self._cores = len(streams.available_cores())
        self._pool = concurrent.futures.ThreadPoolExecutor(self._cores, "examination")
        self._lock, self._in_progress = threading.Lock(), 0

    def predict(self, content: bytes, heat_map: bool = False) -> PredictionResult:
        """Classify the image in the bytes of a file, and render a heat map if `heat_map` is set.

        Raises:
          ImageError: the bytes are not one readable image within the limits, or the image has no content.
          EngineError: the device failed.
          GraphError: the model does not support heat maps.
        """
        with self._idle_core() as pool:
            return self._predict(content, heat_map, pool)

    @contextlib.contextmanager
    def _idle_core(self) -> Iterator[concurrent.futures.Executor | None]:
        """Yield a pool for more work during a prediction; None if others of this model keep all cores busy."""
        with self._lock:
            self._in_progress += 1
            idle = self._in_progress < self._cores
        try:
            yield self._pool if idle else None
        finally:
            with self._lock:
                self._in_progress -= 1

    def _predict(self, content: bytes, heat_map: bool, pool: concurrent.futures.Executor | None) -> PredictionResult:
        with self._card.input_spec.open_square(content, self._limits) as square:
            examination = _Examination(square, content, self._card, pool)
            picture = square.network_picture(self._card.size)
        image = numpy.asarray(picture)
        finish = functools.partial(examination.finish, picture)
        start = time.perf_counter()
        values = None
        if heat_map and self._explainer.predicts:
            [probabilities], [values] = self._explainer.explain(image[None], meanwhile=finish)
            source = self._backend
        else:
            [probabilities], source = self._backend.classify_with_source(image[None], finish)
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
            heat_map=None if values is None else self._render(picture, values, predicted.label),
        )

    def render_heat_map(self, content: bytes) -> HeatMap:
        """Return the heat map of the image in the bytes of a file, without a prediction; raises as `predict`."""
        with self._card.input_spec.open_square(content, self._limits) as square:
            picture = square.network_picture(self._card.size)
            content_check.require_content(square.small())
        [probabilities], [values] = self._explainer.explain(numpy.asarray(picture)[None])
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
