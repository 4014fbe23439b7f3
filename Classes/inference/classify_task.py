"""Classify single-cell images as units of work."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from Classes.common import provenance, result_table, translation
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.common.translation import text_of
from Classes.imaging import content_check, decode
from Classes.inference import device_selection, image_review, task_settings
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard
from Classes.inference.prediction import Prediction, make_prediction
from Classes.jobs.items import Item

TASK = "Classes.inference.classify_task:ClassifyTask"

# One image takes hardly longer than writing a part file.
ITEMS_PER_UNIT = 20


def make_settings(configuration: Configuration, card: ModelCard) -> dict[str, Any]:
    """Return the settings of a ClassifyTask."""
    return {"configuration": task_settings.to_settings(configuration), "card": task_settings.describe_card(card)}


def new_row(item: Item, card: ModelCard) -> result_table.Row:
    """Return the row of an image without a result; the item's data has its true class, or None, as "truth"."""
    row = result_table.new_row(item.name, item.data["truth"], card.classes, card.scheme)
    # A row has the columns of its model.
    return row | ({"class_title": None} if card.cell_types else {})


def read_row(result: dict[str, Any]) -> result_table.Row:
    """Return the row of a result; its texts can be translated."""
    row = result["row"]
    return {**row, **{name: translation.from_json(row[name]) for name in ("error", "remark")}}


class ClassifyTask:
    """Classifies images with one model.

    A result has the "row" of the image, and what the log says of it: the name of the "backend" that was chosen, of the
    one that answered as "source", and the "message".

    Args:
      settings: see make_settings.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._stack = contextlib.ExitStack()

    def open(self) -> None:
        """Open the model on its device.

        Raises:
          ALLError: the model or the device is missing.
        """
        self._configuration = task_settings.read_configuration(self._settings["configuration"])
        self._limits = decode.decode_limits(self._configuration)
        self._card = task_settings.load_card(self._settings["card"])
        backend = device_selection.open_backend(self._configuration, self._card)
        self._backend: InferenceBackend = self._stack.enter_context(backend)

    def run(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the result of each image."""
        return [self._classify(item) for item in items]

    def close(self) -> None:
        """Release the device."""
        self._stack.close()

    def _classify(self, item: Item) -> dict[str, Any]:
        row, backend = new_row(item, self._card), self._backend.name
        try:
            image, small = self._card.input_spec.decode_views(item.data["path"], self._limits, item.name)
            content_check.require_content(small, item.name)
        except ImageError as error:
            return {"row": {**row, "error": translation.to_json(text_of(error))}, "backend": backend}
        start = time.perf_counter()
        [probabilities], source = self._backend.classify_with_source(image[None])
        seconds = time.perf_counter() - start
        features = image_review.review_features(small, self._card)
        review = image_review.review_image(image, self._card, features)
        threshold = self._configuration["InceptionThreshold"]
        prediction = make_prediction(probabilities, self._card, threshold, review.reasons)
        found = self._columns(prediction, row["truth"], source)
        found |= {"seconds": seconds, "remark": translation.to_json(review.remark)}
        # A row has the columns of its model.
        row |= {key: value for key, value in found.items() if key in row}
        message = prediction.message(seconds, row["truth"])
        return {"row": row, "backend": backend, "source": source.name, "message": message}

    def _columns(self, prediction: Prediction, truth: str | None, source: InferenceBackend) -> dict[str, Any]:
        card = self._card
        titles = (card.cell_types or {}).get("names")
        class_correct = prediction.is_label_correct(truth)
        return {
            "class": prediction.label,
            "verdict": prediction.description,
            "confidence": prediction.confidence,
            "low": prediction.low_confidence,
            "uncertain": prediction.uncertain,
            **{f"probability_{label}": value for label, value in prediction.probabilities.items()},
            "correct": prediction.is_correct(truth) if card.positive else class_correct,
            "engine": source.name,
            "precision": source.precision,
            "outcome": prediction.outcome,
            "reasons": list(prediction.reasons),
            "all_probability": prediction.positive_probability,
            "class_confidence": prediction.label_confidence,
            "group": prediction.group,
            "group_confidence": prediction.group_confidence,
            "class_correct": class_correct,
            "class_title": titles and titles[prediction.label],
            "model": result_table.model_name(card.network, card.graph_sha256),
            "software_version": provenance.version(),
        }
