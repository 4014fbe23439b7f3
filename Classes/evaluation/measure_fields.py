"""Find, count and type the white cells of annotated photographs, and measure how well: Validation.py Field FOLDER."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import atomic_files, json_files, locks, logs, provenance, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError, ImageError
from Classes.common.translation import Message, ngettext, text_of
from Classes.common.translation import gettext as _
from Classes.dataset import grouping
from Classes.evaluation import cell_types, field_metrics, field_report
from Classes.evaluation.field_metrics import FoundCell, MeasuredField
from Classes.imaging import decode
from Classes.imaging.annotations import folder as annotation_folder
from Classes.imaging.annotations import record
from Classes.imaging.annotations.folder import AnnotatedField
from Classes.imaging.annotations.record import Problem
from Classes.inference.model_card import ModelCard

# What annotators call a group of types, besides its name and the names of its types.
SPELLINGS = {"neutrophil": ("poly", "pmn"), "lymphocyte": ("lymph",), "erythroblast": ("nrbc", "normoblast")}

log = logging.getLogger("Validation")


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What finds and types the cells of a photograph.

    Attributes:
      find: of the path of a photograph, its pixels, uint8 [H, W, 3], and its name gives (cells, type of each); raises
        ImageError if the photograph cannot be a field.
      type_of: {annotated class in lower case: type}.
      models: what identifies the models, for JSON.
    """

    find: Callable[[pathlib.Path, numpy.ndarray, str], tuple[Sequence[FoundCell], Sequence[str]]]
    type_of: Mapping[str, str]
    models: Mapping[str, Any]


def measure_annotated_fields(
    configuration: Configuration,
    source: pathlib.Path,
    models: contextlib.AbstractContextManager[Analysis],
    scale: float | None = None,
) -> int:
    """Measure the finder, the counts and the types, and print and write the results.

    Args:
      configuration: Configuration.
      source: photographs and their annotations.
      models: opens what finds and types the cells, when the photographs are known.
      scale: micrometers per pixel that the user states, or None; for the report.
    Returns:
      exit code 0.
    Raises:
      ALLError: no annotated photographs, or a device failed.
    """
    folder = configuration.path("ReportDir")
    left_out = [] if source.resolve().is_relative_to(folder.resolve()) else [folder]
    fields, problems = annotation_folder.read_folder(configuration, source, left_out)
    log.info(Helpers.DISCLAIMER)
    with models as analysis:
        measured, more, pictures = _measure(configuration, source, fields, analysis)
        problems += more
        if not measured:
            raise DataError(
                Message(
                    "{folder}: no photograph can be measured, for example: {text}.",
                    folder=source,
                    text=problems[0].text,
                ),
                "no_images",
            )
        metrics = field_metrics.evaluate_fields(measured, analysis.type_of, configuration["RandomSeed"])
        report = {
            "notice": Helpers.DISCLAIMER,
            "created": provenance.utc_now_iso(),
            "software_version": provenance.version(),
            "folder": str(source),
            "models": dict(analysis.models),
            "scale": scale,
            **metrics,
            "problems": [dataclasses.asdict(problem) for problem in problems],
        }
    terminal.print_lines(["", *format_metrics(metrics), ""])
    with locks.folder_lock(folder):
        json_files.write_json(folder / field_report.JSON_FILE, report)
        page = field_report.render_page(report, pictures.drawn)
        atomic_files.write_atomic(folder / field_report.PAGE, page)
    _show(folder, metrics, problems)
    return 0


def annotated_types(card: ModelCard) -> dict[str, str]:
    """Return {annotated class in lower case: group of types} of a model of cell types."""
    about = card.cell_types or {}
    found: dict[str, str] = {}
    for group, types in about["groups"].items():
        names = [group, *types, *(about["names"][name] for name in types), *SPELLINGS.get(group, ())]
        names += [code for code, of in cell_types.COARSE.items() if of == group]
        found |= {spelling.casefold(): group for name in names for spelling in (name, f"{name}s")}
    return found


