"""Crop the annotated cells of photographs into class folders: Data.py Fields FOLDER.

The name of a crop begins with the name of its photograph, Im001_1__cell_00612x00344.png, so that all cells of a
photograph are in one group; see grouping.source_image_key. Patients of photographs are taken from groups.csv in their
folder.
"""

import collections
import csv
import dataclasses
import hashlib
import io
import logging
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy
import PIL.Image
import PIL.PngImagePlugin

from Classes import Helpers
from Classes.common import atomic_files, class_scheme, input_files, json_files, locks, logs, parallel, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError, ImageError, system_reason
from Classes.common.translation import Message, ngettext, text_of
from Classes.common.translation import gettext as _
from Classes.dataset import field_cells, grouping, patient_table
from Classes.dataset.field_cells import CellCrop, ClassMap
from Classes.imaging import cell_crops, color_stats, decode
from Classes.imaging.annotations import folder as annotation_folder
from Classes.imaging.annotations import record
from Classes.imaging.annotations.folder import AnnotatedField
from Classes.imaging.annotations.record import Problem

# Side of a written crop: what the network crops to its input of 299 pixels. One size for all, because photographs of
# one class can have another resolution, and a network would learn the size instead of the cells.
CROP_SIZE = 342

# First words of the comment in a crop's file. The whole comment says how the crop was made; the next run can keep it.
RECIPE_TAG = "ALL cell 1"

REPORT = "Fields.json"

log = logging.getLogger("Data")


