"""Classify image files: the loop of Classifier.py."""

import logging
import os
import pathlib
import time
from collections.abc import Sequence

from Classes import Helpers
from Classes.common import (
    image_lines,
    input_files,
    known_classes,
    logs,
    provenance,
    result_table,
    summary,
    table_files,
    terminal,
)
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.common.translation import gettext as _
from Classes.common.translation import text_of
from Classes.imaging import content_check, decode
from Classes.inference import device_selection, image_review
from Classes.inference.backend import InferenceBackend
from Classes.inference.model_card import ModelCard, load_model_card
from Classes.inference.prediction import make_prediction

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
) -> int:
    """Classify images and log how many results are correct.

    Args:
      configuration: Configuration.
      sources: files and folders; by default `TestImagePath`.
      csv_path, json_path, xlsx_path, parquet_path: files to write, with one row per image, or None.
      labels: where the true classes are known from, one of known_classes.SOURCES.
      csv_locale: see table_files.TableFiles.
      any_model: also a model that detects nothing, such as one of cell types.
    Returns:
      exit code: 0, or 1 if an image could not be read.
    Raises:
      ALLError: no images, no model, or no device.
    """
    tables = table_files.TableFiles(csv_path, json_path, xlsx_path, parquet_path, csv_locale)
    files, skipped = input_files.find_inputs(configuration, sources)
    card = load_model_card(configuration.card, cell_types=any_model)
    tables = tables.prepared(card.condition)
    known = known_classes.find_known_classes(files, card.scheme, card.condition, labels)
    titles = (card.cell_types or {}).get("names", {})
    rows: list[result_table.Row] = []
    with device_selection.open_backend(configuration, card) as backend:
        log.info("Classifier class initialization complete.")
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning(Helpers.SYNTHETIC)
        for limit in (card.cell_types or {}).get("limits", [])[:SHOWN_LIMITS]:
            log.info(limit)
            terminal.say(limit)
        log.info("%s %s Classifier started.", SYSTEM_NAME, backend.name)
        try:
            with image_lines.ImageLines(map(str, files)) as lines:
                for path, truth in zip(files, known.classes, strict=True):
                    rows.append(_classify_file(configuration, card, backend, path, truth))
                    lines.show_classes(path.name, rows[-1], card.scheme, titles, card.condition)
        finally:
            # Keep what is done, also after Ctrl-C.
            found = summary.summarize(
                rows, len(files), skipped, known.note, condition=card.condition, scheme=card.scheme
            )
            table_files.write_tables(tables, rows, _model_fields(card), found, log)
            result_table.log_summary(rows, found, log)
            shown = [(kind.upper(), path) for kind, path in tables.paths.items()]
            validation = ""
            if os.environ.get(terminal.STEP):
                # The end of `sh Setup.sh Run`: also what Validation.py found.
                shown.append((_("Report"), configuration.path("ReportDir") / "Report.html"))
                validation = _describe_validation(card)
            following = "python3 Server.py --open" if card.positive else "python3 Classifier.py FOLDER"
            image_lines.show_summary(found, shown, following, validation)
    return 1 if any(row["error"] for row in rows) else 0


def _classify_file(
    configuration: Configuration, card: ModelCard, backend: InferenceBackend, path: pathlib.Path, truth: str | None
) -> result_table.Row:
    """Return the row of one image; if it cannot be read, log the error and return a row with `error`."""
    name = input_files.display_path(path)
    row = result_table.new_row(name, truth, card.classes, card.scheme)
    titles = (card.cell_types or {}).get("names")
    row |= {"class_title": None} if titles else {}
    try:
        image = card.input_spec.decode_and_resize(path, decode.decode_limits(configuration))
        content_check.require_content(image, name)
    except ImageError as error:
        log.error("%s", error, extra=logs.LOG_ONLY)
        return {**row, "error": text_of(error)}
    log.info("Loaded test image %s", name)
    log.info("%s %s detection started.", SYSTEM_NAME, backend.name)
    start = time.perf_counter()
    [probabilities], source = backend.classify_with_source(image[None])
    seconds = time.perf_counter() - start
    log.info("%s %s detection ended taking %s", SYSTEM_NAME, source.name, seconds)
    review = image_review.review_image(image, card)
    prediction = make_prediction(probabilities, card, configuration["InceptionThreshold"], review.reasons)
    class_correct = prediction.is_label_correct(row["truth"])
    correct = prediction.is_correct(row["truth"]) if card.positive else class_correct
    level = logging.WARNING if correct is False else logging.INFO
    log.log(level, "%s", prediction.message(seconds, row["truth"]), extra=logs.LOG_ONLY)
    found = {
        "class": prediction.label,
        "verdict": prediction.description,
        "confidence": prediction.confidence,
        "low": prediction.low_confidence,
        "uncertain": prediction.uncertain,
        **{f"probability_{label}": value for label, value in prediction.probabilities.items()},
        "correct": correct,
        "seconds": seconds,
        "engine": source.name,
        "precision": source.precision,
        "remark": review.remark,
        "outcome": prediction.outcome,
        "reasons": list(prediction.reasons),
        "all_probability": prediction.positive_probability,
        "class_confidence": prediction.label_confidence,
        "group": prediction.group,
        "group_confidence": prediction.group_confidence,
        "class_correct": class_correct,
        "class_title": titles and titles[prediction.label],
        "model": result_table.model_name(card.network, card.graph_sha256),
        "software_version": provenance.version(),
    }
    # A row has the columns of its model.
    row |= {key: value for key, value in found.items() if key in row}
    if card.scheme.several:
        log.info("%s: %s", name, _describe_class(row), extra=logs.LOG_ONLY)
    result_table.log_warnings(row, card.condition, log)
    return row


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
