"""Classify image files: the loop of Classifier.py."""

import functools
import logging
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.common import (
    image_lines,
    input_files,
    known_classes,
    logs,
    output_folders,
    result_table,
    summary,
    table_files,
    terminal,
)
from Classes.common.config import Configuration
from Classes.common.translation import gettext as _
from Classes.inference import classify_task, result_rows, task_settings
from Classes.inference.model_card import ModelCard, load_model_card
from Classes.jobs import run_loop, run_texts
from Classes.jobs.items import Item, file_item
from Classes.jobs.open_executors import start_processes_early
from Classes.jobs.run_job import Job, JobRun, start_job
from Classes.jobs.shards import Shard

# Limits of a model of cell types that are shown before its results; its card has all of them.
SHOWN_LIMITS = 2

SYSTEM_NAME = "AML & ALL Detection System"

log = logging.getLogger("Classifier")


def classify_files(
    configuration: Configuration,
    sources: Sequence[str] = (),
    csv_path: str | os.PathLike[str] | None = None,
    json_path: str | os.PathLike[str] | None = None,
    labels: str = known_classes.AUTO,
    xlsx_path: str | os.PathLike[str] | None = None,
    parquet_path: str | os.PathLike[str] | None = None,
    csv_locale: str = table_files.ENGLISH,
    any_model: bool = False,
    shard: Shard | None = None,
) -> int:
    """Classify images and log how many results are correct.

    Args:
      configuration: Configuration.
      sources: files and folders; by default `TestImagePath`.
      csv_path, json_path, xlsx_path, parquet_path: files to write, with one row per image, or None.
      labels: where the true classes are known from, one of known_classes.SOURCES.
      csv_locale: see table_files.TableFiles.
      any_model: also a model that detects nothing, such as one of cell types.
      shard: classify only this share; the share that ends last writes the files.
    Returns:
      exit code: 0, or 1 if an image could not be read.
    Raises:
      ALLError: no images, no model, or no device.
    """
    tables = table_files.TableFiles(csv_path, json_path, xlsx_path, parquet_path, csv_locale)
    files, skipped = input_files.find_inputs(configuration, sources)
    configuration = task_settings.with_own_process(configuration)
    units = math.ceil(len(files) / classify_task.ITEMS_PER_UNIT)
    start_processes_early(configuration, classify_task.TASK, task_settings.LATE_MODULES, units)
    card = load_model_card(configuration.card, cell_types=any_model)
    tables = tables.prepared(card.condition)
    known = known_classes.find_known_classes(files, card.scheme, card.condition, labels)
    items = [file_item(path.absolute(), truth=truth) for path, truth in zip(files, known.classes, strict=True)]
    settings = classify_task.make_settings(configuration, card)
    job = Job(classify_task.TASK, settings, items, classify_task.ITEMS_PER_UNIT)
    with start_job(configuration, job, shard) as run:
        shown = _ShownImages(card, run)

        def write() -> int:
            """Write the results that there are; return the number of images without one."""
            rows = result_rows.ResultRows(run, card)
            summarize = functools.partial(summary.summarize, condition=card.condition, scheme=card.scheme)
            found = summarize(rows.brief, len(files), skipped, known.note)
            _write(configuration, card, tables, rows, found)
            run_texts.show_killed(rows.killed, log)
            return len(found.failed)

        failed = run_loop.compute_and_write(run, shard, shown.add, write, log)
    return int((shown.failed if failed is None else failed) > 0)


def _write(
    configuration: Configuration,
    card: ModelCard,
    tables: table_files.TableFiles,
    rows: result_rows.ResultRows,
    found: summary.Summary,
) -> None:
    """Write the tables, and show and log the summary."""
    table_files.write_tables(tables, rows, _model_fields(card), found, log)
    output_folders.remove_leftovers((), tables.paths.values())
    result_table.log_summary(rows.brief, found, log)
    shown = [(kind.upper(), path) for kind, path in tables.paths.items()]
    validation = ""
    if os.environ.get(terminal.STEP):
        # The end of `sh Setup.sh Run`: also what Validation.py found.
        shown.append((_("Report"), configuration.path("ReportDir") / "Report.html"))
        validation = _describe_validation(card)
    following = "python3 Server.py --open" if card.positive else "python3 Classifier.py FOLDER"
    image_lines.show_summary(found, shown, following, validation)


