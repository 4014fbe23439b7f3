"""The validation split through the engine that serves: what is measured here is what people get."""

import dataclasses
import itertools
import logging
import math
import time

import numpy

from Classes import Helpers
from Classes.common import atomic_files, provenance
from Classes.common.errors import DataError, GraphError
from Classes.dataset import grouping, tfrecords
from Classes.evaluation import (
    calibration,
    classification_metrics,
    html_report,
    operating_point,
    plots,
    tensorboard_events,
)
from Classes.imaging import content_check, decode
from Classes.inference import backend, model_card, prediction

log = logging.getLogger("Validation")
steps_log = logging.getLogger("tensorflow")


def evaluate_model(configuration):
    """Measure the frozen graph on the validation split.

    Writes TensorBoard events, `metrics.json` and pictures to `LogDirEval`, the figures into the model card, and the
    report.

    Args:
      configuration: Configuration.
    Returns:
      exit code 0.
    Raises:
      ALLError: no model, no shards, or a split that is not the one the model was trained beside.
    """
    card = model_card.load_model_card(configuration.card)
    manifest = tfrecords.load_manifest(configuration)
    check_split_matches_model(card, manifest)
    folder = configuration.path("LogDirEval")
    with atomic_files.folder_lock(folder), backend.open_engine(configuration, card) as engine:
        _archive_events(folder)
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning("This model was trained on synthetic smears: its figures say nothing about real cells.")
        rows, figures = _run_batches(configuration, card, manifest, engine)
        print("", *classification_metrics.describe_basis(figures), "", sep="\n")
        print(*classification_metrics.format_table(figures), "", *_format_calibration(card, figures), "", sep="\n")
        if figures["patients"]:
            print(*classification_metrics.format_table(figures["patients"], "patients"), "", sep="\n")
        metrics = _write_results(configuration, card, manifest, engine, rows, figures)
        html_report.write_report(configuration, card, manifest, metrics)
    log.info("Wrote metrics.json and its pictures to %s", folder)
    log.info("Next: python3 Classifier.py, or tensorboard --logdir=%s", configuration["LogDirEval"])
    return 0


def check_split_matches_model(card, manifest):
    """The split must be the one that the model did not see in training.

    Of imported weights nobody here knows what they have seen; that is told.

    Raises:
      GraphError: it is another one, so that a figure over it could be one over training images.
    """
    if card.imported:
        log.warning("Imported weights: where they were trained on any of these images, the figures are too good.")
    elif manifest.sha256 != card.data.get("manifest_sha256"):
        raise GraphError(
            f"{card.path}: trained on other shards than the ones in {manifest.folder}; their validation images may "
            "have been its training images and any figure over them too good: run python3 Trainer.py first"
        )
    if tuple(manifest.classes) != card.classes:
        raise GraphError(f"{card.path}: has the classes {list(card.classes)}, the shards have {manifest.classes}")


