"""Images in, verdicts out: the loop of Classifier.py."""

import logging
import time

from Classes import Helpers
from Classes.common import input_files, result_table
from Classes.common.errors import ImageError
from Classes.imaging import color_stats, content_check, decode
from Classes.inference import device_selection, model_card, prediction

SYSTEM_NAME = "AML & ALL Detection System"

log = logging.getLogger("Classifier")


def classify_files(configuration, sources=(), csv_path=None, json_path=None):
    """Classify images and say how many verdicts are right.

    Args:
      configuration: Configuration.
      sources: files and folders; none means `TestImagePath`.
      csv_path, json_path: where one row an image is written, or None.
    Returns:
      exit code: 0, or 1 when an image could not be read.
    Raises:
      ALLError: nothing to classify, no model, no device.
    """
    result_table.check_writable(csv_path, json_path)
    files = input_files.resolve_inputs(configuration, sources)
    card = model_card.load_model_card(configuration.card)
    rows = []
    with device_selection.open_backend(configuration, card) as engine:
        log.info("Classifier class initialization complete.")
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning(Helpers.SYNTHETIC)
        log.info("%s %s Classifier started.", SYSTEM_NAME, engine.name)
        try:
            for path in files:
                rows.append(_classify_file(configuration, card, engine, path))
        finally:
            # Also after Ctrl-C: what is done is kept.
            result_table.write_tables(rows, _model_fields(card), csv_path, json_path, log)
    result_table.log_summary(rows, log)
    return 1 if any(row["error"] for row in rows) else 0


def _classify_file(configuration, card, engine, path):
    """One image's row; an unreadable one is a line in the log and a row with `error`."""
    name = input_files.display_path(path)
    row = result_table.new_row(name, input_files.label_from_filename(path, card.classes), card.classes)
    try:
        image = card.input_spec.decode_and_resize(path, decode.decode_limits(configuration))
        content_check.require_content(image, name)
    except ImageError as error:
        log.error("%s", error)
        return {**row, "error": str(error)}
    log.info("Loaded test image %s", name)
    log.info("%s %s detection started.", SYSTEM_NAME, engine.name)
    start = time.perf_counter()
    [probabilities], spoke = engine.classify_with_source(image[None])
    seconds = time.perf_counter() - start
    log.info("%s %s detection ended taking %s", SYSTEM_NAME, spoke.name, seconds)
    verdict = prediction.make_prediction(probabilities, card, configuration["InceptionThreshold"])
    correct = verdict.correct(row["truth"])
    level = logging.WARNING if correct is False else logging.INFO
    log.log(level, "%s", verdict.sentence(seconds, row["truth"]))
    row |= {
        "class": verdict.label,
        "verdict": verdict.finding,
        "confidence": verdict.confidence,
        "low": verdict.low,
        "uncertain": verdict.uncertain,
        **{f"probability_{label}": value for label, value in verdict.probabilities.items()},
        "correct": correct,
        "seconds": seconds,
        "engine": spoke.name,
        "precision": spoke.precision,
        "remark": color_stats.domain_shift_warning(image, card),
    }
    result_table.log_warnings(row, log)
    return row


def _model_fields(card):
    """Which model spoke, for the rows' JSON."""
    model = {"graph_sha256": card.graph_sha256, "threshold": card.threshold, "uncertain": card.uncertain}
    return {**model, "synthetic": card.synthetic}