class _ShownImages:
    """Shows and logs each image of a run, in the order of the images.

    Attributes:
      failed: number of images without a result.
    """

    def __init__(self, card: ModelCard, run: JobRun) -> None:
        self.failed = 0
        self._card, self._titles = card, (card.cell_types or {}).get("names", {})
        self._order = run.in_order()
        self._started = False

    def add(self, item: Item, result: dict[str, Any], lines: image_lines.ImageLines) -> None:
        """Show all images whose turn it is, now that one more is finished."""
        for each, found in self._order.add(item, result):
            self._show(each, found, lines)

    def _show(self, item: Item, result: dict[str, Any], lines: image_lines.ImageLines) -> None:
        row = result_rows.read_row(item, result, self._card)
        if not self._started and "backend" in result:
            self._started = True
            _log_start(self._card, result["backend"])
        if row["error"]:
            self.failed += 1
            log.error("%s", row["error"], extra=logs.LOG_ONLY)
        else:
            _log_result(row, result, self._card)
        lines.show_classes(pathlib.Path(item.name).name, row, self._card.scheme, self._titles, self._card.condition)


def _log_start(card: ModelCard, backend: str) -> None:
    log.info("Classifier class initialization complete.")
    log.info(Helpers.DISCLAIMER)
    if card.synthetic:
        log.warning(Helpers.SYNTHETIC)
    for limit in (card.cell_types or {}).get("limits", [])[:SHOWN_LIMITS]:
        log.info(limit)
        terminal.say(limit)
    log.info("%s %s Classifier started.", SYSTEM_NAME, backend)


def _log_result(row: result_table.Row, result: dict[str, Any], card: ModelCard) -> None:
    """Log an image with the historic lines."""
    log.info("Loaded test image %s", row["file"])
    log.info("%s %s detection started.", SYSTEM_NAME, result["backend"])
    log.info("%s %s detection ended taking %s", SYSTEM_NAME, result["source"], row["seconds"])
    level = logging.WARNING if row["correct"] is False else logging.INFO
    log.log(level, "%s", result["message"], extra=logs.LOG_ONLY)
    if card.scheme.several:
        log.info("%s: %s", row["file"], _describe_class(row), extra=logs.LOG_ONLY)
    result_table.log_warnings(row, card.condition, log)


def _describe_class(row: result_table.Row) -> str:
    """Return class and group of a row for the log."""
    title = f"{row['class_title']} ({row['class']})" if row.get("class_title") else row["class"]
    text = f"class {title} with a confidence of {row['class_confidence']}"
    return text if row["group"] == row["class"] else f"{text}, group {row['group']} {row['group_confidence']}"


def _describe_validation(card: ModelCard) -> str:
    """Return in one sentence what Validation.py measured, or "" if it has not."""
    if not card.metrics:
        return ""
    counts = card.metrics["counts"]
    return _("Validation: {right} of {images} images right, {missed} of {positive} {condition} missed.").format(
        condition=card.condition.label,
        right=counts["true_positives"] + counts["true_negatives"],
        images=card.metrics["images"],
        missed=counts["false_negatives"],
        positive=counts["true_positives"] + counts["false_negatives"],
    )


def _model_fields(card: ModelCard) -> dict:
    """Return the fields that identify the model in the JSON file."""
    fields = {
        "graph_sha256": card.graph_sha256,
        "threshold": card.threshold,
        "uncertain": card.uncertain,
        "synthetic": card.synthetic,
    }
    if card.scheme.several:
        groups = {group: list(types) for group, types in card.scheme.groups.items()}
        fields |= {"positive": list(card.positive), "groups": groups, "counted": list(card.scheme.counted)}
    return fields | ({"cell_types": card.cell_types} if card.cell_types else {})
