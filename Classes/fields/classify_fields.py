"""Find, type and count the white cells of photographed fields: the loop of Classifier.py Field."""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.common import (
    atomic_files,
    field_summary,
    image_lines,
    input_files,
    json_files,
    logs,
    output_folders,
    provenance,
    table_files,
    terminal,
    translation,
)
from Classes.common.config import Configuration
from Classes.common.errors import ALLError, ConfigurationError, GraphError, ImageError
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.fields import field_texts, run_counts
from Classes.fields.analyze import Field, Finder, analyze_field
from Classes.fields.blast_model import BlastModel
from Classes.fields.cell_typing import CellTyper
from Classes.fields.output_files import OutputFolders
from Classes.fields.scale import scale_from_file
from Classes.fields.typed_cells import TypedCell
from Classes.imaging import decode
from Classes.inference import device_selection
from Classes.inference.model_card import ModelCard, load_model_card

# The cards of the models that come with the project: the types, unless --model names another one, and the finder.
TYPE_MODEL, FINDER = "Model/WhiteCells/WhiteCells.json", "Model/Finder/Finder.json"

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


class _Run:
    """What a run has found so far."""

    def __init__(self, keeps_report: bool) -> None:
        self.fields: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.cells: list[TypedCell] = []
        self.matched = 0
        self.report: Any = None
        if keeps_report:
            # Imported late: most runs need no templates.
            from Classes.fields import html_report

            self.report = html_report.HtmlReport()

    @property
    def failed(self) -> int:
        return sum(field["error"] is not None for field in self.fields)

    def add(self, field: Field, image: Any) -> None:
        self.fields.append(field.row())
        self.cells += field.cells
        self.rows += [cell.row(field.name, field.scale) for cell in field.cells]
        self.matched += field.stain_matched
        if self.report:
            self.report.add_field(image, field)

    def add_problem(self, name: str, error: ALLError) -> None:
        self.fields.append({"field": name, "white_cells": None, "code": error.code, "error": str(error)})
        if self.report:
            self.report.add_problem(name, error)


def shipped_file(configuration: Configuration, name: str) -> pathlib.Path:
    """Return a file that comes with the project: the one in the folder of the configuration, if there is one."""
    path = configuration.root / name
    return path if path.is_file() else PROJECT / name


def classify_fields(
    configuration: Configuration,
    card: ModelCard,
    finder: Finder,
    sources: Sequence[str],
    outputs: FieldOutputs,
    scale: float | None = None,
) -> int:
    """Find, type and count the white cells of fields.

    Args:
      configuration: Configuration; `ALLGraph` is the model of blasts, if it exists.
      card: of the model of cell types.
      finder: finds the cells.
      sources: files and folders.
      outputs: what to write.
      scale: micrometers per pixel; None: from the file or the image.
    Returns:
      exit code: 0, or 1 if a photograph has no result.
    Raises:
      ALLError: no images, no model, no device, or an output cannot be written.
    """
    if not card.cell_types:
        raise ConfigurationError(
            Message("{path}: this is no model of cell types. Name one with --model.", path=card.path),
            "not_a_cell_type_model",
        )
    tables = table_files.TableFiles(outputs.csv, outputs.json).prepared(card.condition)
    page = table_files.TableFiles(csv=outputs.html).prepared(card.condition).csv
    files = input_files.resolve_inputs(configuration, sources)
    outputs.folders.prepare()
    run = _Run(page is not None)
    with contextlib.ExitStack() as stack:
        blasts = _open_blast_model(configuration, stack)
        backend = stack.enter_context(device_selection.open_backend(configuration, card))
        typer = CellTyper(card, backend, configuration["InceptionThreshold"], blasts)
        log.info(Helpers.DISCLAIMER)
        try:
            with image_lines.ImageLines(map(str, files)) as lines:
                for path, stem in zip(files, output_folders.unique_stems(files), strict=True):
                    _classify_field(configuration, path, stem, finder, typer, scale, outputs.folders, run, lines)
        finally:
            # Keep what is done, also after Ctrl-C.
            counts = run_counts.count_cells(run.cells, blasts)
            _write(tables, page, run, counts, describe_models(card, blasts))
            _show_end(run, counts, len(files), tables, page, outputs.folders)
    return 1 if run.failed else 0


