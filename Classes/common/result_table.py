"""The result table of Classifier.py and Client.py: one row per image, written as CSV and JSON."""

import collections
import csv
import io
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.common import atomic_files, errors, json_files, logs, output_targets, translation
from Classes.common.errors import ConfigurationError
from Classes.common.summary import Summary
from Classes.common.translation import Message

# A spreadsheet runs a cell that begins with one of these as a formula, and anybody can choose a file's name.
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def new_row(name: str, truth: str | None, classes: Sequence[str]) -> Row:
    """Return the row of an image that has no result yet; `truth` is the class in its name."""
    row = {"file": name, "class": None, "verdict": None, "confidence": None, "low": None, "uncertain": None}
    row |= {f"probability_{label}": None for label in classes}
    row |= {"truth": truth, "correct": None, "seconds": None}
    # Per row, because a run can change to another device half-way.
    row |= {"engine": None, "precision": None, "remark": None, "error": None}
    return row | {"outcome": None, "reasons": []}


def log_warnings(row: Row, log: logging.Logger) -> None:
    """Log one line for each reason why a person should check the image of a filled row."""
    if row["uncertain"]:
        log.warning("%s: uncertain; a person should look at this image", row["file"], extra=logs.LOG_ONLY)
    if row["remark"]:
        log.warning("%s: %s", row["file"], row["remark"], extra=logs.LOG_ONLY)


def log_summary(rows: Sequence[Row], summary: Summary, log: logging.Logger) -> None:
    """Log how many results are correct, with the first lines in their historic form, and the summary of all images."""
    judged = [row for row in rows if row["correct"] is not None]
    right = collections.Counter(row["correct"] for row in judged)
    low = collections.Counter(row["correct"] for row in judged if row["low"])
    counts = collections.Counter((row["correct"], row["verdict"] == "ALL detected") for row in judged)
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


def check_writable(*paths: str | os.PathLike[str] | None) -> None:
    """Check before any work that tables can be written to `paths`; None is skipped.

    Raises:
      ConfigurationError: `not_writable` if a path is a folder, or its folder is missing or not writable.
    """
    for path in [each for each in paths if each]:
        reason = _why_not_writable(path)
        if reason:
            raise ConfigurationError(Message("{path}: {reason}", path=path, reason=reason), code="not_writable")


def _why_not_writable(path: str | os.PathLike[str]) -> Message | None:
    try:
        target = output_targets.replaceable_target(path)
    except OSError as error:
        return Message("{reason}; give the name of a file to write", reason=errors.system_reason(error))
    if target is None:
        return (
            None if output_targets.is_writable_in_place(path) else Message("cannot be written; give the name of a file")
        )
    if target.is_dir():
        return Message("is a folder; give the name of a file to write")
    parent = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not parent.is_dir():
        return Message("{parent} is not a folder; give the name of a file in a folder", parent=parent)
    if pathlib.Path(path).is_symlink() and parent != target.parent:
        return Message("links to a file in {folder}, which is missing; make that folder", folder=target.parent)
    if not os.access(parent, os.W_OK | os.X_OK) and not (target.exists() and os.access(target, os.W_OK)):
        return Message("permission denied in {parent}; choose another folder", parent=parent)
    return None


def write_tables(
    rows: Sequence[Row],
    model: dict[str, Any] | None,
    csv_path: str | os.PathLike[str] | None,
    json_path: str | os.PathLike[str] | None,
    log: logging.Logger,
) -> None:
    """Write rows with the same keys as CSV and as JSON, each if its path is given.

    Args:
      model: JSON object that identifies the model.
    """
    if csv_path:
        text = io.StringIO(newline="")
        fields = list(rows[0]) if rows else ["file"]
        writer = csv.DictWriter(text, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        atomic_files.write_atomic(csv_path, text.getvalue(), into=True)
    if json_path:
        content = {"notice": Helpers.DISCLAIMER, "model": model, "images": rows}
        json_files.write_json(json_path, content, into=True)
    for path in (csv_path, json_path):
        if path:
            log.info("Wrote %d rows to %s", len(rows), path)


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = " ".join(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) else value
