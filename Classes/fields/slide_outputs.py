"""Write what was found on slides: tables, report, density, GeoJSON and cells, one cell at a time."""

import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import atomic_files, json_files, output_folders, provenance, table_files
from Classes.common.cell_counts import RunCounts
from Classes.common.conditions import Condition
from Classes.fields import geojson, output_files, slide_picture, slide_records, slide_texts
from Classes.fields.analyze import Field
from Classes.fields.output_files import OutputFolders
from Classes.fields.slide_plan import SlideCrops
from Classes.fields.slide_records import SlideRecord
from Classes.fields.typed_cells import TypedCell
from Classes.imaging import decode, slide_reader
from Classes.imaging.slide_reader import Slide

# Cells of a type and a slide in the report.
REPORTED = 60

log = logging.getLogger("Classifier")

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class SlideOutputs:
    """What to write; None: not written.

    Attributes:
      csv, json: one row per cell.
      html: the report.
      folders: see output_files.OutputFolders; the overlay is the density of cells and blasts.
    """

    csv: Path | None = None
    json: Path | None = None
    html: Path | None = None
    folders: OutputFolders = dataclasses.field(default_factory=OutputFolders)

    def prepared(self, condition: Condition) -> "SlideOutputs":
        """Return the same with names for empty paths, after checking that all can be written.

        Raises:
          ConfigurationError: one cannot be written.
        """
        tables = table_files.TableFiles(self.csv, self.json).prepared(condition)
        page = table_files.TableFiles(csv=self.html).prepared(condition).csv
        self.folders.prepare()
        return SlideOutputs(tables.csv, tables.json, page, self.folders)

    def write(
        self,
        records: Sequence[SlideRecord],
        counts: RunCounts,
        models: dict[str, Any],
        limits: decode.DecodeLimits,
        blast: str = "",
    ) -> None:
        """Write everything.

        Args:
          counts: of all cells.
          models: that were used, for the JSON file.
          limits: for reading the slides.
          blast: what is called a blast; "" without a model of blasts.
        Raises:
          OSError: a file cannot be written.
        """
        if self.csv:
            table_files.write_plain_csv(self.csv, _rows(records), "slide")
            log.info("Wrote %d rows to %s", sum(record.cells for record in records), self.csv)
        if self.json:
            head = {
                "notice": Helpers.DISCLAIMER,
                "software_version": provenance.version(),
                "models": models,
                "suggested": True,
                "counts": counts.to_json(),
            }
            lists = {"slides": (record.row() for record in records), "cells": _rows(records)}
            json_files.write_json_lists(self.json, head, lists)
            log.info("Wrote %d rows to %s", sum(record.cells for record in records), self.json)
        report = None
        if self.html:
            # Imported late: most runs need no templates.
            from Classes.fields import html_report

            report = html_report.HtmlReport(of_slides=True)
        for record, stem in zip(
            records, output_folders.unique_stems([pathlib.Path(r.path) for r in records]), strict=True
        ):
            if record.error is not None:
                if report:
                    report.add_problem(record.name, record.error)
                continue
            self._write_slide(record, stem, report, limits, blast)
        if self.html and report:
            report.write(self.html, counts, models["types"]["limits"])
            log.info("Wrote %s", self.html)

    def _write_slide(
        self, record: SlideRecord, stem: str, report: Any, limits: decode.DecodeLimits, blast: str
    ) -> None:
        if self.folders.geojson:
            path = pathlib.Path(self.folders.geojson, f"{stem}.geojson")
            with atomic_files.atomic_replace(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
                for text in _geojson(record):
                    file.write(text)
        if not (report or self.folders.overlay or self.folders.crops):
            return
        with slide_reader.open_slide(record.path, limits) as slide:
            if report or self.folders.overlay:
                thumbnail = slide_picture.draw_thumbnail(slide, record)
                if self.folders.overlay:
                    content = slide_picture.draw_density(thumbnail, record, blast)
                    atomic_files.write_atomic(pathlib.Path(self.folders.overlay, f"{stem}.jpg"), content)
                if report:
                    _add_to_report(report, slide, record, thumbnail)
            if self.folders.crops:
                _write_crops(pathlib.Path(self.folders.crops), stem, slide, record)


def slide_field(record: SlideRecord, cells: Sequence[TypedCell] = ()) -> Field:
    """Return a slide with some of its cells in the form of a field."""
    assert record.plan is not None
    grid, plan = record.plan.grid, record.plan
    return Field(
        record.name,
        grid.width,
        grid.height,
        tuple(cells),
        grid.microns,
        plan.scale_source,
        0.0,
        "",
        "",
        plan.stain is not None,
    )


def _rows(records: Sequence[SlideRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        if record.plan is not None:
            for cell in record.iterate():
                row = cell.row(record.name, record.plan.grid.microns)
                yield {"slide": row.pop("field"), **row}


def _geojson(record: SlideRecord) -> Iterator[str]:
    """Yield the parts of a GeoJSON file, with coordinates in pixels of the slide (level 0)."""
    field, separator = slide_field(record), "\n"
    yield '{"type": "FeatureCollection", "features": ['
    for cell in record.iterate():
        yield separator + json.dumps(geojson.feature(field, cell), ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _crops(slide: Slide, record: SlideRecord, cells: Sequence[TypedCell]) -> SlideCrops:
    assert record.plan is not None
    return SlideCrops(slide, cells, record.plan.grid.microns, record.plan.background)


def _add_to_report(report: Any, slide: Slide, record: SlideRecord, thumbnail: numpy.ndarray) -> None:
    """Add the least certain cells of each type, because a browser cannot show all of a slide."""
    from Classes.fields import html_report

    cells = slide_records.least_certain(record.iterate(), REPORTED)
    field = slide_field(record, cells)
    pictures = html_report.draw_pictures(thumbnail, field, _crops(slide, record, cells))
    report.add_field(field, pictures, slide_texts.describe_report(record, len(cells)))


def _write_crops(folder: pathlib.Path, stem: str, slide: Slide, record: SlideRecord) -> None:
    for cell in record.iterate():
        path = folder / cell.group.replace(" ", "_") / f"{stem}_{cell.number:06d}.png"
        atomic_files.write_atomic(path, output_files.encode(_crops(slide, record, [cell])[0], "PNG"))