def _classify_field(
    configuration: Configuration,
    path: pathlib.Path,
    stem: str,
    finder: Finder,
    typer: CellTyper,
    scale: float | None,
    folders: OutputFolders,
    run: _Run,
    lines: image_lines.ImageLines,
) -> None:
    """Add one field to the run and write its files; if it has no answer, log why."""
    name = input_files.display_path(path)
    try:
        image = decode.decode_image(path, decode.decode_limits(configuration))
        field = analyze_field(image, name, finder, typer, scale or scale_from_file(path))
    except ImageError as error:
        log.error("%s (%s)", error, error.code, extra=logs.LOG_ONLY)
        run.add_problem(name, error)
        lines.show_parts(path.name, (_("No result"), "magenta"))
        terminal.say(f"  {translation.localize(error)}", "magenta")
        return
    caption = field_texts.describe_caption(field)
    folders.write(image, field, stem, caption)
    run.add(field, image)
    with translation.use_language(translation.ENGLISH):
        log.info("%s: %s; %s", name, field_texts.describe_counts(field), field_texts.describe_scale(field))
        if field.stain_matched:
            log.info("%s: stain matched to that of the training images; types are less certain", name)
    review = field_texts.describe_review(field)
    # A narrow terminal cuts the end, which the table repeats for all fields.
    lines.show_parts(
        path.name,
        (", ".join(filter(None, [field_texts.describe_number(field), review])), "yellow" if review else ""),
        (f"  {field_texts.describe_scale(field)}", "dim"),
        (f"  {field_texts.describe_types(field)}", ""),
    )


def _open_blast_model(configuration: Configuration, stack: contextlib.ExitStack) -> BlastModel | None:
    """Open the user's model of blasts; None if there is none that knows real cells."""
    try:
        card = load_model_card(configuration.card)
    except GraphError as error:
        if error.code not in ("no_model", "cell_type_model"):
            raise
        log.info("No model of blasts (%s), so blasts are not counted.", configuration.card)
        return None
    if card.synthetic:
        log.warning(
            "%s was trained on synthetic smears, so it is not used and blasts are not counted.", card.graph_path
        )
        return None
    backend = stack.enter_context(device_selection.open_backend(configuration, card))
    log.info("Blasts are detected by %s.", card.graph_path)
    return BlastModel(card, backend, configuration["InceptionThreshold"])


def describe_models(card: ModelCard, blasts: BlastModel | None) -> dict[str, Any]:
    """Return the fields that identify the models in the JSON file."""
    about = card.cell_types or {}
    models: dict[str, Any] = {
        "types": {"graph": card.graph, "graph_sha256": card.graph_sha256, "limits": about["limits"]},
        "blasts": None,
    }
    if blasts:
        metrics = blasts.card.metrics or {}
        models["blasts"] = {
            "graph": blasts.card.graph,
            "graph_sha256": blasts.card.graph_sha256,
            "threshold": blasts.card.threshold,
            "sensitivity": metrics.get("sensitivity"),
            "specificity": metrics.get("specificity"),
        }
    return models


def _write(
    tables: table_files.TableFiles,
    page: str | os.PathLike[str] | None,
    run: _Run,
    counts: run_counts.RunCounts,
    models: dict[str, Any],
) -> None:
    if tables.csv:
        table_files.write_plain_csv(tables.csv, run.rows, "field")
        log.info("Wrote %d rows to %s", len(run.rows), tables.csv)
    if tables.json:
        content = {
            "notice": Helpers.DISCLAIMER,
            "software_version": provenance.version(),
            "models": models,
            "suggested": True,
            "counts": counts.to_json(),
            "fields": run.fields,
            "cells": run.rows,
        }
        json_files.write_json(tables.json, content, into=True)
        log.info("Wrote %d rows to %s", len(run.rows), tables.json)
    if page:
        text = run.report.render(counts, models["types"]["limits"])
        atomic_files.write_atomic(page, text, into=True)
        log.info("Wrote %s", page)


def _show_end(
    run: _Run,
    counts: run_counts.RunCounts,
    given: int,
    tables: table_files.TableFiles,
    page: str | os.PathLike[str] | None,
    folders: OutputFolders,
) -> None:
    """Print the differential, and log it in English."""
    sentence = field_summary.show_summary(
        counts,
        log,
        fields=len(run.fields),
        given=given,
        failed=run.failed,
        matched=run.matched,
        cells=len(run.cells),
    )
    files = [(_("Report"), page), *((kind.upper(), path) for kind, path in tables.paths.items())]
    files += [(_("Overlays"), folders.overlay), ("GeoJSON", folders.geojson), (_("Cells"), folders.crops)]
    terminal.show_end(
        sentence,
        [(name, path) for name, path in files if path],
        "" if page else "python3 Classifier.py Field --html report.html FOLDER",
    )
