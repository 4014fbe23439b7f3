"""One row an image: what Classifier.py and Client.py count and write."""

import collections
import csv
import io
import os
import pathlib

from Classes import Helpers
from Classes.common import atomic_files
from Classes.common.errors import ConfigurationError

# A spreadsheet takes a text that begins so for a formula, and a file's name is a stranger's text.
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def new_row(name, truth, classes):
    """The row of an image that has no verdict yet."""
    row = {"file": name, "class": None, "verdict": None, "confidence": None, "low": None, "uncertain": None}
    row |= {f"probability_{label}": None for label in classes}
    row |= {"truth": truth, "correct": None, "seconds": None}
    # Of the row, not of the run: where a device fails, another goes on.
    return row | {"engine": None, "precision": None, "remark": None, "error": None}


def log_warnings(row, log):
    """Log why a person should look at an image whose row is full, in a line a reason."""
    if row["uncertain"]:
        log.warning("%s: uncertain; a person should look at this image", row["file"])
    if row["remark"]:
        log.warning("%s: %s", row["file"], row["remark"])


def log_summary(rows, log):
    """Log how many verdicts are right, in the historic words.

    Args:
      rows: list of dicts as `empty` makes them.
      log: logging.Logger.
    """
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
    strange = sum(bool(row["remark"]) for row in rows)
    if strange:
        log.warning("%d images have colours unlike those of the training images; they are named above", strange)
    unnamed = sum(row["truth"] is None and not row["error"] for row in rows)
    if unnamed:
        log.info("%d images without a class in their name were classified and not counted", unnamed)
    unread = sum(bool(row["error"]) for row in rows)
    if unread:
        log.error("%d images have no verdict; they are named above", unread)


def check_writable(*paths):
    """Whether rows can be written there, told before any work.

    Raises:
      ConfigurationError: one of the paths is a folder, or lies where nothing can be written.
    """
    for path in filter(None, paths):
        try:
            target = atomic_files.followed(path)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; give the name of a file to write") from error
        if target is None:
            if not atomic_files.takes(path):
                raise ConfigurationError(f"{path}: cannot be written; give the name of a file")
            continue
        if target.is_dir():
            raise ConfigurationError(f"{path}: is a folder; give the name of a file to write")
        there = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
        if not there.is_dir():
            raise ConfigurationError(f"{path}: {there} is no folder; give the name of a file in a folder")
        if pathlib.Path(path).is_symlink() and there != target.parent:
            raise ConfigurationError(f"{path}: is a link into {target.parent}, which is missing; make that folder")
        if not os.access(there, os.W_OK | os.X_OK) and not (target.exists() and os.access(target, os.W_OK)):
            raise ConfigurationError(f"{path}: permission denied in {there}; give another place")


def write_tables(rows, model, csv_path, json_path, log):
    """Write rows as CSV and as JSON, each as a whole, where a path is given.

    Args:
      rows: list of dicts with the same keys.
      model: dict for JSON that says which model spoke.
    """
    if csv_path:
        text = io.StringIO(newline="")
        fields = rows[0] if rows else ["file"]
        writer = csv.DictWriter(text, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _escape_formula(value) for key, value in row.items()} for row in rows)
        atomic_files.write_atomic(csv_path, text.getvalue(), into=True)
    if json_path:
        content = {"notice": Helpers.DISCLAIMER, "model": model, "images": rows}
        atomic_files.write_json(json_path, content, into=True)
    for path in (csv_path, json_path):
        if path:
            log.info("Wrote %d rows to %s", len(rows), path)


def _escape_formula(value):
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) else value
