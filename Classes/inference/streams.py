"""How many images a processor computes at the same time: measured once per model and machine, and kept in `CacheDir`.

A network is compiled twice: once so that a single image uses all cores, and, as soon as several images come at once,
with streams that have a part of the cores each. Few images are faster one after the other on all cores, and many are
faster in streams. On one or two cores there is nothing to measure.

Neither streams nor threads change a bit of the probabilities: measured for 1 and 2 streams and threads in float32, bf16
and int8 (benchmarks/streams.py). Work that is split among processes relies on it.
"""

import hashlib
import json
import logging
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from Classes.common import json_files
from Classes.common.errors import system_reason
from Classes.inference import network, openvino_devices

# With at most this many cores, each gets a stream, without a measurement.
FEW_CORES = 2

FILE_NAME = "Streams.json"

# Measurements that are kept.
MAX_ENTRIES = 64

# More streams need more memory, so they must be faster by at least this share.
MIN_GAIN = 0.03

# Images per stream in a measurement.
IMAGES = 3

log = logging.getLogger("OpenVINO")


class Streams(NamedTuple):
    """What a measurement found.

    Attributes:
      streams: their number.
      start: number of images in progress from which streams are faster than one image on all cores after the other.
    """

    streams: int
    start: int


def available_cores() -> list[int]:
    """Return the numbers of the cores that this process may use, see taskset(1)."""
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def choose_streams(cache: pathlib.Path | None, identity: str, measure: Callable[[int], Streams]) -> Streams:
    """Return the streams for a model on this machine.

    Args:
      cache: folder of the measurements, or None.
      identity: what a measurement is valid for, see `describe_identity`.
      measure: called with the number of cores if nothing valid is kept, for example because the file is damaged.
    """
    cores = len(available_cores())
    if cores <= FEW_CORES:
        return Streams(cores, FEW_CORES)
    path = cache / FILE_NAME if cache else None
    kept = _read(path) if path else {}
    if identity in kept:
        return kept[identity]
    found = measure(cores)
    if path:
        _write(path, {**kept, identity: found})
    return found


def describe_identity(core: Any, digest: str, precision: str) -> str:
    """Return a text that changes with everything that a measurement depends on.

    Args:
      core: openvino.Core.
      digest: SHA-256 of the network.
      precision: its arithmetic.
    """
    processor = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
    version = openvino_devices.openvino_api.get_version()
    text = json.dumps([digest, precision, processor, available_cores(), version])
    return hashlib.sha256(text.encode()).hexdigest()


def measure_streams(core: Any, model: Any, precision: str, alone: network.Network, cores: int) -> Streams:
    """Measure 2, 4, 8, ... streams, up to one per core.

    Args:
      core, model, precision: see network.Network.
      alone: the network compiled with one stream.
      cores: number of cores.
    """
    image = numpy.zeros(list(model.input(0).get_shape()), "float32")
    alone.infer(image)
    single = statistics.median(_seconds(alone, image, 1) for _ in range(IMAGES))
    best, fastest = Streams(1, FEW_CORES), single
    for count in sorted({*(2**power for power in range(1, cores.bit_length())), cores}):
        compiled = network.Network(core, model, precision, {"NUM_STREAMS": count})
        _seconds(compiled, image, count)
        each = _seconds(compiled, image, IMAGES * count) / (IMAGES * count)
        if each < fastest * (1 - MIN_GAIN):
            best, fastest = Streams(count, max(FEW_CORES, math.ceil(each * count / single))), each
    return best


def _seconds(compiled: network.Network, image: numpy.ndarray, count: int) -> float:
    start = time.perf_counter()
    compiled.infer_all([image] * count)
    return time.perf_counter() - start


def _read(path: pathlib.Path) -> dict[str, Streams]:
    """Return {identity: streams}; what is damaged is left out, and measured again."""
    try:
        kept = json_files.read_json(path)
    except (OSError, ValueError):
        return {}
    entries = kept.items() if isinstance(kept, dict) else ()
    return {
        identity: Streams(*value)
        for identity, value in entries
        if isinstance(value, list) and len(value) == 2 and all(type(each) is int and each > 0 for each in value)
    }


def _write(path: pathlib.Path, kept: dict[str, Streams]) -> None:
    newest = dict(list(kept.items())[-MAX_ENTRIES:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        json_files.write_json(path, newest)
    except OSError as error:
        log.warning("%s: %s; the number of streams is measured again at every start", path, system_reason(error))
