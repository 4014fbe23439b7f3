"""The rows of Classifier.py and Client.py, one per image, and what the log says about them; see table_files."""

import collections
import datetime
import logging
from collections.abc import Sequence
from typing import Any

from Classes.common import conditions, logs, outcome, translation
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.summary import Summary

Row = dict[str, Any]


# Columns of models with several classes, and columns that a model without positive classes has no values for.
CLASS_KEYS = ("class_confidence", "group", "group_confidence", "class_correct")
DETECTION_KEYS = ("verdict", "uncertain", "all_probability")


def new_row(name: str, truth: str | None, classes: Sequence[str], scheme: ClassScheme | None = None) -> Row:
    """Return the row of an image that has no result yet.

    Args:
      name: of the file.
      truth: the true class, or None if it is not known.
      classes: class names of the model.
      scheme: what they mean; None: disease or not.
    """
    row: Row = {"file": name, "class": None, "verdict": None, "confidence": None, "low": None, "uncertain": None}
    row |= {f"probability_{label}": None for label in classes}
    row |= {"truth": truth, "correct": None, "seconds": None}
    # Per row, because a run can change to another device half-way.
    row |= {"engine": None, "precision": None, "remark": None, "error": None}
    row |= {"outcome": None, "reasons": [], "all_probability": None}
    row |= {"date": local_time(), "model": None, "software_version": None}
    if scheme and scheme.several:
        row |= dict.fromkeys(CLASS_KEYS)
    detects = scheme is None or scheme.positive
    return row if detects else {key: value for key, value in row.items() if key not in DETECTION_KEYS}


def local_time() -> str:
    """Return the time now as 2026-11-26 18:03:22, which spreadsheets read as a date."""
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"


def model_name(network: str | None, graph_sha256: str) -> str:
    """Return the name of a model in a table, such as "InceptionV3 0123456789ab"."""
    return f"{network or ''} {graph_sha256[:12]}".strip()


def log_warnings(row: Row, condition: Condition, log: logging.Logger) -> None:
    """Log one line for each reason why a person should check the image of a filled row."""
    if row.get("uncertain"):
        log.warning("%s: uncertain; a person should look at this image", row["file"], extra=logs.LOG_ONLY)
    log_image_reasons(row["file"], row["reasons"], condition, log)
    if row["remark"]:
        log.warning("%s: %s", row["file"], row["remark"], extra=logs.LOG_ONLY)


def log_image_reasons(name: str, reasons: Sequence[str], condition: Condition, log: logging.Logger) -> None:
    """Log what the check of the image found, if anything."""
    found = [code for code in reasons if code in outcome.IMAGE_REASONS]
    if found:
        with translation.use_language(translation.ENGLISH):
            text = " ".join(outcome.reason_text(each, condition) for each in found)
        log.warning("%s: needs review. %s", name, text, extra=logs.LOG_ONLY)


def log_summary(rows: Sequence[Row], summary: Summary, log: logging.Logger) -> None:
    """Log how many results are correct, with the first lines in their historic form, and the summary of all images."""
    judged = [row for row in rows if row["correct"] is not None]
    if summary.detects:
        _log_detections(judged, log)
    shifted = sum(bool(row["remark"]) for row in rows)
    if shifted:
        text = "%d images differ in color from the training images; they are named above"
        text = "%d image differs in color from the training images; it is named above" if shifted == 1 else text
        log.warning(text, shifted, extra=logs.LOG_ONLY)
    unlabelled = sum(row["truth"] is None and not row["error"] for row in rows)
    if unlabelled and judged:
        text = "%d images without a class in their name were classified and not counted"
        text = "%d image without a class in its name was classified and not counted" if unlabelled == 1 else text
        log.info(text, unlabelled)
    failed = sum(bool(row["error"]) for row in rows)
    if failed:
        text = (
            "%d image has no result; it is named above"
            if failed == 1
            else "%d images have no result; they are named above"
        )
        log.error(text, failed, extra=logs.LOG_ONLY)
    with translation.use_language(translation.ENGLISH):
        for line in summary.lines():
            log.info("%s", line)


def _log_detections(judged: Sequence[Row], log: logging.Logger) -> None:
    """Log how many results with a known class are correct, in the historic form."""
    right = collections.Counter(row["correct"] for row in judged)
    low = collections.Counter(row["correct"] for row in judged if row["low"])
    counts = collections.Counter((row["correct"], conditions.is_detected(row["verdict"])) for row in judged)
    log.info(
        "Testing ended. %d correct, %d incorrect, %d low confidence: (%d correct, %d incorrect)",
        right[True],
        right[False],
        low.total(),
        low[True],
        low[False],
    )
    log.info("Images Classifier: %d", len(judged))
    log.info("True Positives: %d", counts[True, True])
    log.info("False Positives: %d", counts[False, True])
    log.info("True Negatives: %d", counts[True, False])
    log.info("False Negatives: %d", counts[False, False])
    uncertain = sum(bool(row["uncertain"]) for row in judged)
    if uncertain:
        rest = [row["correct"] for row in judged if not row["uncertain"]]
        images = "image" if uncertain == 1 else "images"
        log.info("%d %s uncertain; of the other %d, %d correct", uncertain, images, len(rest), sum(rest))
