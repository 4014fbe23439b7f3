"""Name the type of the cell in each image file, with a model of cell types: Classifier.py --model WhiteCells."""

import collections
import logging
import os
import pathlib
import time
from collections.abc import Sequence

import numpy

from Classes import Helpers
from Classes.common import image_lines, input_files, logs, result_table, table_files, terminal
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, ImageError
from Classes.common.translation import Message, ngettext
from Classes.imaging import content_check, decode
from Classes.inference import device_selection, image_review, prediction
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard

# Folder of the models that come with the project: <name>/<name>.pb.
SHIPPED_FOLDER = "Model"

log = logging.getLogger("Classifier")


def model_path(configuration: Configuration, name: str) -> pathlib.Path:
    """Return the graph that `--model` names: a file, or a model that comes with the project, such as WhiteCells.

    Raises:
      ConfigurationError: `unknown_model`.
    """
    folder = configuration.root / SHIPPED_FOLDER
    path = pathlib.Path(name).absolute().with_suffix(".pb")
    if pathlib.Path(name).suffix not in (".pb", ".json"):
        path = folder / name / f"{name}.pb"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*/*.pb") if each.stem == each.parent.name)
        raise ConfigurationError(
            Message(
                "--model {name}: {path} does not exist. Name a .pb file, or one of: {known}.",
                name=name,
                path=path,
                known=", ".join(known) or "-",
            ),
            "unknown_model",
        )
    return path


def type_files(
    configuration: Configuration,
    card: ModelCard,
    sources: Sequence[str] = (),
    csv_path: str | os.PathLike | None = None,
    json_path: str | os.PathLike | None = None,
) -> int:
    """Name the cell types of images and count them.

    Args:
      configuration: Configuration.
      card: of a model of cell types.
      sources: files and folders; by default `TestImagePath`.
      csv_path, json_path: files to write, with one row per image, or None.
    Returns:
      exit code: 0, or 1 if an image could not be read.
    Raises:
      ALLError: no images, or no device.
    """
    tables = table_files.TableFiles(csv_path, json_path).prepared(card.condition)
    files = input_files.resolve_inputs(configuration, sources)
    rows: list[result_table.Row] = []
    with device_selection.open_backend(configuration, card) as backend:
        log.info(Helpers.DISCLAIMER)
        for limit in (card.cell_types or {})["limits"][:2]:
            log.info(limit)
            terminal.say(limit)
        try:
            with image_lines.ImageLines(map(str, files)) as lines:
                for path in files:
                    row = _type_file(configuration, card, backend, path)
                    rows.append(row)
                    if row["error"]:
                        lines.show_error(path.name)
                    else:
                        _show_type(lines, card, row)
        finally:
            # Keep what is done, also after Ctrl-C.
            model = {"graph_sha256": card.graph_sha256, "cell_types": card.cell_types}
            table_files.write_plain_tables(tables, rows, model, log)
    _log_counts(card, rows)
    return 1 if any(row["error"] for row in rows) else 0


def _type_file(
    configuration: Configuration, card: ModelCard, backend: InferenceBackend, path: pathlib.Path
) -> result_table.Row:
    """Return the row of one image; if it cannot be read, log the error and return a row with `error`."""
    name = input_files.display_path(path)
    row: result_table.Row = dict.fromkeys(("file", "type", "name", "confidence", "group", "group_confidence", "low"))
    row |= {f"probability_{each}": None for each in card.classes}
    row |= dict.fromkeys(("seconds", "engine", "precision", "remark", "reasons", "error")) | {"file": name}
    try:
        image = card.input_spec.decode_and_resize(path, decode.decode_limits(configuration))
        content_check.require_content(image, name)
    except ImageError as error:
        log.error("%s", error, extra=logs.LOG_ONLY)
        return {**row, "error": str(error)}
    start = time.perf_counter()
    [probabilities], source = backend.classify_with_source(image[None])
    row["seconds"] = time.perf_counter() - start
    row |= _describe(card, probabilities, configuration["InceptionThreshold"])
    row |= {"engine": source.name, "precision": source.precision}
    review = image_review.review_image(image, card)
    row |= {"remark": review.remark, "reasons": " ".join(review.reasons)}
    low = "LOW " if row["low"] else ""
    log.info(
        "%s: %s (%s) with a %sconfidence of %s; %s %s",
        *(name, row["name"], row["type"], low, row["confidence"], row["group"], row["group_confidence"]),
    )
    result_table.log_image_reasons(name, review.reasons, card.condition, log)
    if row["remark"]:
        log.warning("%s: %s", name, row["remark"], extra=logs.LOG_ONLY)
    return row


def _show_type(lines: image_lines.ImageLines, card: ModelCard, row: result_table.Row) -> None:
    """Show the line of an image; yellow, if a person should look at it."""
    width = max(map(len, (card.cell_types or {})["names"].values()))
    style = "yellow" if row["low"] or row["reasons"] else ""
    lines.show_text(row["file"], row["name"].ljust(width), style, row["confidence"])


def _describe(card: ModelCard, probabilities: numpy.ndarray, threshold: float) -> result_table.Row:
    """Return the fields of a row that the probabilities, float32 [classes], decide.

    The type is the most likely one of the most likely group, so that type and group never contradict each other.
    """
    about = card.cell_types or {}
    values = dict(zip(card.classes, probabilities.tolist(), strict=True))
    groups = {group: sum(values[name] for name in types) for group, types in about["groups"].items()}
    group = max(groups, key=groups.__getitem__)
    label = max(about["groups"][group], key=values.__getitem__)
    return {
        "type": label,
        "name": about["names"][label],
        "confidence": round(values[label], 4),
        "group": group,
        "group_confidence": round(groups[group], 4),
        "low": not prediction.apply_threshold(groups[group], threshold),
        **{f"probability_{name}": value for name, value in values.items()},
    }


def _log_counts(card: ModelCard, rows: Sequence[result_table.Row]) -> None:
    typed = [row for row in rows if not row["error"]]
    counts = collections.Counter(row["group"] for row in typed)
    groups = ", ".join(f"{count} {group}" for group, count in counts.most_common())
    log.info("%d images: %s", len(typed), groups)
    low, unlike = sum(bool(row["low"]) for row in typed), sum(bool(row["remark"]) for row in typed)
    if low:
        log.warning("%d images have a low confidence; a person should look at them", low)
    if unlike:
        log.warning("%d images differ in color from the training images; they are named above", unlike)
    failed = len(rows) - len(typed)
    if failed:
        log.error("%d images have no result; they are named above", failed)
    text = ngettext("{count} image: {parts}.", "{count} images: {parts}.", len(typed))
    terminal.show_end(text.format(count=len(typed), parts=groups or "-"), next_command="python3 Classifier.py FOLDER")