def _run_batches(configuration, card, manifest, engine):
    """Every record `EpochsTest` times with the historic lines and events.

    Returns:
      (rows of every record once, what `_figures` returns).
    """
    passes, count = configuration["EpochsTest"], len(manifest.splits["validation"])
    rows, step, right, seen = [], 0, 0, 0
    patients = {item["sha256"]: item.get("patient", "") for item in manifest.splits["validation"]}
    with (
        _Events(configuration.path("LogDirEval")) as events,
        Helpers.progress(total=passes * count, unit="image") as bar,
    ):
        for number in range(passes):
            for records in _batches(
                tfrecords.iter_records(configuration, "validation"), configuration["BatchTestSize"]
            ):
                start = time.perf_counter()
                found, loss = _step(configuration, card, engine, records)
                for row in found:
                    row["patient"] = patients.get(row["sha256"], "")
                step, seen = step + 1, seen + len(found)
                right += sum(row["correct"] for row in found)
                seconds = time.perf_counter() - start
                steps_log.info("Global Step %d: Streaming Accuracy: %.4f (%.2f sec/step)", step, right / seen, seconds)
                events.write(step, {"Validation_Accuracy": right / seen, "Validation_losses/Total_Loss": loss})
                bar.update(len(found))
                # A second pass repeats the lines, not the images the figures are over.
                rows += found if number == 0 else []
        if len(rows) != count:
            raise DataError(f"{manifest.folder}: {len(rows)} records where the manifest lists {count}; run Data.py")
        figures = _all_metrics(configuration, card, rows)
        if seen:
            steps_log.info("Final Streaming Accuracy: %.4f", right / seen)
        else:
            steps_log.warning("Final Streaming Accuracy: none, the validation split is empty (see ValidationSize)")
        values = {
            f"Validation_metrics/{name}": figures[name]["value"]
            for name in classification_metrics.METRIC_NAMES
            if name in figures
        }
        events.write(step, {name: value for name, value in values.items() if value is not None})
    steps_log.info("Model evaluation has completed! Visit TensorBoard for more information regarding your evaluation.")
    return rows, figures


def _batches(records, size):
    while batch := list(itertools.islice(records, size)):
        yield batch


def _step(configuration, card, engine, records):
    """One batch: (a row for each record, mean cross-entropy)."""
    images = numpy.stack(
        [card.input_spec.decode_and_resize(record.encoded, decode.decode_limits(configuration)) for record in records]
    )
    answers, spoke = backend.classify_with_source(engine, images)
    rows, losses = [], []
    for record, image, probabilities in zip(records, images, answers, strict=True):
        verdict = prediction.make_prediction(probabilities, card, configuration["InceptionThreshold"])
        # Data.py leaves such images out now; older shards may have them.
        blank = not content_check.has_content(image)
        if blank:
            log.warning("%s: the image shows nothing; it counts as uncertain. Run Data.py again.", record.filename)
        truth = card.classes[record.label]
        # The smallest float32 above zero: a verdict that is wholly sure and wrong costs 87, not infinity.
        losses.append(-math.log(max(float(probabilities[record.label]), float(numpy.finfo("float32").tiny))))
        rows.append(
            {
                "filename": record.filename,
                "label": truth,
                "group": record.group,
                "sha256": record.sha256,
                "engine": spoke.name,
                "precision": spoke.precision,
                "probabilities": verdict.probabilities,
                "detected": verdict.detected,
                "low": verdict.low,
                "uncertain": verdict.uncertain or blank,
                "correct": verdict.correct(truth),
            }
        )
    return rows, sum(losses) / len(losses)


def _all_metrics(configuration, card, rows):
    """The metrics of all rows, on a basis that flatters as little as there are images for.

    Returns:
      dict for JSON: classification_metrics.evaluate_predictions's over images, below "patients" over patients, "certainty" (see `_certainty`),
      "basis" (a key of classification_metrics.BASES), "selected" (keys of classification_metrics.SELECTED) and, if those are cross-fitted,
      "in_sample": the same of the served operating point on the images that chose it.
    """
    fitted = card.calibration or {}
    chosen = bool(fitted) and not fitted.get("note")
    served = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
    found = _served(card, rows, served)
    measured = _metrics(configuration, card, rows, found)
    selected = ["epoch"] * bool(card.training.get("patience"))
    selected += ["int8"] * any(row["precision"] == "int8" for row in rows)
    held = _cross_fitted(configuration, card, rows, served) if rows and chosen else None
    if held is None:
        return {**measured, "basis": "in_sample" if chosen else "held_out", "selected": selected}
    for row, detected, uncertain in zip(rows, held.detected.tolist(), held.uncertain.tolist(), strict=True):
        row["cross_fitted"] = {"detected": detected, "uncertain": uncertain}
    about = {"basis": "cross_fitted", "selected": selected, "in_sample": measured}
    return {**_metrics(configuration, card, rows, held), **about}


