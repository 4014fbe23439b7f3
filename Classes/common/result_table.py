"""The rows of Classifier.py and Client.py, one per image, and what the log says about them; see table_files."""

import collections
import datetime
import logging
from collections.abc import Sequence
from typing import Any

from Classes.common import conditions, logs, outcome, translation
from Classes.common.conditions import Condition
from Classes.common.summary import Summary

Row = dict[str, Any]


def new_row(name: str, truth: str | None, classes: Sequence[str]) -> Row:
    """Return the row of an image that has no result yet; `truth` is the class in its name."""
    row: Row = {"file": name, "class": None, "verdict": None, "confidence": None, "low": None, "uncertain": None}
    row |= {f"probability_{label}": None for label in classes}
    row |= {"truth": truth, "correct": None, "seconds": None}
    # Per row, because a run can change to another device half-way.
    row |= {"engine": None, "precision": None, "remark": None, "error": None}
    row |= {"outcome": None, "reasons": [], "all_probability": None}
    return row | {"date": local_time(), "model": None, "software_version": None}


def local_time() -> str:
    """Return the time now as 2026-11-26 18:03:22, which spreadsheets read as a date."""
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"


def model_name(network: str | None, graph_sha256: str) -> str:
    """Return the name of a model in a table, such as "InceptionV3 0123456789ab"."""
    return f"{network or ''} {graph_sha256[:12]}".strip()


def log_warnings(row: Row, condition: Condition, log: logging.Logger) -> None:
    """Log one line for each reason why a person should check the image of a filled row."""
    if row["uncertain"]:
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
        log.info("%d images uncertain; of the other %d, %d correct", uncertain, len(rest), sum(rest))
    shifted = sum(bool(row["remark"]) for row in rows)
    if shifted:
        log.warning(
            "%d images differ in color from the training images; they are named above", shifted, extra=logs.LOG_ONLY
        )
    unlabelled = sum(row["truth"] is None and not row["error"] for row in rows)
    if unlabelled and judged:
        log.info("%d images without a class in their name were classified and not counted", unlabelled)
    failed = sum(bool(row["error"]) for row in rows)
    if failed:
        log.error("%d images have no result; they are named above", failed, extra=logs.LOG_ONLY)
    with translation.use_language(translation.ENGLISH):
        for line in summary.lines():
            log.info("%s", line)
