"""The choice of a device, and the list of those there are."""

import importlib.util
import logging
import statistics
import time

import numpy

from Classes.common.errors import ALLError, EngineError, GraphError
from Classes.inference import failover, model_card

# Images timed for the list.
TIMED_IMAGES = 5

log = logging.getLogger("Engine")


def open_backend(configuration, card):
    """Open the configured device; with AUTO the first that works, and say in one line why.

    Args:
      configuration: Configuration; `Device`, `Precision`, `InceptionGraph` and `CacheDir` are used.
      card: model_card.ModelCard, whose graph has been verified.
    Returns:
      an engine, see backend.open_engine.
    Raises:
      GraphError: the device needs a graph that is missing, damaged or not the card's.
      EngineError: the device is not there or cannot do what is asked.
    """
    wanted = configuration["Device"].upper()
    if wanted == "NCS1":
        return _open_ncs1(configuration, card)
    if wanted != "AUTO":
        return _log_device(_open_openvino(configuration, card, configuration["Device"]), card)
    engine, refused = _open_auto(configuration, card)
    # Without the remedies: most have no stick, and need none.
    why = "".join(f"; not {name}: {str(reason).partition(';')[0]}" for name, reason in refused)
    log.info("Device=AUTO took %s (%s)%s", engine.name, engine.precision, why)
    return _log_device(engine, card)


def list_devices(configuration):
    """Print every device with its time per image; the model is needed for the times only.

    Args:
      configuration: Configuration.
    Returns:
      exit code 0.
    """
    from Classes.inference import openvino_backend

    try:
        card = model_card.load_model_card(configuration.card)
        card.verify()
    except GraphError as error:
        card = None
        log.warning("%s; without a model no times are measured", error)
    rows = [("Device", "What it is", "Precision", "Time per image")]
    try:
        sticks = find_ncs1_sticks()
        rows.append(("NCS1", f"Movidius stick {', '.join(sticks)}", *_time_device(configuration, card, "NCS1")))
    except EngineError as error:
        rows.append(("NCS1", "not there", "", str(error)))
    for name, description in openvino_backend.list_openvino_devices():
        rows.append((name, description, *_time_device(configuration, card, name)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def find_ncs1_sticks():
    """Names of the Movidius sticks that are free.

    Raises:
      EngineError: there is none; where mvnc is not installed that costs no process.
    """
    from Classes.inference.ncs1 import device_process

    if importlib.util.find_spec("mvnc") is None:
        raise device_process.NCS1Error(device_process.DEVICE_NAME, "package")
    return device_process.list_sticks()


def measure_latency(engine, size, images=TIMED_IMAGES):
    """Median seconds per image, one at a time, after one that is not counted.

    Args:
      engine: see backend.open_engine.
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


def _time_device(configuration, card, name):
    """(precision, time or reason) of a device, for the list."""
    if card is None:
        return "", "no model yet"
    try:
        with open_backend(configuration.replace(Device=name), card) as engine:
            return engine.precision, f"{measure_latency(engine, card.size) * 1000:.1f} ms"
    except ALLError as error:
        return "", str(error)


def _open_auto(configuration, card):
    """(engine, [(device, why it was not taken)])."""
    from Classes.inference import openvino_backend

    refused = []
    try:
        spare = _open_openvino(configuration, card, "CPU")
    except EngineError as error:
        # It lacks the arithmetic; another device may have it, with nothing behind it then.
        spare, unfit = None, error
    try:
        for open_one, name in [
            (_open_ncs1, "NCS1"),
            *((_open_openvino, name) for name in openvino_backend.list_accelerators()),
        ]:
            try:
                primary = open_one(configuration, card, name)
            except (EngineError, GraphError) as error:
                refused.append((name, error))
            else:
                return (
                    (failover.FailoverBackend(primary, spare), refused)
                    if spare
                    else (primary, [*refused, ("CPU", unfit)])
                )
    except BaseException:
        if spare:
            spare.close()
        raise
    if spare is None:
        raise unfit
    if all(name == "NCS1" for name, _ in refused):
        refused.append(("GPU", "OpenVINO lists none"))
    others = (
        name for name, _ in openvino_backend.list_openvino_devices() if name.partition(".")[0] not in ("CPU", "GPU")
    )
    return spare, [*refused, *((name, "saves power rather than time") for name in others)]


def _open_ncs1(configuration, card, name="NCS1"):
    names = find_ncs1_sticks()
    from Classes import Movidius

    return Movidius.NCS1Backend(configuration, card, names)


def _open_openvino(configuration, card, name):
    # Only here: a stick works without OpenVINO.
    from Classes.inference import openvino_backend

    return openvino_backend.OpenVINOBackend(card, name, configuration["Precision"], configuration.path("CacheDir"))


def _log_device(engine, card):
    """The engine, after its lines in the log; a stick tells them itself."""
    if engine.name.startswith("OpenVINO"):
        connected = logging.getLogger("OpenVINO")
        connected.info("Connected To %s (%s) successfully.", engine.name, engine.precision)
        connected.info("%s loaded successfully.", card.display_name)
    return engine