def _served(card, rows, probabilities):
    """The predictions of the card's own operating point, as operating_point.ThresholdedPredictions."""
    detected, uncertain = (numpy.array([row[key] for row in rows], bool) for key in ("detected", "uncertain"))
    return operating_point.ThresholdedPredictions(
        probabilities, numpy.full(len(rows), card.threshold), detected, uncertain
    )


def _cross_fitted(configuration, card, rows, probabilities):
    """The predictions if images of other groups choose, as operating_point.ThresholdedPredictions; None if there are too few groups."""
    rules = card.calibration.get("rules") or operating_point.selection_rules(configuration)._asdict()
    # The graph's answers are divided by the temperature already.
    logits = calibration.log_probabilities(probabilities) * card.temperature
    return operating_point.cross_fit(
        logits,
        [card.classes.index(row["label"]) for row in rows],
        [row["group"] for row in rows],
        card.classes.index(card.positive),
        operating_point.SelectionRules(**rules),
        card.calibration.get("seed", configuration["RandomSeed"]),
    )


def _metrics(configuration, card, rows, found):
    """Evaluation's metrics of predictions over images and patients, with "certainty"; `found`: operating_point.ThresholdedPredictions."""
    labels, groups = [row["label"] == card.positive for row in rows], [row["group"] for row in rows]
    rest = groups, configuration["RandomSeed"], configuration["Prevalence"]
    # A temperature changes no order, so that the areas are those of what is served.
    images = classification_metrics.evaluate_predictions(labels, _scores(card, rows), found.detected, *rest)
    means = found.probabilities[:, card.classes.index(card.positive)] if rows else []
    # Copies can merge the groups of two patients; each is still judged by itself.
    names = [f"{grouping.PATIENT}{row['patient']}" if row.get("patient") else row["group"] for row in rows]
    patients = classification_metrics.evaluate_by_patient(labels, means, names, found.thresholds, *rest[1:])
    return {**images, "patients": patients, "certainty": _calibration_metrics(card, rows, found)}


def _calibration_metrics(card, rows, found):
    """Whether the confidences hold, and what the uncertainty band does: dict for JSON; `found`: operating_point.ThresholdedPredictions."""
    labels = [card.classes.index(row["label"]) for row in rows]
    truths, groups = [row["label"] == card.positive for row in rows], [row["group"] for row in rows]
    told = {
        "after": calibration.reliability_bins(found.probabilities, labels, groups),
        "before": None,
        **classification_metrics.selective_metrics(truths, found.detected, found.uncertain, groups),
    }
    if rows and card.calibration:
        served = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
        plain = calibration.softmax_at_temperature(calibration.log_probabilities(served), 1 / card.temperature)
        told["before"] = calibration.reliability_bins(plain, labels, groups)
    return told


def _format_calibration(card, figures):
    """The lines on certainty for the terminal, and on the images that chose."""
    after, before = figures["certainty"]["after"], figures["certainty"]["before"]
    if after["ece"] is None:
        return []
    lines = [f"Expected calibration error {after['ece']:.4f}; {after['chance']:.4f} is chance among so few images."]
    if before:
        lines[0] += f" Without the temperature {card.temperature:g} it is {before['ece']:.4f}."
    if card.uncertain:
        lines.append("Uncertain (ALL from {:.3f} to {:.3f}): {}".format(*card.uncertain, _uncertain(figures)))
    if "in_sample" in figures:
        same = figures["in_sample"]
        keys = ("accuracy", "sensitivity", "specificity")
        values = ", ".join(
            f"{classification_metrics.METRIC_NAMES[key].lower()} {classification_metrics.format_metric(same[key])[0]}"
            for key in keys
        )
        lines.append(f"In-sample, and so optimistic (these images chose the served operating point): {values}, ")
        lines[-1] += f"calibration error {same['certainty']['after']['ece']:.4f}, uncertain {_uncertain(same)}"
    return [*lines, *(each["text"] for each in (card.calibration or {}).get("warnings", ()))]