# Gives (white cells with x, y, width and height in pixels; micrometers per pixel or None) of the path and the pixels of
# a photograph, uint8 [H, W, 3].
Finder = Callable[[pathlib.Path, numpy.ndarray], tuple[Sequence[Any], float | None]]


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
      classes: {label: class folder}; empty: every label has a folder of its name.
      others: class folder of white cells without annotation, or None.
      scale: micrometers per pixel of all photographs, or None.
      open_finder: opens what finds the white cells without annotation, the size of points and the scale; or None.
    """

    classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    others: str | None = None
    scale: float | None = None
    open_finder: Callable[[], Finder] | None = None


def crop_annotated_fields(
    configuration: Configuration, source: pathlib.Path, request: Request, strict: bool = False
) -> int:
    """Write the annotated cells of photographs to class folders in DatasetDir, and a report.

    A second run writes what is missing or has changed, and removes crops that are no longer annotated.

    Args:
      configuration: Configuration.
      source: photographs and their annotations.
      request: Request.
      strict: return exit code 1 if something could not be used.
    Returns:
      exit code.
    Raises:
      DataError: see annotation_folder.read_folder; `same_stem`, `no_cells`, `two_tables`.
      ALLError: the finder cannot be opened.
    """
    target = configuration.path("DatasetDir")
    left_out = [target, configuration.path("ReportDir"), configuration.path("RunsDir")]
    # The user can keep the photographs in a folder that is left out by default.
    left_out = [path for path in left_out if not source.resolve().is_relative_to(path.resolve())]
    fields, problems = annotation_folder.read_folder(configuration, source, left_out)
    _check_stems(fields)
    _warn_about_suggestions(fields)
    labels = [cell.label for field in fields for cell in field.entry.cells]
    classes = field_cells.map_classes(labels, request.classes, _positive_class(configuration), request.others)
    # Late, so that a mistake in the folder is reported at once.
    find = request.open_finder() if request.open_finder else None
    with locks.folder_lock(target):
        _write_patients(configuration, source, target, fields)
        rows = []
        for found, wrong in _crop_all(configuration, target, fields, classes, request.scale, find):
            rows += found
            problems += wrong
        if not rows:
            raise _no_cells(source, problems)
        removed = _remove_stale(target, fields, {row["file"] for row in rows})
        counts = collections.Counter(row["class"] for row in rows)
        report = {
            "notice": Helpers.DISCLAIMER,
            "folder": str(source),
            "photographs": len(fields),
            "classes": {name: counts[name] for name in sorted(counts)},
            "cells": [{key: value for key, value in row.items() if key != "written"} for row in rows],
            "problems": [dataclasses.asdict(problem) for problem in problems],
        }
        json_files.write_json(configuration.path("ReportDir") / REPORT, report)
    _show(configuration, report, sum(row["written"] for row in rows), removed)
    return 1 if strict and problems else 0


def _warn_about_suggestions(fields: Sequence[AnnotatedField]) -> None:
    suggested = sum(field.kind == annotation_folder.OWN for field in fields)
    if suggested:
        log.warning(
            "The classes of %d photographs are suggestions of Classifier.py Field. Look at the crops before training.",
            suggested,
        )


def _positive_class(configuration: Configuration) -> str:
    """Return PositiveClass if it is one class, else ""."""
    positive = class_scheme.configured_positive(configuration)
    return positive[0] if len(positive) == 1 else ""


def _check_stems(fields: Sequence[AnnotatedField]) -> None:
    stems: dict[str, str] = {}
    for field in fields:
        other = stems.setdefault(_stem(field).casefold(), field.name)
        if other != field.name:
            message = Message(
                "{name} and {other}: their cells would have the same names. Rename one of the photographs.",
                name=field.name,
                other=other,
            )
            raise DataError(message, "same_stem")


def _stem(field: AnnotatedField) -> str:
    return input_files.readable(input_files.stem(field.path))


def _no_cells(source: pathlib.Path, problems: Sequence[Problem]) -> DataError:
    counts = collections.Counter(problem.code for problem in problems)
    found = "; ".join(f"{count} {record.PROBLEMS[code]}" for code, count in counts.most_common(3)) or "-"
    return DataError(
        Message(
            "{folder}: no annotated white cell can be used ({found}). Name the classes with --class NAME=FOLDER, and "
            "the scale of points with --scale UM.",
            folder=source,
            found=found,
        ),
        "no_cells",
    )


def _write_patients(
    configuration: Configuration, source: pathlib.Path, target: pathlib.Path, fields: Sequence[AnnotatedField]
) -> None:
    """Write the patients of the photographs to groups.csv in the target, if they are known."""
    table = grouping.load_patient_map(source)
    # The first folder of a name stands for its class, and a row that names a folder means one below it.
    names = [f"{source.name}/{field.name}" for field in fields]
    patients = grouping.assign_groups(names, configuration["GroupPattern"], table).patients
    if not patients:
        return
    rows = sorted((pathlib.PurePosixPath(name).name, patient) for name, patient in patients.items())
    path = target / grouping.GROUPS_FILE
    if path.exists():
        known = patient_table.read(target)
        if any(
            patient_table.same_patient(known.get(file, "")) != patient_table.same_patient(each) for file, each in rows
        ):
            message = Message(
                "{path}: does not list the photographs with their patients in {source}. Add these rows to it.",
                path=path,
                source=source / grouping.GROUPS_FILE,
            )
            raise DataError(message, "two_tables")
        return
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("file", "patient"), *rows])
    atomic_files.write_atomic(path, text.getvalue())


def _crop_all(
    configuration: Configuration,
    target: pathlib.Path,
    fields: Sequence[AnnotatedField],
    classes: ClassMap,
    stated_scale: float | None,
    find: Finder | None,
) -> Iterable[tuple[list[dict[str, Any]], list[Problem]]]:
    """Yield (rows of the report, problems) of every photograph."""
    limits = decode.decode_limits(configuration)

    def crop(field: AnnotatedField) -> tuple[list[dict[str, Any]], list[Problem]]:
        """Write the cells of a photograph."""
        try:
            content = field.path.read_bytes()
            image = decode.decode_image(content, limits, name=field.name)
        except OSError as error:
            text = Message("{file} cannot be read: {reason}", file=field.name, reason=system_reason(error))
            return [], [Problem(record.UNREADABLE_PHOTOGRAPH, field.name, text)]
        except ImageError as error:
            return [], [Problem(record.UNREADABLE_PHOTOGRAPH, field.name, text_of(error))]
        cells, problems = field.cells(image.shape[1], image.shape[0])
        if problems and problems[0].code == record.OTHER_SIZE:
            return [], problems
        found, measured = find(field.path, image) if find else ((), None)
        crops, unplaced = field_cells.select_cells(cells, classes, field.name, stated_scale or measured, found)
        rows = _write_crops(target, field, image, hashlib.sha256(content).hexdigest(), crops)
        return rows, problems + unplaced

    # The finder uses all cores for one photograph.
    workers = 1 if find else configuration.workers
    with logs.progress(total=len(fields), desc=_("Photographs"), unit="image") as bar:
        for result in parallel.map_threads(crop, ((field,) for field in fields), workers):
            bar.update(1)
            yield result


def _write_crops(
    target: pathlib.Path, field: AnnotatedField, image: numpy.ndarray, sha256: str, crops: Sequence[CellCrop]
) -> list[dict[str, Any]]:
    """Write the crops of a photograph that do not exist yet; return their rows of the report."""
    background = color_stats.background_color(image) if crops else None
    rows: dict[str, dict[str, Any]] = {}
    for cell in crops:
        name = f"{cell.class_name}/{_stem(field)}__cell_{max(0, round(cell.x)):05d}x{max(0, round(cell.y)):05d}.png"
        recipe = f"{RECIPE_TAG} {sha256} {cell.x:.1f} {cell.y:.1f} {cell.side:.1f} {CROP_SIZE} pillow {PIL.__version__}"
        written = _recipe(target / name) != recipe
        if written:
            pixels = cell_crops.crop_cell(image, cell.x, cell.y, cell.side, background)
            picture = PIL.Image.fromarray(pixels).resize((CROP_SIZE, CROP_SIZE), PIL.Image.Resampling.BICUBIC)
            notes = PIL.PngImagePlugin.PngInfo()
            notes.add_text("Comment", recipe)
            made = io.BytesIO()
            picture.save(made, "PNG", pnginfo=notes)
            atomic_files.write_atomic(target / name, made.getvalue())
        # Two found cells can have their centers in one pixel.
        rows[name] = {
            "file": name,
            "photograph": field.name,
            "class": cell.class_name,
            "x": round(cell.x, 1),
            "y": round(cell.y, 1),
            "side": round(cell.side, 1),
            "written": written,
        }
    return list(rows.values())


def _recipe(path: pathlib.Path) -> str:
    """Return how a crop was made; "" if there is no such file, or it is not a crop."""
    try:
        with PIL.Image.open(path, formats=("PNG",)) as image:
            return str(image.info.get("Comment", ""))
    except (OSError, SyntaxError, ValueError):
        return ""


def _remove_stale(target: pathlib.Path, fields: Sequence[AnnotatedField], kept: set[str]) -> int:
    """Remove crops of these photographs that are no longer annotated, or now have another class."""
    stems = {_stem(field) for field in fields}
    removed = 0
    for folder in input_files.list_visible(target):
        for path in input_files.list_visible(folder) if folder.is_dir() else ():
            stem = grouping.CELL.split(path.stem)[0]
            stale = path.suffix == ".png" and stem in stems and stem != path.stem
            if stale and f"{folder.name}/{path.name}" not in kept and _recipe(path).startswith(RECIPE_TAG):
                path.unlink()
                removed += 1
    return removed


def _show(configuration: Configuration, report: Mapping[str, Any], written: int, removed: int) -> None:
    total = sum(report["classes"].values())
    listed = ", ".join(f"{name} {count}" for name, count in report["classes"].items())
    log.info("Cells: %d of %d photographs: %s.", total, report["photographs"], listed)
    log.info(
        "%d crops existed already, %d were written, %d of older annotations were removed.",
        total - written,
        written,
        removed,
    )
    by_code: dict[str, list[str]] = collections.defaultdict(list)
    for problem in report["problems"]:
        by_code[problem["code"]].append(problem["text"])
    for code, what in record.PROBLEMS.items():
        if by_code[code]:
            log.warning("Not used: %d (%s), for example: %s.", len(by_code[code]), what, by_code[code][0])
    command = ""
    if len(report["classes"]) == 1:
        log.warning(
            "All cells are of class %s. Training needs a second class, for example with --others FOLDER.", listed
        )
    else:
        command = "python3 Data.py"
        if not configuration.accepts_class_count(len(report["classes"])):
            command += f" --set NumClasses={len(report['classes'])}"
        log.info("Next: %s", command)
    path = configuration.path("ReportDir") / REPORT
    cells = ngettext("{count} cell", "{count} cells", total).format(count=total)
    photographs = ngettext("{count} photograph", "{count} photographs", report["photographs"]).format(
        count=report["photographs"]
    )
    terminal.show_end(
        _("Cropped {cells} of {photographs}: {classes}.").format(cells=cells, photographs=photographs, classes=listed),
        files=[(_("Cells and problems"), path)],
        next_command=command,
    )
