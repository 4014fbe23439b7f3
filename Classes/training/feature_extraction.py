"""Compute the features of every image below the last layer once, and cache them.

The features of an image depend on its bytes, on the backbone and on the decoder, so they are cached by the hashes of
all three: only new images cost time.
"""

import dataclasses
import hashlib
import importlib
import inspect
import json
import logging
import pathlib
import pkgutil
import tempfile
import types
from collections.abc import Mapping, Sequence

import numpy
import openvino
import PIL
import tensorflow as tf

from Classes import imaging
from Classes.common import atomic_files, locks, logs, parallel, progress_bar
from Classes.common.config import Configuration
from Classes.common.translation import gettext as _
from Classes.dataset.tfrecords import Record
from Classes.imaging import decode
from Classes.inference import openvino_backend, openvino_devices
from Classes.networks import registry
from Classes.training import distributed

# Features by the SHA-256 of the image file; float32 [F] each.
Features = dict[str, numpy.ndarray]

# Images between two writes of the cache, about half a minute's work: a killed run loses at most so many.
CHUNK = 500
FILES = "[0-9]" * 6 + ".npz"

log = logging.getLogger("Trainer")


def cache_key(configuration: Configuration, weights_hash: str) -> str:
    """Return a SHA-256 of everything but the image that changes a feature.

    Args:
      configuration: Configuration.
      weights_hash: of the backbone, see pretrained_weights.backbone_hash.
    """
    decoder = [
        importlib.import_module(f"{imaging.__name__}.{each.name}") for each in pkgutil.iter_modules(imaging.__path__)
    ]
    changing = {
        "backbone": weights_hash,
        "network": configuration["Network"],
        "view": dataclasses.asdict(registry.get_network(configuration).input_spec(configuration)),
        "precision": openvino_devices.cpu_precision(configuration["Precision"]),
        # The other limits of the decoder refuse an image or leave its pixels unchanged.
        "sample_bits": configuration["SampleBits"],
        # The source code, because a version number is easily forgotten, and then outdated features would be used.
        "decoder": [inspect.getsource(each) for each in decoder],
        "libraries": {"openvino": openvino.__version__, "pillow": PIL.__version__},
    }
    return hashlib.sha256(json.dumps(changing, sort_keys=True).encode()).hexdigest()


def extract_features(
    configuration: Configuration,
    backbone: Mapping[str, numpy.ndarray],
    weights_hash: str,
    records: Mapping[str, Record],
    strategy: tf.distribute.Strategy | None = None,
) -> Features:
    """Return the features of images, from the cache if possible; several workers share the computation.

    Args:
      configuration: Configuration.
      backbone: {variable name: array} below the last layer of a network with HAS_GLOBAL_POOL.
      weights_hash: identifies the backbone.
      records: by SHA-256.
      strategy: every worker must call this function; None: there is only this process. The chief writes the cache.
    Returns:
      {SHA-256: float32 [F]}, the globally averaged activations below the last layer.
    """
    precision = openvino_devices.cpu_precision(configuration["Precision"])
    folder = configuration.path("FeatureCache") / cache_key(configuration, weights_hash)[:32]
    known = _read_cache(folder)
    index, workers = distributed.rank_and_world_size(strategy) if strategy else (0, 1)
    missing = _uncached_records(strategy, records, known)
    cached = len(records) - len(missing)
    log.info("Features of %d images: %d from the cache, %d to compute.", len(records), cached, len(missing))
    if missing:
        network = _Backbone(configuration, backbone, precision)
        with logs.progress(total=len(missing), desc=_("Features"), unit="image") as bar:
            for start in range(0, len(missing), CHUNK * workers):
                chunk = missing[start : start + CHUNK * workers]
                features = network.features(chunk[index::workers], bar)
                if strategy and workers > 1:
                    features = _all_gather(strategy, chunk, features)
                if index == 0:
                    _write_cache(folder, features)
                known.update(features)
    return {sha256: known[sha256] for sha256 in records}


