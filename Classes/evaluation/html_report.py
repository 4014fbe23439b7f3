"""Write the HTML report of a model: its data, its metrics, its errors, and where it comes from."""

import io
import logging
import pathlib
from typing import Any

import numpy
import PIL.Image

from Classes.common import atomic_files, file_system, html, json_files, locks
from Classes.common.config import Configuration
from Classes.common.errors import ALLError
from Classes.dataset import tfrecords
from Classes.evaluation import classification_metrics, model_card_markdown, plots, tensorboard_events
from Classes.imaging import decode
from Classes.inference import class_activation, model_card

# Number of examples in a gallery.
N_ERRORS, N_CORRECT = 12, 6

# Side of an example in pixels, as stored and as shown.
STORED_SIDE, SHOWN_SIDE = 240, 120

# Findings of the audit that are counted: what the page calls them, and their keys in Data.json.
AUDIT_LISTS = {
    "copies": "exact",
    "near copies": "alike",
    "unusual sizes": "odd_sizes",
    "unusual modes": "odd_modes",
    "unreadable": "unreadable",
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
    folds = _read_json(configuration.path("LogDirEval") / "folds.json")
    measured = (manifest.sha256, card.network)
    if folds and (folds.get("manifest_sha256"), folds.get("network", "InceptionV3")) != measured:
        folds = None
    page = html.render(
        "Classes.evaluation",
        "report.html",
        title="ALL detection: report",
        card=card,
        calibration=card.calibration or {},
        metrics=metrics,
        basis=classification_metrics.describe_basis(metrics),
        calibration_table=_calibration_table(metrics) if metrics["images"] else None,
        plots=_plots(configuration, card, metrics),
        folds=folds,
        fold_head=("fold", *(classification_metrics.METRIC_NAMES[key] for key in classification_metrics.FOLD_METRICS)),
        explainer=explainer,
        metric_rows=classification_metrics.metric_rows,
        fold_rows=classification_metrics.fold_rows,
        versions=model_card_markdown.format_versions(card),
        **_examples(configuration, card, metrics["predictions"], explainer),
        **_data(manifest, _read_json(folder / "Data.json")),
    )
    with locks.folder_lock(folder, wait=True):
        atomic_files.write_atomic(folder / "Report.html", page)
    log.info("Wrote %s", folder / "Report.html")
    text = model_card_markdown.render_model_card(card, manifest, metrics, folds)
    path = configuration.card.with_name("MODEL_CARD.md")
    try:
        with locks.folder_lock(path.parent, wait=True):
            atomic_files.write_atomic(path, text)
        log.info("Wrote %s", path)
    except OSError as error:
        if error.errno not in file_system.FORBIDDEN:
            raise
        log.warning("%s: %s. The model card for people was not written.", path, error.strerror)


def _read_json(path: pathlib.Path) -> dict[str, Any] | None:
    """Return what another command wrote; None if the file is missing or, with a warning, if it is damaged."""
    try:
        values = json_files.read_json(path)
        if not json_files.checksum_ok(values):
            raise ValueError("changed after it was written")
        return values
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: damaged (%s). The report leaves it out; create it again or remove it.", path, error)
        return None


def _calibration_table(metrics: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of the calibration table; one column for each basis of measurement."""
    names = {**model_card_markdown.BASIS_NAMES, "in_sample": "In-sample, as deployed (optimistic)"}
    columns = {names[metrics.get("basis", "held_out")]: metrics}
    if "in_sample" in metrics:
        columns[names["in_sample"]] = metrics["in_sample"]
    certainty, empty = metrics["certainty"], ("",) * (len(columns) - 1)
    before = certainty["before"] and certainty["before"]["ece"]
    errors = (classification_metrics.format_value(each["certainty"]["after"]["ece"]) for each in columns.values())
    rows: list[tuple[str, ...]] = [
        ("Calibration error without the temperature", classification_metrics.format_value(before), *empty),
        ("Expected calibration error", *errors),
        (
            "The same, if confidences were perfectly calibrated",
            classification_metrics.format_value(certainty["after"]["chance"]),
            *empty,
        ),
    ]
    for key, name in model_card_markdown.OPERATING_POINT_METRICS.items():
        cells = (classification_metrics.format_metric({**each, **each["certainty"]}[key]) for each in columns.values())
        rows.append((name, *(f"{value} [{interval}] ({details})" for value, interval, details in cells)))
    return ("", *columns), rows


def _plots(configuration: Configuration, card: model_card.ModelCard, metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (title, source of an <img>) of each plot; draws those that only the report shows."""
    folder = configuration.path("LogDirEval")
    labels = [row["label"] == metrics["positive"] for row in metrics["predictions"]]
    scores = [row["probabilities"][metrics["positive"]] for row in metrics["predictions"]]
    plots.plot_precision_recall(folder / "precision_recall.png", labels, scores, "Validation")
    titles = {
        "confusion.png": "Confusion matrix",
        "roc.png": "ROC curve",
        "precision_recall.png": "Precision and sensitivity",
        "reliability.png": "Reliability: accuracy by confidence",
    }
    history = {} if card.imported else tensorboard_events.read_scalars(configuration.path("LogDir"))
    if history and _is_run_of(card, configuration.path("LogDir")):
        plots.plot_training_curves(folder / "curves.png", history)
        titles["curves.png"] = "Training"
    return [
        (title, html.data_uri((folder / name).read_bytes()))
        for name, title in titles.items()
        if (folder / name).is_file()
    ]


def _is_run_of(card: model_card.ModelCard, folder: pathlib.Path) -> bool:
    """Return whether LogDir is known to hold the training run of the model."""
    try:
        identity = json_files.read_json(folder / "run.json").get("identity")
    except (OSError, ValueError, AttributeError):
        return False
    return identity is not None and identity == card.training.get("run")


def _examples(
    configuration: Configuration,
    card: model_card.ModelCard,
    rows: list[dict[str, Any]],
    explainer: class_activation.Explainer,
) -> dict[str, Any]:
    """Return the galleries of errors and of the least and most confident correct predictions, with their pictures."""

    def confidence(row: dict[str, Any]) -> float:
        return max(row["probabilities"].values())

    errors = sorted((row for row in rows if not row["correct"]), key=confidence, reverse=True)
    correct = sorted((row for row in rows if row["correct"]), key=confidence)
    galleries = {
        f"Errors, most confident first ({len(errors)} in all)": errors[:N_ERRORS],
        "Correct, least confident": correct[:N_CORRECT],
        "Correct, most confident": correct[-N_CORRECT:],
    }
    shown = {row["sha256"] for gallery in galleries.values() for row in gallery}
    pictures, error = {}, None
    try:
        pictures = _pictures(configuration, card, shown, explainer)
    except ALLError as problem:
        error = str(problem)
    return {"galleries": galleries.items(), "pictures": pictures, "gallery_error": error, "width": SHOWN_SIDE}


def _pictures(
    configuration: Configuration,
    card: model_card.ModelCard,
    wanted: set[str],
    explainer: class_activation.Explainer,
) -> dict[str, tuple[str, str]]:
    """Return {sha256: (image, class activation map)} of validation images, each as the source of an <img>."""
    pictures = {}
    for record in tfrecords.iter_records(configuration, "validation"):
        if record.sha256 in wanted:
            image = card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration))
            heat_map = numpy.asarray(PIL.Image.open(io.BytesIO(explainer.draw(image))).convert("RGB"))
            pictures[record.sha256] = _thumbnail(image), _thumbnail(heat_map)
    return pictures


