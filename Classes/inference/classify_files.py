"""Classify image files: the loop of Classifier.py."""

import logging
import os
import pathlib
import time
from collections.abc import Sequence

from Classes import Helpers
from Classes.common import input_files, result_table
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.imaging import content_check, decode
from Classes.inference import device_selection, image_review
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard, load_model_card
from Classes.inference.prediction import make_prediction

SYSTEM_NAME = "AML & ALL Detection System"

log = logging.getLogger("Classifier")


def classify_files(
    configuration: Configuration,
    sources: Sequence[str] = (),
    csv_path: str | os.PathLike | None = None,
    json_path: str | os.PathLike | None = None,
) -> int:
    """Classify images and log how many results are correct.

    Args:
      configuration: Configuration.
      sources: files and folders; by default `TestImagePath`.
      csv_path, json_path: files to write, with one row per image, or None.
    Returns:
      exit code: 0, or 1 if an image could not be read.
    Raises:
      ALLError: no images, no model, or no device.
    """
    result_table.check_writable(csv_path, json_path)
    files = input_files.resolve_inputs(configuration, sources)
    card = load_model_card(configuration.card)
    rows = []
    with device_selection.open_backend(configuration, card) as backend:
        log.info("Classifier class initialization complete.")
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning(Helpers.SYNTHETIC)
        log.info("%s %s Classifier started.", SYSTEM_NAME, backend.name)
        try:
            for path in files:
                rows.append(_classify_file(configuration, card, backend, path))
        finally:
            # Keep what is done, also after Ctrl-C.
            result_table.write_tables(rows, _model_fields(card), csv_path, json_path, log)
    result_table.log_summary(rows, log)
    return 1 if any(row["error"] for row in rows) else 0


def _classify_file(
    configuration: Configuration, card: ModelCard, backend: InferenceBackend, path: pathlib.Path
) -> result_table.Row:
    """Return the row of one image; if it cannot be read, log the error and return a row with `error`."""
    name = input_files.display_path(path)
    row = result_table.new_row(name, input_files.label_from_filename(path, card.classes), card.classes)
    try:
        image = card.input_spec.decode_and_resize(path, decode.decode_limits(configuration))
        content_check.require_content(image, name)
    except ImageError as error:
        log.error("%s", error)
        return {**row, "error": str(error)}
    log.info("Loaded test image %s", name)
    log.info("%s %s detection started.", SYSTEM_NAME, backend.name)
    start = time.perf_counter()
    [probabilities], source = backend.classify_with_source(image[None])
    seconds = time.perf_counter() - start
    log.info("%s %s detection ended taking %s", SYSTEM_NAME, source.name, seconds)
    review = image_review.review_image(image, card)
    prediction = make_prediction(probabilities, card, configuration["InceptionThreshold"], review.reasons)
    correct = prediction.is_correct(row["truth"])
    level = logging.WARNING if correct is False else logging.INFO
    log.log(level, "%s", prediction.message(seconds, row["truth"]))
    row |= {
        "class": prediction.label,
        "verdict": prediction.description,
        "confidence": prediction.confidence,
        "low": prediction.low_confidence,
        "uncertain": prediction.uncertain,
        **{f"probability_{label}": value for label, value in prediction.probabilities.items()},
        "correct": correct,
        "seconds": seconds,
        "engine": source.name,
        "precision": source.precision,
        "remark": review.remark,
        "outcome": prediction.outcome,
        "reasons": list(prediction.reasons),
    }
    result_table.log_warnings(row, log)
    return row


def _model_fields(card: ModelCard) -> dict:
    """Return the fields that identify the model in the JSON file."""
    return {
        "graph_sha256": card.graph_sha256,
        "threshold": card.threshold,
        "uncertain": card.uncertain,
        "synthetic": card.synthetic,
    }