def _uncached_records(
    strategy: tf.distribute.Strategy | None, records: Mapping[str, Record], known: Features
) -> list[Record]:
    """Return the records whose features at least one worker lacks, so that all workers share the same list."""
    missing = numpy.array([sha256 not in known for sha256 in records], "int32")
    if strategy:
        (missing,) = distributed.all_reduce_sum(strategy, [missing])
    return [record for record, count in zip(records.values(), missing, strict=True) if count]


def _all_gather(strategy: tf.distribute.Strategy, records: Sequence[Record], local: Features) -> Features:
    """Return the features of all `records`; `local` are those that this worker computed."""
    width = len(next(iter(local.values()))) if local else 0
    (width,) = distributed.all_reduce_sum(strategy, [numpy.array(width if distributed.is_chief(strategy) else 0)])
    table = numpy.zeros((len(records), int(width)), "float32")
    for row, record in enumerate(records):
        if record.sha256 in local:
            table[row] = local[record.sha256]
    (table,) = distributed.all_reduce_sum(strategy, [table])
    return {record.sha256: features for record, features in zip(records, table, strict=True)}


class _Backbone:
    """The folded network up to its global pooling, on OpenVINO: three times as fast as a TensorFlow session."""

    def __init__(self, configuration: Configuration, arrays: Mapping[str, numpy.ndarray], precision: str) -> None:
        self._configuration = configuration
        network = registry.get_network(configuration)
        self._input_spec = network.input_spec(configuration)
        graph = network.build_inference_graph(configuration, {**arrays, **_zero_head(network, configuration)})
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "backbone.pb"
            path.write_bytes(graph.as_graph_def().SerializeToString())
            core = openvino_devices.new_core()
            model = core.read_model(path)
            pooled = openvino_backend.find_global_pool(model).output(0)
            model = openvino.Model([pooled], model.get_parameters(), "backbone")
            self._requests = openvino_backend.InferRequestPool(core, model, precision)

    def features(self, records: Sequence[Record], bar: progress_bar.ProgressBar) -> Features:
        """Compute the features of records; decoding and inference run at the same time."""

        def compute(record: Record) -> tuple[str, numpy.ndarray]:
            return record.sha256, self._requests.infer(self._network_input(record))

        found = {}
        arguments = ((record,) for record in records)
        for sha256, features in parallel.map_threads(compute, arguments, 2 * self._configuration.workers):
            found[sha256] = features
            bar.update()
        return found

    def _network_input(self, record: Record) -> numpy.ndarray:
        image = self._input_spec.decode_and_resize(record.encoded, decode.decode_limits(self._configuration))
        return self._input_spec.normalize(image[None])


def _zero_head(network: types.ModuleType, configuration: Configuration) -> dict[str, numpy.ndarray]:
    """Return a last layer of zeros: the graph needs one, but the features do not depend on it."""
    shapes = network.variable_shapes(configuration)
    names = (f"{network.HEAD}/weights", f"{network.HEAD}/biases")
    return {name: numpy.zeros(shapes[name], "float32") for name in names}


def _read_cache(folder: pathlib.Path) -> Features:
    """Read all files of a cache; a damaged one is logged and deleted."""
    known: Features = {}
    for path in sorted(folder.glob(FILES)):
        try:
            with open(path, "rb") as file, numpy.load(file) as chunk:
                known.update(zip(chunk["sha256"].tolist(), chunk["features"], strict=True))
        except Exception as error:  # a damaged archive can cause any exception
            log.warning("%s: damaged (%s). Its features are computed again.", path, error)
            # Another worker may have deleted it already.
            path.unlink(missing_ok=True)
    return known


def _write_cache(folder: pathlib.Path, features: Features) -> None:
    if not features:
        return
    names = sorted(features)
    # `Validation.py Folds` may write to the same cache.
    with locks.folder_lock(folder, wait=True):
        number = 1 + max((int(path.stem) for path in folder.glob(FILES)), default=0)
        with atomic_files.atomic_replace(folder / f"{number:06d}.npz") as temporary, open(temporary, "wb") as file:
            numpy.savez(file, sha256=numpy.array(names), features=numpy.stack([features[name] for name in names]))