def _measure(
    configuration: Configuration, source: pathlib.Path, fields: Sequence[AnnotatedField], analysis: Analysis
) -> tuple[list[MeasuredField], list[Problem], field_report.Pictures]:
    limits = decode.decode_limits(configuration)
    groups = _groups(configuration, source, fields)
    measured, problems = [], []
    pictures = field_report.Pictures()
    for field in logs.progress(fields, desc=_("Photographs"), unit="image"):
        try:
            image = decode.decode_image(field.path, limits, name=field.name)
        except ImageError as error:
            problems.append(Problem(record.UNREADABLE_PHOTOGRAPH, field.name, text_of(error)))
            continue
        cells, wrong = field.cells(image.shape[1], image.shape[0])
        problems += wrong
        if any(problem.code == record.OTHER_SIZE for problem in wrong):
            continue
        white = tuple(cell for cell in cells if record.is_white_cell(cell.label))
        start = time.perf_counter()
        refused = None
        found: Sequence[FoundCell]
        types: Sequence[str]
        try:
            found, types = analysis.find(field.path, image, field.name)
        except ImageError as error:
            # No count is an answer too: all of its cells are missed.
            found, types, refused = (), (), error.code
        seconds = time.perf_counter() - start
        each = MeasuredField(
            field.name,
            groups[field.name],
            white,
            tuple(found),
            tuple(types),
            field.entry.complete,
            refused,
            seconds,
        )
        measured.append(each)
        pictures.add(each, image)
    return measured, problems, pictures


def _groups(configuration: Configuration, source: pathlib.Path, fields: Sequence[AnnotatedField]) -> dict[str, str]:
    """Return {name of the photograph: its patient, or else the photograph itself}."""
    names = {f"{source.name}/{field.name}": field.name for field in fields}
    table = grouping.load_patient_map(source)
    patients = grouping.assign_groups(names, configuration["GroupPattern"], table).patients
    return {short: f"patient {patients[name]}" if name in patients else short for name, short in names.items()}


def format_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return metrics of `field_metrics.evaluate_fields` as lines of text for a terminal."""
    heads: list[tuple[str, ...]] = [("", Message("value"), Message("95 % interval"), "")]
    rows = [tuple(map(terminal.shown, row)) for row in [*heads, *field_report.metric_rows(metrics)]]
    width = max(len(row[0]) for row in rows) + 1
    text = Message(
        "{annotated} annotated white cells in {photographs} photographs, {found} found, {matched} of them annotated",
        **{key: metrics[key] for key in ("annotated", "photographs", "found", "matched")},
    )
    lines: list[str] = [text, ""]
    lines += [f"{name:{width}}{value:>8}   {interval:18} {details}".rstrip() for name, value, interval, details in rows]
    lines += ["", Message("Errors of counts are in cells per photograph. Intervals are over photographs or patients.")]
    return lines + (["", *_format_confusion(metrics["types"])] if metrics["types"] else [])


def _format_confusion(types: Mapping[str, Any]) -> list[str]:
    """Return a block per annotated class, so that any number of types fits into any width."""
    lines: list[str] = [Message("Types of the found cells, by annotated class:")]
    for label, counts in zip(types["annotated"], types["confusion"], strict=True):
        found = sorted(
            ((count, name) for name, count in zip(types["types"], counts, strict=True) if count), reverse=True
        )
        if found:
            listed = ", ".join(f"{terminal.shown(Message(name))} {count}" for count, name in found)
            lines.append(f"  {terminal.shown(Message(label)) if label else '-'}: {listed}")
    return lines


def _show(folder: pathlib.Path, metrics: Mapping[str, Any], problems: Sequence[Problem]) -> None:
    counts = Counter(problem.code for problem in problems)
    for code, what in record.PROBLEMS.items():
        if counts[code]:
            example = next(problem.text for problem in problems if problem.code == code)
            log.warning("Not used: %d (%s), for example: %s.", counts[code], what, example)
    refused = sum(field["refused"] is not None for field in metrics["fields"])
    if refused:
        log.warning("%d photographs could not be counted, and all of their cells count as missed.", refused)
    log.info("Wrote %s and %s", folder / field_report.JSON_FILE, folder / field_report.PAGE)
    photographs = ngettext("{count} photograph", "{count} photographs", metrics["photographs"]).format(
        count=metrics["photographs"]
    )
    terminal.show_end(
        _("Measured on {photographs}.").format(photographs=photographs),
        [(_("Report"), folder / field_report.PAGE), (_("Metrics"), folder / field_report.JSON_FILE)],
    )
