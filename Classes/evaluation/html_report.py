"""Write the HTML report of a model: its data, its metrics, its errors, and where it comes from."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import markupsafe
import numpy

from Classes.common import atomic_files, file_system, html, json_files, locks, statistics
from Classes.common.config import Configuration
from Classes.common.errors import error_reason, system_reason
from Classes.common.translation import Message, localize
from Classes.common.translation import gettext as _
from Classes.dataset import audit, audit_problems, leakage_probe, tfrecords
from Classes.evaluation import (
    classification_metrics,
    color_baseline,
    field_report,
    headline,
    model_card_markdown,
    multiclass_plots,
    multiclass_tables,
    operating_point,
    plots,
    report_examples,
    tensorboard_events,
)
from Classes.inference import class_activation, model_card, prediction

# Steps of the threshold slider.
N_THRESHOLDS = 100

# Findings of the audit that are counted: what the page calls them, and their keys in Data.json.
AUDIT_LISTS = {
    Message("Exact duplicates"): "exact",
    Message("Near duplicates"): "alike",
    Message("Overlapping crops"): "crops",
    Message("Unusual sizes"): "odd_sizes",
    Message("Unusual modes"): "odd_modes",
    Message("Unreadable"): "unreadable",
}

PLOTS = {
    "confusion.png": Message("Confusion matrix"),
    "roc.png": Message("ROC curve"),
    "precision_recall.png": Message("Precision and sensitivity"),
    "reliability.png": Message("Reliability: accuracy by confidence"),
    "confusion_classes.png": Message("Confusion matrix of the classes"),
    "confusion_groups.png": Message("Confusion matrix of the groups"),
    "roc_classes.png": Message("ROC curve of each class against all others"),
    "reliability_classes.png": Message("Reliability of the class: accuracy by confidence"),
    "curves.png": Message("Training"),
}

log = logging.getLogger("Validation")


def write_report(
    configuration: Configuration,
    card: model_card.ModelCard,
    manifest: tfrecords.Manifest,
    metrics: dict[str, Any],
    explainer: class_activation.Explainer,
) -> None:
    """Write ReportDir/Report.html and the model card for people, MODEL_CARD.md beside the frozen graph.

    Args:
      configuration: Configuration.
      card: model card.
      manifest: of the data set.
      metrics: as in metrics.json, with `predictions`.
      explainer: of the model that was measured.
    """
    folder = configuration.path("ReportDir")
    folds = _read_folds(configuration, manifest, card)
    fields = _read_json(folder / field_report.JSON_FILE)
    page = html.render(
        "Classes.evaluation",
        "report.html",
        title=_("{condition} detection: report").format(condition=card.condition.label),
        headline=headline.describe_result(card, metrics),
        threshold_points=_threshold_points(card, metrics),
        card=card,
        calibration=card.calibration or {},
        metrics=metrics,
        basis=classification_metrics.describe_basis(metrics),
        calibration_table=_calibration_table(metrics) if metrics["images"] and card.positive else None,
        plots=_plots(configuration, card, metrics),
        folds=folds,
        fold_head=classification_metrics.fold_head,
        explainer=explainer,
        warning_message=operating_point.warning_message,
        multiclass_tables=multiclass_tables,
        color_baseline=color_baseline,
        metric_rows=classification_metrics.metric_rows,
        fields=fields,
        field_rows=field_report.metric_rows(fields) if fields else [],
        fold_rows=classification_metrics.fold_rows,
        versions=model_card_markdown.format_versions(card),
        **report_examples.choose_examples(configuration, card, metrics["predictions"], explainer),
        **_data(manifest, audit.read_audit(configuration)),
    )
    with locks.folder_lock(folder, wait=True):
        atomic_files.write_atomic(folder / "Report.html", page)
    log.info("Wrote %s", folder / "Report.html")
    _write_card_for_people(configuration, card, manifest, metrics, folds)


def _write_card_for_people(
    configuration: Configuration,
    card: model_card.ModelCard,
    manifest: tfrecords.Manifest,
    metrics: dict[str, Any],
    folds: dict[str, Any] | None,
) -> None:
    """Write MODEL_CARD.md; a model on a read-only volume has none."""
    text = model_card_markdown.render_model_card(card, manifest, metrics, folds)
    path = configuration.card.with_name("MODEL_CARD.md")
    try:
        with locks.folder_lock(path.parent, wait=True):
            atomic_files.write_atomic(path, text)
        log.info("Wrote %s", path)
    except OSError as error:
        if error.errno not in file_system.FORBIDDEN:
            raise
        log.warning("%s: %s. The model card for people was not written.", path, system_reason(error))


def _read_folds(
    configuration: Configuration, manifest: tfrecords.Manifest, card: model_card.ModelCard
) -> dict[str, Any] | None:
    """Return the cross-validation of the same images and network, if there is one."""
    folds = _read_json(configuration.path("LogDirEval") / "folds.json")
    measured = (manifest.sha256, card.network)
    if folds and (folds.get("manifest_sha256"), folds.get("network", "InceptionV3")) != measured:
        return None
    return folds


def _read_json(path: pathlib.Path) -> dict[str, Any] | None:
    """Return what another command wrote; None if the file is missing or, with a warning, if it is damaged."""
    try:
        return json_files.read_verified(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error_reason(error)
        log.warning("%s: damaged (%s). The report leaves it out; create it again or remove it.", path, reason)
        return None


def _calibration_table(metrics: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of the calibration table; one column for each basis of measurement."""
    names = {**model_card_markdown.BASIS_NAMES, "in_sample": Message("In-sample, as deployed (optimistic)")}
    columns = {names[metrics.get("basis", "held_out")]: metrics}
    if "in_sample" in metrics:
        columns[names["in_sample"]] = metrics["in_sample"]
    certainty, empty = metrics["certainty"], ("",) * (len(columns) - 1)
    before = certainty["before"] and certainty["before"]["ece"]
    errors = (classification_metrics.format_value(each["certainty"]["after"]["ece"]) for each in columns.values())
    rows: list[tuple[str, ...]] = [
        (Message("Calibration error without the temperature"), classification_metrics.format_value(before), *empty),
        (Message("Expected calibration error"), *errors),
        (
            Message("The same, if confidences were perfectly calibrated"),
            classification_metrics.format_value(certainty["after"]["chance"]),
            *empty,
        ),
    ]
    for key, name in model_card_markdown.OPERATING_POINT_METRICS.items():
        cells = (classification_metrics.format_metric({**each, **each["certainty"]}[key]) for each in columns.values())
        texts = (
            Message("{value} [{interval}] ({details})", value=value, interval=interval, details=details)
            for value, interval, details in cells
        )
        rows.append((name, *texts))
    return ("", *columns), rows