def _uncertain(figures):
    """How many are uncertain, and the accuracy of the rest."""
    left, rest = figures["certainty"]["uncertain"]["of"], figures["certainty"]["accuracy_of_rest"]
    value = rest["note"] if rest["value"] is None else f"accuracy of the rest {rest['value']:.4f}"
    return f"{left[0]} of {left[1]}; {value}."


def _scores(card, rows):
    return [row["probabilities"][card.positive] for row in rows]


def _write_results(configuration, card, manifest, engine, rows, figures):
    """metrics.json, the pictures, and the card; returns what metrics.json holds."""
    folder = configuration.path("LogDirEval")
    spoke = [(row["engine"], row["precision"]) for row in rows] or [(engine.name, engine.precision)]
    name, precision = backend.describe_source(spoke)
    about = {
        "split": "validation",
        "positive": card.positive,
        "threshold": card.threshold,
        "engine": name,
        # Not "precision": that is one of the figures.
        "arithmetic": precision,
        "manifest_sha256": manifest.sha256,
        "created": provenance.utc_now_iso(),
    }
    report = {"notice": Helpers.DISCLAIMER, "graph_sha256": card.graph_sha256, "synthetic": card.synthetic}
    metrics = {**report, **about, **figures, "predictions": rows}
    atomic_files.write_json(folder / "metrics.json", metrics)
    labels = numpy.array([row["label"] == card.positive for row in rows], bool)
    scores = numpy.array([row["probabilities"][card.positive] for row in rows], float)
    title = "Validation on synthetic smears" if card.synthetic else "Validation"
    title += {"cross_fitted": ", cross-fitted", "in_sample": ", in-sample (optimistic)"}.get(figures["basis"], "")
    plots.plot_confusion_matrix(folder / "confusion.png", figures, title)
    plots.plot_roc(folder / "roc.png", labels, scores, figures, title)
    plots.plot_reliability(folder / "reliability.png", figures["certainty"], title)
    try:
        _note(configuration, card, {**about, **figures})
    except OSError as error:
        if error.errno not in atomic_files.FORBIDDEN:
            raise
        # A model that is mounted read-only can be measured all the same.
        log.warning("%s: %s. The metrics are in %s only.", configuration.card, error.strerror, folder / "metrics.json")
    return metrics


def _note(configuration, card, measured):
    """Write what was measured into the model card."""
    # The card is read again: a Trainer.py that finished meanwhile must not get the figures of the graph before.
    with atomic_files.folder_lock(configuration.card.parent, wait=True):
        newest = model_card.load_model_card(configuration.card)
        if newest.graph_sha256 == card.graph_sha256:
            model_card.write_model_card(configuration.card, dataclasses.replace(newest, metrics=measured))
        else:
            log.warning("%s: a newer model was written meanwhile; run python3 Validation.py again", configuration.card)


def _archive_events(folder):
    """Put the events of earlier runs into folders of their own, which TensorBoard shows as runs beside this one.

    In one folder it would draw them all as one curve that jumps back and forth.
    """
    for path in tensorboard_events.files(folder, validation=True):
        ended = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
        (folder / ended).mkdir(exist_ok=True)
        path.replace(folder / ended / path.name)


class _Events:
    """TensorBoard's scalars of one run."""

    def __init__(self, folder):
        self._folder = folder

    def __enter__(self):
        import tensorflow as tf

        self._scalar = tf.summary.scalar
        self._writer = tf.summary.create_file_writer(str(self._folder), filename_suffix=tensorboard_events.VALIDATION)
        return self

    def __exit__(self, *_):
        self._writer.close()

    def write(self, step, values):
        """{tag: value} at a step."""
        with self._writer.as_default(step):
            for name, value in values.items():
                self._scalar(name, value)
