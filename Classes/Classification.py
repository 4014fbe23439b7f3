"""Images in, verdicts out: the loop of Classifier.py."""

import logging
import time

from Classes import Card, Colours, Engine, Helpers, Images, Prediction, Rows, Sources
from Classes.Errors import ImageError

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
    Rows.check(csv_path, json_path)
    files = Sources.find(configuration, sources)
    card = Card.load(configuration.card)
    rows = []
    with Engine.open_engine(configuration, card) as engine:
        log.info("Classifier class initialization complete.")
        log.info(Helpers.DISCLAIMER)
        if card.synthetic:
            log.warning(Helpers.SYNTHETIC)
        log.info("%s %s Classifier started.", SYSTEM, engine.name)
        try:
            for path in files:
                rows.append(_classify(configuration, card, engine, path))
        finally:
            # Also after Ctrl-C: what is done is kept.
            Rows.write(rows, _model(card), csv_path, json_path, log)
    Rows.summary(rows, log)
    return 1 if any(row["error"] for row in rows) else 0


def _classify(configuration, card, engine, path):
    """One image's row; an unreadable one is a line in the log and a row with `error`."""
    name = Sources.shown(path)
    row = Rows.empty(name, Prediction.truth(path, card.classes), card.classes)
    try:
        image = card.view.prepare(path, **Images.limits(configuration))
        Images.require_content(image, name)
    except ImageError as error:
        log.error("%s", error)
        return {**row, "error": str(error)}
    log.info("Loaded test image %s", name)
    log.info("%s %s detection started.", SYSTEM, engine.name)
    start = time.perf_counter()
    [probabilities], spoke = Engine.answer(engine, image[None])
    seconds = time.perf_counter() - start
    log.info("%s %s detection ended taking %s", SYSTEM, spoke.name, seconds)
    verdict = Prediction.judge(probabilities, card, configuration["InceptionThreshold"])
    correct = verdict.correct(row["truth"])
    level = logging.WARNING if correct is False else logging.INFO
    log.log(level, "%s", verdict.sentence(seconds, row["truth"]))
    row |= {
        "class": verdict.label,
        "verdict": verdict.finding,
        "confidence": verdict.confidence,
        "low": verdict.low,
        "uncertain": verdict.uncertain,
        **{f"probability_{label}": value for label, value in verdict.probabilities.items()},
        "correct": correct,
        "seconds": seconds,
        "engine": spoke.name,
        "precision": spoke.precision,
        "remark": Colours.outside(image, card),
    }
    Rows.warn(row, log)
    return row


def _model(card):
    """Which model spoke, for the rows' JSON."""
    model = {"graph_sha256": card.graph_sha256, "threshold": card.threshold, "uncertain": card.uncertain}
    return {**model, "synthetic": card.synthetic}