def _thumbnail(image: numpy.ndarray) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(image).resize((STORED_SIDE, STORED_SIDE)).save(file, "JPEG", quality=85)
    return html.data_uri(file.getvalue(), "jpeg")


def _data(manifest: tfrecords.Manifest, audit: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the report says about the data set and its audit."""
    groups = {split: {item["group"] for item in items} for split, items in manifest.splits.items()}
    probes = [
        (
            name,
            f"{probe['auc']:.3f}",
            "{:.3f} to {:.3f}".format(*probe["interval"]) if probe["interval"] else probe["note"],
        )
        for name, probe in (audit or {}).get("probes", {}).items()
        if probe.get("auc") is not None
    ]
    audit_left_out = _audit_left_out(manifest, audit)
    return {
        "audit_left_out": audit_left_out,
        "counts": {split: len(items) for split, items in manifest.splits.items()},
        "group_counts": [len(names) for names in groups.values()],
        "shared_groups": len(groups["train"] & groups["validation"]),
        "known_patients": model_card_markdown.known_patients(manifest),
        "audit": audit,
        "audit_lists": AUDIT_LISTS,
        "audit_probes": probes,
    }


def _audit_left_out(manifest: tfrecords.Manifest, audit: dict[str, Any] | None) -> str:
    """Return why an audit is not of the data set on which the model was evaluated; "" if it is or if there is none."""
    if audit is None:
        return ""
    images, split = audit.get("images_sha256"), audit.get("manifest_sha256")
    made = f"The audit of {audit.get('created', 'an unknown date')} is left out"
    if images is None or images != manifest.images_sha256:
        return f"{made}: it is not known to be of these images."
    if split not in (None, manifest.sha256):
        return f"{made}: it is of another split (data set {split})."
    return ""
