"""Evaluate the frozen graph on the validation split with the backend that serves it."""

import dataclasses
import itertools
import logging
import math
import pathlib
import time
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import class_scheme, file_system, json_files, locks, provenance, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError, GraphError, system_reason
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import audit, tfrecords
from Classes.evaluation import (
    color_baseline,
    evaluation_text,
    html_report,
    multiclass_plots,
    plots,
    run_evaluation,
    tensorboard_events,
    validation_metrics,
)
from Classes.imaging import content_check, decode
from Classes.inference import backend, class_activation, device_selection, model_card, prediction

log = logging.getLogger("Validation")
steps_log = logging.getLogger("tensorflow")


def evaluate_model(configuration: Configuration) -> int:
    """Measure the frozen graph on the validation split; return exit code 0.

    Writes TensorBoard events, `metrics.json` and plots to `LogDirEval`, adds the metrics to the model card, and writes
    the report.

    Raises:
      ALLError: no model, no shards, or a validation split other than the one the model was trained beside.
    """
    card = model_card.load_model_card(configuration.card, cell_types=True)
    manifest = tfrecords.load_manifest(configuration)
    check_split_matches_model(card, manifest)
    warn_about_condition(configuration, card)
    folder = configuration.path("LogDirEval")
    with locks.folder_lock(folder), device_selection.open_backend(configuration, card) as inference_backend:
        # Now, because Trainer.py may publish another model while this runs.
        explainer = class_activation.Explainer(card, inference_backend)
        tensorboard_events.archive_validation_events(folder)
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning("This model was trained on synthetic smears: its metrics say nothing about real cells.")
        rows, measured = _run_batches(configuration, card, manifest, inference_backend)
        baseline = color_baseline.measure_on_split(
            configuration, manifest, card.scheme, rows, validation_metrics.predicted_classes(card, rows)
        )
        measured["color_baseline"] = baseline
        evaluation_text.print_metrics(card, measured)
        metrics = _write_results(configuration, card, manifest, inference_backend, rows, measured)
        # The report links to the audit, which has to be of these images.
        audit.audit_if_outdated(configuration)
        html_report.write_report(configuration, card, manifest, metrics, explainer)
        run_evaluation.keep_evaluation(configuration, card, manifest, metrics, explainer)
    log.info("Wrote metrics.json and its plots to %s", folder)
    log.info("Next: python3 Classifier.py, python3 Validation.py Compare, or python3 Trainer.py Board")
    terminal.show_end(
        evaluation_text.end_sentence(card, measured),
        [(_("Report"), configuration.path("ReportDir") / "Report.html")],
        "python3 Classifier.py FOLDER",
    )
    return 0


def warn_about_condition(configuration: Configuration, card: model_card.ModelCard) -> None:
    """Log a warning if the model detects another condition than `Condition`."""
    if card.condition.short != configuration.condition.short:
        log.warning(
            "%s: the model detects %s, but Condition is %s. The results are named after the model.",
            card.path,
            card.condition.short,
            configuration.condition.short,
        )


def check_split_matches_model(card: model_card.ModelCard, manifest: tfrecords.Manifest) -> None:
    """Check that the validation split is the one that the model was not trained on.

    The training data of imported weights is unknown, which is a warning.

    Raises:
      GraphError: `other_shards`, if metrics could be measured on training images, or `other_classes`.
    """
    if card.imported:
        log.warning("Imported weights: if they were trained on any of these images, the metrics are too good.")
    elif manifest.sha256 != card.data.get("manifest_sha256"):
        raise GraphError(
            Message(
                "{path}: trained on other shards than those in {folder}, whose validation images may have "
                "been training images. Run python3 Trainer.py first.",
                path=card.path,
                folder=manifest.folder,
            ),
            "other_shards",
        )
    if tuple(manifest.classes) != card.classes:
        raise GraphError(
            Message(
                "{path}: the model has the classes {known}, the shards have {found}. Run python3 Trainer.py first.",
                path=card.path,
                known=", ".join(card.classes),
                found=", ".join(manifest.classes),
            ),
            "other_classes",
        )


