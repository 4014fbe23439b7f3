"""Images in, verdicts out: the loop of Classifier.py."""

import collections
import csv
import io
import logging
import pathlib
import time

from Classes import Card, Colours, Engine, Files, Helpers, Images, Prediction
from Classes.Errors import ConfigurationError, DataError, ImageError

SYSTEM = "AML & ALL Detection System"

log = logging.getLogger("Classifier")


def run(configuration, sources=(), csv_path=None, json_path=None):
    """Classify images and say how many verdicts are right.

    Args:
      configuration: Configuration.
      sources: files and folders; none means `TestImagePath`.
      csv_path, json_path: where one row an image is written, or None.
    Returns:
      exit code: 0, or 1 when an image could not be read.
    Raises:
      ALLError: nothing to classify, no model, no device.
    """
    for path in (csv_path, json_path):
        if path and pathlib.Path(path).is_dir():
            raise ConfigurationError(f"{path}: is a folder; give the name of a file to write")
    files = find(configuration, sources)
    card = Card.load(configuration.card)
    rows = []
    with Engine.open_engine(configuration, card) as engine:
        log.info("Classifier class initialization complete.")
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning("This model was trained on synthetic smears: its verdicts say nothing about real cells.")
        log.info("%s %s Classifier started.", SYSTEM, engine.name)
        try:
            for path in files:
                rows.append(_classify(configuration, card, engine, path))
        finally:
            # Also after Ctrl-C: what is done is kept.
            _write(rows, card, engine, csv_path, json_path)
    _summary(rows)
    return 1 if any(row["error"] for row in rows) else 0


def find(configuration, sources=()):
    """The image files of files and folders.

    Args:
      configuration: Configuration; files of folders are taken by `ValidIType`, in either case, at any depth.
      sources: paths; none means `TestImagePath`. A file that is named itself is taken whatever its ending.
    Returns:
      list of pathlib.Path, each once, in the order given and by name within a folder.
    Raises:
      DataError: a path is missing, or there is no image at all.
    """
    sources = [pathlib.Path(source) for source in sources] or [configuration.path("TestImagePath")]
    endings = {ending.lower() for ending in configuration["ValidIType"]}
    found = {}
    for source in sources:
        if source.is_dir():
            inside = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in endings)
            found.update((path, None) for path in inside if path.is_file() and not path.name.startswith("."))
        elif source.exists():
            found[source] = None
        elif source != configuration.path("TestImagePath"):
            raise DataError(f"{source}: there is no such file or folder; nothing was classified")
    if not found:
        where = ", ".join(str(source) for source in sources)
        raise DataError(
            f"{where}: no image; put images named like Im047_0.jpg (_0 healthy, _1 ALL) there, "
            "or run python3 Classifier.py FILE-OR-FOLDER"
        )
    return list(found)


def _classify(configuration, card, engine, path):
    """One image's row; an unreadable one is a line in the log and a row with `error`."""
    name = shown(path)
    row = {"file": name, "class": None, "verdict": None, "confidence": None, "low": None}
    row |= {f"probability_{label}": None for label in card.classes}
    row |= {"truth": Prediction.truth(path, card.classes), "correct": None, "seconds": None, "error": None}
    row |= {"remark": None}
    try:
        image = Images.prepare(path, card.size, **Images.limits(configuration))
    except ImageError as error:
        log.error("%s", error)
        return {**row, "error": str(error)}
    log.info("Loaded test image %s", name)
    remark = Colours.outside(image, card)
    if remark:
        log.warning("%s: %s", name, remark)
    log.info("%s %s detection started.", SYSTEM, engine.name)
    start = time.perf_counter()
    probabilities = engine.classify(image[None])[0]
    seconds = time.perf_counter() - start
    log.info("%s %s detection ended taking %s", SYSTEM, engine.name, seconds)
    verdict = Prediction.judge(probabilities, card, configuration["InceptionThreshold"])
    correct = verdict.correct(row["truth"])
    level = logging.WARNING if correct is False else logging.INFO
    log.log(level, "%s", verdict.sentence(seconds, row["truth"]))
    return row | {
        "class": verdict.label,
        "verdict": verdict.finding,
        "confidence": verdict.confidence,
        "low": verdict.low,
        **{f"probability_{label}": value for label, value in verdict.probabilities.items()},
        "correct": correct,
        "seconds": seconds,
        "remark": remark,
    }


def shown(path):
    """A path for people: relative to the working folder where it lies below it, always encodable."""
    path = pathlib.Path(path)
    folder = pathlib.Path.cwd()
    path = path.relative_to(folder) if path.is_relative_to(folder) else path
    return str(path).encode("utf-8", "replace").decode()


def _summary(rows):
    judged = [row for row in rows if row["correct"] is not None]
    right = collections.Counter(row["correct"] for row in judged)
    low = collections.Counter(row["correct"] for row in judged if row["low"])
    counts = collections.Counter((row["correct"], row["verdict"] == "ALL detected") for row in judged)
    log.info(
        "Testing ended. %d correct, %d incorrect, %d low confidence: (%d correct, %d incorrect)",
        right[True],
        right[False],
        low.total(),
        low[True],
        low[False],
    )
    strange = sum(bool(row["remark"]) for row in rows)
    if strange:
        log.warning("%d images have colours unlike those of the training images; they are named above", strange)
    log.info("Images Classifier: %d", len(judged))
    log.info("True Positives: %d", counts[True, True])
    log.info("False Positives: %d", counts[False, True])
    log.info("True Negatives: %d", counts[True, False])
    log.info("False Negatives: %d", counts[False, False])
    unnamed = sum(row["truth"] is None and not row["error"] for row in rows)
    if unnamed:
        log.info("%d images without a class in their name were classified and not counted", unnamed)
    unread = sum(bool(row["error"]) for row in rows)
    if unread:
        log.error("%d images could not be read; they are named above", unread)


def _write(rows, card, engine, csv_path, json_path):
    if csv_path:
        text = io.StringIO(newline="")
        fields = rows[0] if rows else ["file"]
        writer = csv.DictWriter(text, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        Files.write(csv_path, text.getvalue())
    if json_path:
        model = {"graph_sha256": card.graph_sha256, "threshold": card.threshold, "synthetic": card.synthetic}
        content = {
            "notice": Helpers.DISCLAIMER,
            "model": {**model, "engine": engine.name, "precision": engine.precision},
            "images": rows,
        }
        Files.write_json(json_path, content)
    for path in (csv_path, json_path):
        if path:
            log.info("Wrote %d rows to %s", len(rows), path)
