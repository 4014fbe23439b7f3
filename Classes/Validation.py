"""The validation split through the engine that serves: what is measured here is what people get."""

import dataclasses
import itertools
import logging
import math
import time

import numpy

from Classes import (
    Calibration,
    Card,
    Engine,
    Evaluation,
    Files,
    Groups,
    Helpers,
    Images,
    Plots,
    Prediction,
    Provenance,
    Report,
    Shards,
)
from Classes.Errors import DataError, GraphError

log = logging.getLogger("Validation")
steps_log = logging.getLogger("tensorflow")


def run(configuration):
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
    card = Card.load(configuration.card)
    manifest = Shards.manifest(configuration)
    check(card, manifest)
    folder = configuration.path("LogDirEval")
    with Files.lock(folder), Engine.open_engine(configuration, card) as engine:
        _set_aside(folder)
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning("This model was trained on synthetic smears: its figures say nothing about real cells.")
        rows, figures = _measure(configuration, card, manifest, engine)
        figures["certainty"] = _certainty(card, rows)
        print("", *Evaluation.table(figures), "", *_told(card, figures["certainty"]), "", sep="\n")
        if figures["patients"]:
            print(*Evaluation.table(figures["patients"], "patients"), "", sep="\n")
        metrics = _publish(configuration, card, manifest, engine, rows, figures)
        Report.write(configuration, card, manifest, metrics)
    log.info("Wrote metrics.json and its pictures to %s", folder)
    log.info("Next: python3 Classifier.py, or tensorboard --logdir=%s", configuration["LogDirEval"])
    return 0


def check(card, manifest):
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


def _measure(configuration, card, manifest, engine):
    """Every record `EpochsTest` times with the historic lines and events.

    Returns:
      (rows of every record once, Evaluation.evaluate's figures).
    """
    passes, count = configuration["EpochsTest"], len(manifest.splits["validation"])
    rows, step, right, seen = [], 0, 0, 0
    patients = {item["sha256"]: item.get("patient", "") for item in manifest.splits["validation"]}
    with (
        _Events(configuration.path("LogDirEval")) as events,
        Helpers.progress(total=passes * count, unit="image") as bar,
    ):
        for number in range(passes):
            for records in _batches(Shards.records(configuration, "validation"), configuration["BatchTestSize"]):
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
        figures = _figures(configuration, card, rows)
        if seen:
            steps_log.info("Final Streaming Accuracy: %.4f", right / seen)
        else:
            steps_log.warning("Final Streaming Accuracy: none, the validation split is empty (see ValidationSize)")
        values = {f"Validation_metrics/{name}": figures[name]["value"] for name in Evaluation.NAMES if name in figures}
        events.write(step, {name: value for name, value in values.items() if value is not None})
    steps_log.info("Model evaluation has completed! Visit TensorBoard for more information regarding your evaluation.")
    return rows, figures


def _batches(records, size):
    while batch := list(itertools.islice(records, size)):
        yield batch


def _step(configuration, card, engine, records):
    """One batch: (a row for each record, mean cross-entropy)."""
    images = numpy.stack([card.view.prepare(record.encoded, **Images.limits(configuration)) for record in records])
    answers, spoke = Engine.answer(engine, images)
    rows, losses = [], []
    for record, probabilities in zip(records, answers, strict=True):
        verdict = Prediction.judge(probabilities, card, configuration["InceptionThreshold"])
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
                "uncertain": verdict.uncertain,
                "correct": verdict.correct(truth),
            }
        )
    return rows, sum(losses) / len(losses)


def _figures(configuration, card, rows):
    """Evaluation's figures over images, and below "patients" over patients, where groups are patients."""
    labels, scores = [row["label"] == card.positive for row in rows], _scores(card, rows)
    groups, rest = [row["group"] for row in rows], (configuration["RandomSeed"], configuration["Prevalence"])
    images = Evaluation.evaluate(labels, scores, [row["detected"] for row in rows], groups, *rest)
    # Copies can merge the groups of two patients; each is still judged by itself.
    patients = [f"{Groups.PATIENT}{row['patient']}" if row.get("patient") else row["group"] for row in rows]
    return {**images, "patients": Evaluation.by_patient(labels, scores, patients, card.threshold, *rest)}