def _run_batches(
    configuration: Configuration,
    card: model_card.ModelCard,
    manifest: tfrecords.Manifest,
    inference_backend: backend.InferenceBackend,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Classify every record `EpochsTest` times, with the historic log lines and TensorBoard events.

    Returns:
      (a row for each record of the first pass, result of `validation_metrics.all_metrics`).
    """
    passes, count = configuration["EpochsTest"], len(manifest.splits["validation"])
    rows: list[dict[str, Any]] = []
    step = correct = seen = 0
    patients = {item["sha256"]: item["patient"] for item in manifest.splits["validation"] if "patient" in item}
    with (
        tensorboard_events.ValidationWriter(configuration.path("LogDirEval")) as events,
        Helpers.progress(total=passes * count, unit="image") as bar,
    ):
        for number in range(passes):
            records = tfrecords.iter_records(configuration, "validation")
            while batch := list(itertools.islice(records, configuration["BatchTestSize"])):
                start = time.perf_counter()
                batch_rows, loss = _classify_batch(configuration, card, inference_backend, batch)
                for row in batch_rows:
                    row["patient"] = patients.get(row["sha256"], "")
                step, seen = step + 1, seen + len(batch_rows)
                correct += sum(row["correct"] for row in batch_rows)
                accuracy, seconds = correct / seen, time.perf_counter() - start
                steps_log.info("Global Step %d: Streaming Accuracy: %.4f (%.2f sec/step)", step, accuracy, seconds)
                events.write(step, {"Validation_Accuracy": accuracy, "Validation_losses/Total_Loss": loss})
                bar.update(len(batch_rows))
                # The metrics count each image once.
                rows += batch_rows if number == 0 else []
        _check_count(manifest, len(rows))
        metrics = validation_metrics.all_metrics(configuration, card, rows)
        if seen:
            steps_log.info("Final Streaming Accuracy: %.4f", correct / seen)
        else:
            steps_log.warning("Final Streaming Accuracy: none, the validation split is empty (see ValidationSize)")
        values = validation_metrics.event_scalars(metrics)
        events.write(step, {f"Validation_metrics/{name}": value for name, value in values.items()})
    steps_log.info("Model evaluation has completed! Visit TensorBoard for more information regarding your evaluation.")
    return rows, metrics


def _check_count(manifest: tfrecords.Manifest, found: int) -> None:
    listed = len(manifest.splits["validation"])
    if found != listed:
        message = Message(
            "{folder}: has {count} records, the manifest lists {listed}. Run python3 Data.py.",
            folder=manifest.folder,
            count=found,
            listed=listed,
        )
        raise DataError(message)


def _classify_batch(
    configuration: Configuration,
    card: model_card.ModelCard,
    inference_backend: backend.InferenceBackend,
    records: list[tfrecords.Record],
) -> tuple[list[dict[str, Any]], float]:
    """Return a row for each record, and the mean cross-entropy."""
    limits = decode.decode_limits(configuration)
    images = numpy.stack([card.input_spec.decode_and_resize(record.encoded, limits) for record in records])
    outputs, source = inference_backend.classify_with_source(images)
    rows, losses = [], []
    for record, image, probabilities in zip(records, images, outputs, strict=True):
        result = prediction.make_prediction(probabilities, card, configuration["InceptionThreshold"])
        # Data.py leaves out images without content, but shards of older versions may contain some.
        blank = not content_check.has_content(image)
        if blank:
            log.warning("%s: the image has no content and counts as uncertain. Run Data.py again.", record.filename)
        label = card.classes[record.label]
        # With the smallest float32 above 0, a confident error costs 87 instead of infinity.
        losses.append(-math.log(max(float(probabilities[record.label]), float(numpy.finfo("float32").tiny))))
        rows.append(
            {
                "filename": record.filename,
                "label": label,
                "group": record.group,
                "sha256": record.sha256,
                "engine": source.name,
                "precision": source.precision,
                "probabilities": result.probabilities,
                "detected": result.detected,
                "low": result.low_confidence,
                "uncertain": result.uncertain or blank,
                "correct": result.is_correct(label) if card.positive else result.is_label_correct(label),
            }
        )
    return rows, sum(losses) / len(losses)


def _write_results(
    configuration: Configuration,
    card: model_card.ModelCard,
    manifest: tfrecords.Manifest,
    inference_backend: backend.InferenceBackend,
    rows: list[dict[str, Any]],
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Write metrics.json, the plots and the metrics of the model card; return the content of metrics.json."""
    folder = configuration.path("LogDirEval")
    sources = [(row["engine"], row["precision"]) for row in rows] or [
        (inference_backend.name, inference_backend.precision)
    ]
    name, precision = backend.describe_source(sources)
    run = {
        "split": "validation",
        "positive": class_scheme.as_json(card.positive),
        "condition": card.condition.to_json(),
        "threshold": card.threshold,
        "engine": name,
        # "precision" is a metric.
        "arithmetic": precision,
        "manifest_sha256": manifest.sha256,
        "created": provenance.utc_now_iso(),
    }
    model = {"notice": Helpers.DISCLAIMER, "graph_sha256": card.graph_sha256, "synthetic": card.synthetic}
    metrics = {**model, **run, **measured, "predictions": rows}
    json_files.write_json(folder / "metrics.json", metrics)
    _draw_plots(folder, card, rows, measured)
    try:
        _record_in_card(configuration, card, {**run, **measured})
    except OSError as error:
        if error.errno not in file_system.FORBIDDEN:
            raise
        # A model on a read-only volume can be evaluated, too.
        reason = system_reason(error)
        log.warning("%s: %s. The metrics are in %s only.", configuration.card, reason, folder / "metrics.json")
    return metrics


def _draw_plots(
    folder: pathlib.Path, card: model_card.ModelCard, rows: list[dict[str, Any]], measured: dict[str, Any]
) -> None:
    """Draw the plots of disease or not and of several classes; remove plots of an earlier evaluation."""
    for name in multiclass_plots.FILES if measured.get("multiclass") is None else ():
        for path in (folder / name, (folder / name).with_suffix(".svg")):
            path.unlink(missing_ok=True)
    title = _("Validation on synthetic smears") if card.synthetic else _("Validation")
    forms = {"cross_fitted": _("{title}, cross-fitted"), "in_sample": _("{title}, in-sample (optimistic)")}
    title = forms.get(measured["basis"], "{title}").format(title=title)
    if card.positive:
        labels = numpy.array([row["label"] in card.positive for row in rows], bool)
        scores = numpy.array([prediction.positive_score(card, row) for row in rows], float)
        plots.plot_confusion_matrix(folder / "confusion.png", measured, title, card.condition)
        plots.plot_roc(folder / "roc.png", labels, scores, measured, title)
        plots.plot_reliability(folder / "reliability.png", measured["certainty"], title)
    if measured.get("multiclass"):
        multiclass_plots.plot_all(folder, card.scheme, rows, measured["multiclass"], title)


def _record_in_card(configuration: Configuration, card: model_card.ModelCard, measured: dict[str, Any]) -> None:
    """Write the metrics into the model card, unless Trainer.py has written another model in the meantime."""
    with locks.folder_lock(configuration.card.parent, wait=True):
        newest = model_card.load_model_card(configuration.card, cell_types=True)
        if newest.graph_sha256 == card.graph_sha256:
            model_card.write_model_card(configuration.card, dataclasses.replace(newest, metrics=measured))
        else:
            log.warning(
                "%s: a newer model was written in the meantime. Run python3 Validation.py again.", configuration.card
            )
