"""What runs a frozen graph: the one interface, and the check that every answer is a probability."""

import numpy

from Classes.common.errors import EngineError

# How far an answer's sum may lie from 1: bf16 keeps three digits.
SUM_TOLERANCE = 1e-2


def open_engine(configuration, card):
    """Open the frozen graph on the configured device.

    Args:
      configuration: Configuration; see device_selection.open_backend.
      card: model_card.ModelCard of the graph.
    Returns:
      an engine: `classify(batch uint8 [N, S, S, 3]) -> float32 [N, classes]` (safe from any thread), `name` such as
      "OpenVINO CPU", `precision` ("f32", "bf16", "f16", "int8"), `close()`; also a context manager. Some have
      `telemetry()`, see Movidius.NCS1Backend.
    Raises:
      GraphError: the graph is missing, damaged or not the card's.
      EngineError: the device is not there or cannot do what is asked.
    """
    card.verify()
    # Only here: the devices import this module.
    from Classes.inference import device_selection

    return device_selection.open_backend(configuration, card)


def classify_with_source(engine, batch):
    """(probabilities, the engine that computed them): an engine that stands for several tells which it was."""
    return engine.answer(batch) if hasattr(engine, "answer") else (engine.classify(batch), engine)


def describe_source(spoke):
    """Who answered, in words.

    Args:
      spoke: (name, precision) of the engine that computed each image, one or more.
    Returns:
      (names, precisions), such as ("Movidius NCS1 and OpenVINO CPU", "f16 and bf16").
    """
    return tuple(" and ".join(dict.fromkeys(each)) for each in zip(*spoke, strict=True))


def validate_probabilities(answers, classes):
    """Refuse an answer that is no probability; a broken device must never become a verdict.

    Args:
      answers: float32 [N, classes].
      classes: number of classes.
    Raises:
      EngineError: wrong shape, NaN, infinity, a negative value, or a sum that is not about 1.
    """
    if answers.ndim != 2 or answers.shape[1] != classes:
        raise EngineError(f"device result invalid: shape {list(answers.shape)} where [N, {classes}] is expected")
    # The comparisons are false for NaN, so that NaN and infinity fail with the rest.
    with numpy.errstate(invalid="ignore"):
        sums = answers.sum(axis=1)
    sound = (answers >= 0).all(axis=1) & (numpy.abs(sums - 1) <= SUM_TOLERANCE)
    if not sound.all():
        worst = answers[~sound][0]
        raise EngineError(f"device result invalid: {worst.tolist()} are no probabilities; try Device=CPU Precision=f32")


def validate_batch(batch, size):
    """Refuse a batch that is not uint8 [N, size, size, 3]; a caller's mistake, hence ValueError."""
    if batch.dtype != numpy.uint8 or batch.ndim != 4 or batch.shape[1:] != (size, size, 3):
        raise ValueError(f"a batch is uint8 [N, {size}, {size}, 3], not {batch.dtype} {list(batch.shape)}")
