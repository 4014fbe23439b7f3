"""Write the tables and the report of a run over fields from its results, one field at a time."""

import dataclasses
import logging
import os
from collections.abc import Iterator
from typing import Any

from Classes import Helpers
from Classes.common import field_summary, json_files, provenance, table_files, terminal
from Classes.common.conditions import Condition
from Classes.common.translation import gettext as _
from Classes.fields.blast_model import BlastCard
from Classes.fields.field_models import describe_models
from Classes.fields.field_records import Record, read_record
from Classes.fields.output_files import OutputFolders
from Classes.fields.run_counts import CellCounter, RunCounts
from Classes.inference.model_card import ModelCard
from Classes.jobs import run_texts
from Classes.jobs.run_job import JobRun

log = logging.getLogger("Classifier")


@dataclasses.dataclass(frozen=True)
class FieldOutputs:
    """What to write; None: not written.

    Attributes:
      csv, json: one row per cell.
      html: the report.
      folders: see output_files.OutputFolders.
    """

    csv: str | os.PathLike[str] | None = None
    json: str | os.PathLike[str] | None = None
    html: str | os.PathLike[str] | None = None
    folders: OutputFolders = dataclasses.field(default_factory=OutputFolders)

    def prepared(self, condition: Condition) -> "FieldOutputs":
        """Return the same with names for the empty paths, see table_files.TableFiles.prepared."""
        tables = table_files.TableFiles(self.csv, self.json).prepared(condition)
        page = table_files.TableFiles(csv=self.html).prepared(condition)
        return FieldOutputs(tables.csv, tables.json, page.csv, self.folders)


@dataclasses.dataclass
class _Totals:
    """What the end of a run says: numbers of photographs, and the counts of cells."""

    fields: int = 0
    failed: int = 0
    matched: int = 0
    killed: list[str] = dataclasses.field(default_factory=list)


def write_outputs(run: JobRun, outputs: FieldOutputs, card: ModelCard, blasts: BlastCard | None) -> int:
    """Write everything that is known so far, print the differential, and log it in English.

    The results are read once for each output, so that the memory does not grow with the number of photographs.

    Args:
      run: with the results.
      outputs: what to write.
      card: of the model of cell types.
      blasts: the model of blasts, or None.
    Returns:
      number of photographs without a result.
    Raises:
      OSError: an output cannot be written.
    """
    report = _new_report() if outputs.html else None
    totals, counter = _Totals(), CellCounter(blasts)
    for record in _records(run):
        _add(record, totals, counter, report)
    counts, models = counter.result(), describe_models(card, blasts)
    _write_tables(run, outputs, counts, counter.cells, models)
    if outputs.html and report:
        report.write(outputs.html, counts, models["types"]["limits"])
        log.info("Wrote %s", outputs.html)
    outputs.folders.remove_leftovers(outputs.csv, outputs.json, outputs.html)
    _show_end(totals, counts, counter.cells, len(run.items), outputs)
    return totals.failed


def _new_report() -> Any:
    # Imported late: most runs need no templates.
    from Classes.fields import html_report

    return html_report.HtmlReport()


def _records(run: JobRun) -> Iterator[Record]:
    return (read_record(item.name, result) for item, result in run.results())


def _add(record: Record, totals: _Totals, counter: CellCounter, report: Any) -> None:
    totals.fields += 1
    if record.field is None:
        totals.failed += 1
        if record.code == run_texts.KILLED_PROCESS:
            totals.killed.append(record.name)
        if report:
            report.add_problem(record.name, record.error)
        return
    counter.add(record.field.cells)
    totals.matched += record.field.stain_matched
    if report:
        report.add_field(record.field, record.pictures)


def _cell_rows(run: JobRun) -> Iterator[dict[str, Any]]:
    for record in _records(run):
        if record.field:
            yield from (cell.row(record.name, record.field.scale) for cell in record.field.cells)


def _write_tables(run: JobRun, outputs: FieldOutputs, counts: RunCounts, cells: int, models: dict[str, Any]) -> None:
    if outputs.csv:
        table_files.write_plain_csv(outputs.csv, _cell_rows(run), "field")
        log.info("Wrote %d rows to %s", cells, outputs.csv)
    if outputs.json:
        content = {
            "notice": Helpers.DISCLAIMER,
            "software_version": provenance.version(),
            "models": models,
            "suggested": True,
            "counts": counts.to_json(),
        }
        lists = {"fields": (record.row() for record in _records(run)), "cells": _cell_rows(run)}
        json_files.write_json_lists(outputs.json, content, lists)
        log.info("Wrote %d rows to %s", cells, outputs.json)


def _show_end(totals: _Totals, counts: RunCounts, cells: int, given: int, outputs: FieldOutputs) -> None:
    """Print the differential, and log it in English."""
    sentence = field_summary.show_summary(
        counts,
        log,
        fields=totals.fields,
        given=given,
        failed=totals.failed,
        matched=totals.matched,
        cells=cells,
    )
    run_texts.show_killed(totals.killed, log)
    folders = outputs.folders
    files = [(_("Report"), outputs.html), ("CSV", outputs.csv), ("JSON", outputs.json)]
    files += [(_("Overlays"), folders.overlay), ("GeoJSON", folders.geojson), (_("Cells"), folders.crops)]
    terminal.show_end(
        sentence,
        [(name, path) for name, path in files if path],
        "" if outputs.html else "python3 Classifier.py Field --html report.html FOLDER",
    )
