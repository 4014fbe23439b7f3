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
from collections.abc import Mapping
from typing import Any

import numpy
import openvino
import PIL
import tensorflow as tf

from Classes import imaging
from Classes.common import logs, progress_bar
from Classes.common.config import Configuration
from Classes.common.translation import gettext as _
from Classes.dataset.shard_index import ImageIndex
from Classes.imaging import decode
from Classes.inference import openvino_devices
from Classes.networks import registry
from Classes.training import distributed, feature_task
from Classes.training.feature_store import FeatureRows, FeatureStore

# Images between two writes of the cache, about half a minute's work: a killed run loses at most so many.
UNIT = 500

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
    images: ImageIndex,
    strategy: tf.distribute.Strategy | None = None,
) -> FeatureRows | None:
    """Return the features of images, from the cache if possible; several workers share the computation.

    Args:
      configuration: Configuration.
      backbone: {variable name: array} below the last layer of a network with HAS_GLOBAL_POOL.
      weights_hash: identifies the backbone.
      images: where they lie.
      strategy: every worker must call this function; None: there is only this process. The chief writes the cache.
    Returns:
      The globally averaged activations below the last layer, float32 [N, F], in the order of `images`; they stay in
      their file until they are indexed. None on a worker that is not the chief.
    """
    store = FeatureStore(configuration.path("FeatureCache") / cache_key(configuration, weights_hash)[:32])
    chief = strategy is None or distributed.is_chief(strategy)
    rows = store.find(images.hashes) if chief else numpy.full(len(images), -1)
    if strategy:
        # The chief alone needs the features of all images.
        (rows,) = distributed.broadcast(strategy, [rows])
    missing = images.select(numpy.flatnonzero(rows < 0))
    cached = len(images) - len(missing)
    log.info("Features of %d images: %d from the cache, %d to compute.", len(images), cached, len(missing))
    if len(missing):
        _compute(configuration, backbone, missing, store, strategy)
        rows = store.find(images.hashes) if chief else rows
    return store.select(rows) if chief else None


def _compute(
    configuration: Configuration,
    backbone: Mapping[str, numpy.ndarray],
    missing: ImageIndex,
    store: FeatureStore,
    strategy: tf.distribute.Strategy | None,
) -> None:
    """Add the features of images to the store, a unit at a time."""
    index, workers = distributed.rank_and_world_size(strategy) if strategy else (0, 1)
    with tempfile.TemporaryDirectory() as folder, _progress(len(missing)) as bar:
        task = feature_task.FeatureTask(_task_settings(configuration, backbone, pathlib.Path(folder)))
        task.open()
        for start in range(0, len(missing), UNIT * workers):
            rows = numpy.arange(start, min(start + UNIT * workers, len(missing)))
            own = rows[index::workers]
            features = task.features(missing.select(own), bar.update) if len(own) else numpy.zeros((0, 0), "float32")
            if strategy and workers > 1:
                features = _gather(strategy, features, own - start, len(rows))
            if index == 0:
                store.append([(missing.hashes[rows], features)])


def _progress(count: int) -> progress_bar.ProgressBar:
    return logs.progress(total=count, desc=_("Features"), unit="image")


def _task_settings(
    configuration: Configuration, backbone: Mapping[str, numpy.ndarray], folder: pathlib.Path
) -> dict[str, Any]:
    """Write the backbone to a file in a folder, and return the settings of FeatureTask."""
    network = registry.get_network(configuration)
    graph = network.build_inference_graph(configuration, {**backbone, **_zero_head(network, configuration)})
    path = folder / "backbone.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))
    return {
        "backbone": str(path),
        "precision": openvino_devices.cpu_precision(configuration["Precision"]),
        "input": dataclasses.asdict(network.input_spec(configuration)),
        "limits": dataclasses.asdict(decode.decode_limits(configuration)),
    }


def _gather(
    strategy: tf.distribute.Strategy, features: numpy.ndarray, places: numpy.ndarray, count: int
) -> numpy.ndarray:
    """Return the features of `count` images, of which each worker has computed those at `places`."""
    chief = distributed.is_chief(strategy)
    (width,) = distributed.all_reduce_sum(strategy, [numpy.array(features.shape[1] if chief else 0)])
    table = numpy.zeros((count, int(width)), "float32")
    if len(places):
        table[places] = features
    (table,) = distributed.all_reduce_sum(strategy, [table])
    return numpy.asarray(table)


def _zero_head(network: types.ModuleType, configuration: Configuration) -> dict[str, numpy.ndarray]:
    """Return a last layer of zeros: the graph needs one, but the features do not depend on it."""
    shapes = network.variable_shapes(configuration)
    names = (f"{network.HEAD}/weights", f"{network.HEAD}/biases")
    return {name: numpy.zeros(shapes[name], "float32") for name in names}