def _certainty(card, rows):
    """Whether the confidences mean what they say, and what the uncertain band does: dict for JSON."""
    served = numpy.array([[row["probabilities"][name] for name in card.classes] for row in rows])
    labels = [card.classes.index(row["label"]) for row in rows]
    truths = [row["label"] == card.positive for row in rows]
    verdicts = ([row[key] for row in rows] for key in ("detected", "uncertain"))
    found = {
        "after": Calibration.reliability(served, labels),
        "before": None,
        **Evaluation.certain(truths, *verdicts),
    }
    if rows and card.calibration:
        # The graph's answers are divided by the temperature already.
        plain = Calibration.tempered(Calibration.from_probabilities(served), 1 / card.temperature)
        found["before"] = Calibration.reliability(plain, labels)
    return found


def _told(card, certainty):
    """The lines on certainty for the terminal."""
    after, before = certainty["after"], certainty["before"]
    if after["ece"] is None:
        return []
    lines = [f"Expected calibration error {after['ece']:.4f}; {after['chance']:.4f} is chance among so few images."]
    if before:
        lines[0] += f" Without the temperature {card.temperature:g} it is {before['ece']:.4f}."
        lines.append("The threshold, the temperature and the band were chosen on these very images.")
        lines += _elsewhere(card.calibration.get("cross_fitted"))
    if card.uncertain:
        low, high = card.uncertain
        left, rest = certainty["uncertain"]["of"], certainty["accuracy_of_rest"]
        value = rest["note"] if rest["value"] is None else f"accuracy of the rest {rest['value']:.4f}"
        lines.append(f"Uncertain (ALL from {low:.3f} to {high:.3f}): {left[0]} of {left[1]}; {value}.")
    return lines


def _elsewhere(honest):
    """The line on what was judged with a choice of other images; `honest` as in Calibration.calibrate."""
    if not honest:
        return []
    words = "Where other images choose: sensitivity {:.4f}, specificity {:.4f}, calibration error {:.4f}, {} uncertain."
    values = (honest[key]["value"] for key in ("sensitivity", "specificity"))
    return [words.format(*values, honest["ece"], honest["uncertain"]["of"][0])]


def _scores(card, rows):
    return [row["probabilities"][card.positive] for row in rows]


def _publish(configuration, card, manifest, engine, rows, figures):
    """metrics.json, the pictures, and the card; returns what metrics.json holds."""
    folder = configuration.path("LogDirEval")
    spoke = [(row["engine"], row["precision"]) for row in rows] or [(engine.name, engine.precision)]
    name, precision = Engine.told(spoke)
    about = {
        "split": "validation",
        "positive": card.positive,
        "threshold": card.threshold,
        "engine": name,
        # Not "precision": that is one of the figures.
        "arithmetic": precision,
        "manifest_sha256": manifest.sha256,
        "created": Provenance.now(),
    }
    report = {"notice": Helpers.DISCLAIMER, "graph_sha256": card.graph_sha256, "synthetic": card.synthetic}
    metrics = {**report, **about, **figures, "predictions": rows}
    Files.write_json(folder / "metrics.json", metrics)
    labels = numpy.array([row["label"] == card.positive for row in rows], bool)
    scores = numpy.array([row["probabilities"][card.positive] for row in rows], float)
    title = "Validation on synthetic smears" if card.synthetic else "Validation"
    Plots.confusion(folder / "confusion.png", figures, title)
    Plots.roc(folder / "roc.png", labels, scores, figures, title)
    Plots.reliability(folder / "reliability.png", figures["certainty"], title)
    # The card is read again: a Trainer.py that finished meanwhile must not get the figures of the graph before.
    with Files.lock(configuration.card.parent):
        newest = Card.load(configuration.card)
        if newest.graph_sha256 == card.graph_sha256:
            Card.write(configuration.card, dataclasses.replace(newest, metrics={**about, **figures}))
        else:
            log.warning("%s: a newer model was written meanwhile; run python3 Validation.py again", configuration.card)
    return metrics


def _set_aside(folder):
    """Put the events of earlier runs into folders of their own, which TensorBoard shows as runs beside this one.

    In one folder it would draw them all as one curve that jumps back and forth.
    """
    for path in folder.glob("events.out.tfevents.*"):
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
        self._writer = tf.summary.create_file_writer(str(self._folder))
        return self

    def __exit__(self, *_):
        self._writer.close()

    def write(self, step, values):
        """{tag: value} at a step."""
        with self._writer.as_default(step):
            for name, value in values.items():
                self._scalar(name, value)