def _plots(
    configuration: Configuration, card: model_card.ModelCard, metrics: dict[str, Any]
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (title, <svg> element) of each plot; draws those that only the report shows."""
    folder = configuration.path("LogDirEval")
    labels = [row["label"] in card.positive for row in metrics["predictions"]]
    scores = [prediction.positive_score(card, row) for row in metrics["predictions"]]
    names = list(multiclass_plots.FILES) if metrics.get("multiclass") else []
    if card.positive:
        plots.plot_precision_recall(folder / "precision_recall.png", labels, scores, _("Validation"))
        names = ["confusion.png", "roc.png", "precision_recall.png", "reliability.png", *names]
    history = {} if card.imported else tensorboard_events.read_scalars(configuration.path("LogDir"))
    if history and _is_run_of(card, configuration.path("LogDir")):
        plots.plot_training_curves(folder / "curves.png", history)
        names.append("curves.png")
    titles = {name: localize(PLOTS[name]) for name in names if (folder / name).is_file()}
    return [(title, markupsafe.Markup(plots.inline_svg(folder / name, title))) for name, title in titles.items()]


def _is_run_of(card: model_card.ModelCard, folder: pathlib.Path) -> bool:
    """Return whether LogDir is known to hold the training run of the model."""
    try:
        identity = json_files.read_json(folder / "run.json").get("identity")
    except (OSError, ValueError, AttributeError):
        return False
    return identity is not None and identity == card.training.get("run")


def _threshold_points(card: model_card.ModelCard, metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the threshold slider shows; None unless there are images of both classes.

    Returns:
      {"deployed": index of the deployed threshold, "points": [[threshold, sensitivity, specificity, accuracy, fraction
      of positive images]]}, each of these four as [hits, images, ends of the 95 % interval or None, None].
    """
    rows = metrics["predictions"]
    labels = numpy.array([row["label"] in card.positive for row in rows], bool)
    if not labels.any() or labels.all():
        return None
    scores = numpy.array([prediction.positive_score(card, row) for row in rows], float)
    groups = statistics.group_numbers([row["group"] for row in rows], len(rows))
    thresholds = sorted({*(step / N_THRESHOLDS for step in range(N_THRESHOLDS + 1)), card.threshold})

    def count(hits: numpy.ndarray, selected: Any) -> list[float | None]:
        interval = statistics.proportion_interval(hits[selected], groups[selected]) or (None, None)
        ends = [None if end is None else round(end, 4) for end in interval]
        return [int(hits[selected].sum()), len(hits[selected]), *ends]

    points = []
    for threshold in thresholds:
        detected = prediction.apply_threshold(scores, threshold)
        every = slice(None)
        counts = [count(detected, labels), count(~detected, ~labels), count(detected == labels, every)]
        points.append([threshold, *counts, count(detected, every)])
    return {"deployed": thresholds.index(card.threshold), "points": points}


def _data(manifest: tfrecords.Manifest, found: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the report says about the data set and its audit, `found`."""
    groups = {split: {item["group"] for item in items} for split, items in manifest.splits.items()}
    shared = len(groups["train"] & groups["validation"])
    images = {split: len(items) for split, items in manifest.splits.items()}
    sentences = [
        _("{images} training images of {groups} source images or patients.").format(
            images=images["train"], groups=len(groups["train"])
        ),
        _("{images} validation images of {groups} source images or patients.").format(
            images=images["validation"], groups=len(groups["validation"])
        ),
        _("{shared} of them are in both splits.").format(shared=shared),
        _("The patient is known for {known} of {images} images.").format(
            known=model_card_markdown.known_patients(manifest), images=sum(images.values())
        ),
    ]
    return {
        "data_summary": " ".join(sentences),
        "shared_groups": shared,
        "audit": found,
        "audit_outdated": audit.why_outdated(manifest, found),
        "audit_lists": [(title, len((found or {}).get(key, ()))) for title, key in AUDIT_LISTS.items()],
        "audit_probes": _probes(found or {}),
    }


def _probes(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return a row for each value from which the audit predicted the class: (value, ROC AUC, interval).

    With more than two classes, each class that a value predicts has a row below it.
    """
    rows = []
    for name, probe in found.get("probes", {}).items():
        title = localize(audit_problems.PROBE_NAMES.get(name, name))
        if probe.get("auc") is not None:
            rows.append((title, *_area(probe)))
        for label, each in leakage_probe.predictable_classes(probe, leakage_probe.WARN_AUC):
            if label:
                rows.append((_("{value}, class {name}").format(value=title, name=label), *_area(each)))
    return rows


def _area(probe: Mapping[str, Any]) -> tuple[str, str]:
    return f"{probe['auc']:.3f}", leakage_probe.interval_text(probe)
