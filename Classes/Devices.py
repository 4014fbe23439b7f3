"""The choice of a device, and the list of those there are."""

import importlib.util
import logging
import statistics
import time

import numpy

from Classes import Card, Failover, Helpers
from Classes.Errors import ALLError, EngineError, GraphError

# Images timed for the list.
TIMED = 5

log = logging.getLogger("Engine")


def choose(configuration, card):
    """Open the configured device; with AUTO the first that works, and say in one line why.

    Args:
      configuration: Configuration; `Device`, `Precision`, `InceptionGraph` and `CacheDir` are used.
      card: Card.Card, whose graph has been verified.
    Returns:
      an engine, see Engine.open_engine.
    Raises:
      GraphError: the device needs a graph that is missing, damaged or not the card's.
      EngineError: the device is not there or cannot do what is asked.
    """
    wanted = configuration["Device"].upper()
    if wanted == "NCS1":
        return _stick(configuration, card)
    if wanted != "AUTO":
        return _told(_openvino(configuration, card, configuration["Device"]), card)
    engine, refused = _best(configuration, card)
    # Without the remedies: most have no stick, and need none.
    why = "".join(f"; not {name}: {str(reason).partition(';')[0]}" for name, reason in refused)
    log.info("Device=AUTO took %s (%s)%s", engine.name, engine.precision, why)
    return _told(engine, card)


def run(configuration):
    """Print every device with its time per image; the model is needed for the times only.

    Args:
      configuration: Configuration.
    Returns:
      exit code 0.
    """
    from Classes import OpenVINO

    try:
        card = Card.load(configuration.card)
        card.verify()
    except GraphError as error:
        card = None
        log.warning("%s; without a model no times are measured", error)
    rows = [("Device", "What it is", "Precision", "Time per image")]
    try:
        sticks = find_sticks()
        rows.append(("NCS1", f"Movidius stick {', '.join(sticks)}", *_timed(configuration, card, "NCS1")))
    except EngineError as error:
        rows.append(("NCS1", "not there", "", str(error)))
    for name, description in OpenVINO.devices():
        rows.append((name, description, *_timed(configuration, card, name)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def find_sticks():
    """Names of the Movidius sticks that are free.

    Raises:
      EngineError: there is none; where mvnc is not installed that costs no process.
    """
    from Classes import Stick

    if importlib.util.find_spec("mvnc") is None:
        raise Stick.StickError(Stick.NAME, "package")
    return Stick.names()


def measure(engine, size, images=TIMED):
    """Median seconds per image, one at a time, after one that is not counted.

    Args:
      engine: see Engine.open_engine.
      size: side of the network's input in pixels.
      images: how many are timed.
    """
    batch = numpy.full((1, size, size, 3), 128, "uint8")
    seconds = []
    for _ in range(images + 1):
        start = time.perf_counter()
        engine.classify(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _timed(configuration, card, name):
    """(precision, time or reason) of a device, for the list."""
    if card is None:
        return "", "no model yet"
    try:
        values = {**configuration.values["Classifier"], "Device": name}
        with choose(Helpers.Configuration({**configuration.values, "Classifier": values}), card) as engine:
            return engine.precision, f"{measure(engine, card.size) * 1000:.1f} ms"
    except ALLError as error:
        return "", str(error)


def _best(configuration, card):
    """(engine, [(device, why it was not taken)])."""
    from Classes import OpenVINO

    refused = []
    try:
        spare = _openvino(configuration, card, "CPU")
    except EngineError as error:
        # It lacks the arithmetic; another device may have it, with nothing behind it then.
        spare, unfit = None, error
    try:
        for open_one, name in [(_stick, "NCS1"), *((_openvino, name) for name in OpenVINO.accelerators())]:
            try:
                primary = open_one(configuration, card, name)
            except (EngineError, GraphError) as error:
                refused.append((name, error))
            else:
                return (Failover.Engine(primary, spare), refused) if spare else (primary, [*refused, ("CPU", unfit)])
    except BaseException:
        if spare:
            spare.close()
        raise
    if spare is None:
        raise unfit
    if all(name == "NCS1" for name, _ in refused):
        refused.append(("GPU", "OpenVINO lists none"))
    others = (name for name, _ in OpenVINO.devices() if name.partition(".")[0] not in ("CPU", "GPU"))
    return spare, [*refused, *((name, "saves power rather than time") for name in others)]


def _stick(configuration, card, name="NCS1"):
    names = find_sticks()
    from Classes import Movidius

    return Movidius.Engine(configuration, card, names)


def _openvino(configuration, card, name):
    # Only here: a stick works without OpenVINO.
    from Classes import OpenVINO

    return OpenVINO.Engine(card, name, configuration["Precision"], configuration.path("CacheDir"))


def _told(engine, card):
    """The engine, after its lines in the log; a stick tells them itself."""
    if engine.name.startswith("OpenVINO"):
        connected = logging.getLogger("OpenVINO")
        connected.info("Connected To %s (%s) successfully.", engine.name, engine.precision)
        connected.info("%s loaded successfully.", card.told)
    return engine
