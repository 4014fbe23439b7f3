"""Compute the features of every image below the last layer once, and cache them.

The features of an image depend on its bytes, on the backbone and on the decoder, so they are cached by the hashes of
all three: only new images cost time.

New images are units of work (Classes/jobs), so other processes or a cluster can compute them. A killed run continues
with their part files and not with the cache: a cluster needs part files anyway, and the cache then has one writer that
adds all new features at once, in the order of the images.
"""

import collections
import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import json
import logging
import pathlib
import pkgutil
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import openvino
import PIL
import tensorflow as tf

from Classes import imaging
from Classes.common import atomic_files, locks, logs, terminal, translation
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset.shard_index import ImageIndex
from Classes.imaging import decode
from Classes.inference import openvino_devices
from Classes.jobs import run_job
from Classes.jobs.job_folder import KILLED
from Classes.jobs.shards import Shard
from Classes.networks import registry
from Classes.training import distributed, feature_task
from Classes.training.feature_store import Block, FeatureRows, FeatureStore

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
    with contextlib.ExitStack() as stack:
        # The other workers wait for the chief's first broadcast. If nothing is missing, the cache may be read-only.
        if _is_chief(strategy) and (store.find(images.hashes) < 0).any():
            # Two trainings on the same images compute their features once: the second one finds those of the first.
            stack.enter_context(locks.folder_lock(store.folder / "run", on_wait=_show_wait))
        return _find_or_compute(configuration, backbone, store, images, strategy)


def _is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    return strategy is None or distributed.is_chief(strategy)


def _log_counts(rows: numpy.ndarray) -> None:
    cached = int((rows >= 0).sum())
    log.info("Features of %d images: %d from the cache, %d to compute.", len(rows), cached, len(rows) - cached)


def _show_wait() -> None:
    text = translation.mark("Waiting for another run that computes features of the same images.")
    log.info(text)
    terminal.say(_(text))


def _find_or_compute(
    configuration: Configuration,
    backbone: Mapping[str, numpy.ndarray],
    store: FeatureStore,
    images: ImageIndex,
    strategy: tf.distribute.Strategy | None,
) -> FeatureRows | None:
    """Return what extract_features returns, which also explains the arguments."""
    chief = _is_chief(strategy)
    rows = store.find(images.hashes) if chief else numpy.full(len(images), -1)
    if strategy:
        # The chief alone needs the features of all images.
        (rows,) = distributed.broadcast(strategy, [rows])
    missing = images.select(numpy.flatnonzero(rows < 0))
    _log_counts(rows)
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
    """Compute the features of images as units of work, and add them to the store when all are finished."""
    index, workers = distributed.rank_and_world_size(strategy) if strategy else (0, 1)
    places = missing.save(store.folder)
    settings = _task_settings(configuration, backbone, store.folder)
    job = run_job.Job(feature_task.NAME, settings, feature_task.make_items(missing, places))
    shard = Shard(index + 1, workers) if workers > 1 else None
    # Workers of a training are processes already, on their own cores.
    chosen = configuration.replace(Processes=0, Cluster="") if shard else configuration
    with run_job.start_job(chosen, job, shard) as run:
        _run(run, len(missing) // workers)
        killed = run.killed()
        blocks = _blocks(run, missing, strategy)
        if index == 0:
            store.append(blocks)
        else:
            collections.deque(blocks, maxlen=0)
        if strategy:
            # Workers may share the folder of the part files, which must stay until the store has the features.
            distributed.all_reduce_sum(strategy, [numpy.zeros(1, "float32")])
        run.folder.remove()
    for path in (places, pathlib.Path(settings["backbone"])):
        path.unlink(missing_ok=True)
    if strategy:
        # Only then may another training compute the same shares, see extract_features.
        distributed.all_reduce_sum(strategy, [numpy.zeros(1, "float32")])
    if killed:
        raise DataError(
            Message(
                "{images}: the process that computes their features ended twice. Free some memory and run again; all "
                "other features are kept.",
                images="; ".join(item.name for item in killed),
            ),
            "features_not_computed",
        )


def _run(run: run_job.JobRun, count: int) -> None:
    before = min(count, run.finished_before * feature_task.IMAGES)
    if before:
        log.info("An earlier run has computed %d of them.", before)
    with logs.progress(total=count - before, desc=_("Features"), unit="image") as bar:
        run.compute(lambda item, _: bar.update(item.data["stop"] - item.data["start"]))


def _blocks(run: run_job.JobRun, images: ImageIndex, strategy: tf.distribute.Strategy | None) -> Iterator[Block]:
    """Yield the features of all items in their order; the other workers send the features of their shares."""
    index, workers = distributed.rank_and_world_size(strategy) if strategy else (0, 1)
    hashes = images.hashes
    own = (result for item, result in run.results() if item.data["start"] // feature_task.IMAGES % workers == index)
    for number, start in enumerate(range(0, len(images), feature_task.IMAGES)):
        names, features = hashes[start : start + feature_task.IMAGES], None
        if number % workers == index:
            result = next(own)
            if result != KILLED:
                features = feature_task.read_result(result, len(names))
        if strategy and workers > 1:
            features = _share(strategy, features, len(names))
        if features is not None:
            yield names, features


def _share(strategy: tf.distribute.Strategy, features: numpy.ndarray | None, count: int) -> numpy.ndarray:
    """Return the features of `count` images on every worker; one of them has computed them."""
    known = 0 if features is None else features.shape[1]
    (width,) = distributed.all_reduce_sum(strategy, [numpy.array(known)])
    table = numpy.zeros((count, int(width)), "float32") if features is None else features
    (table,) = distributed.all_reduce_sum(strategy, [table])
    return numpy.asarray(table)


def _task_settings(
    configuration: Configuration, backbone: Mapping[str, numpy.ndarray], folder: pathlib.Path
) -> dict[str, Any]:
    """Write the backbone to the folder of its features, and return the settings of FeatureTask."""
    network = registry.get_network(configuration)
    graph = network.build_inference_graph(configuration, {**backbone, **_zero_head(network, configuration)})
    content, path = graph.as_graph_def().SerializeToString(deterministic=True), folder / "backbone.pb"
    with atomic_files.atomic_replace(path) as temporary:
        temporary.write_bytes(content)
    return {
        "backbone": str(path),
        "backbone_sha256": hashlib.sha256(content).hexdigest(),
        "precision": openvino_devices.cpu_precision(configuration["Precision"]),
        "input": dataclasses.asdict(network.input_spec(configuration)),
        "limits": dataclasses.asdict(decode.decode_limits(configuration)),
    }


def _zero_head(network: types.ModuleType, configuration: Configuration) -> dict[str, numpy.ndarray]:
    """Return a last layer of zeros: the graph needs one, but the features do not depend on it."""
    shapes = network.variable_shapes(configuration)
    names = (f"{network.HEAD}/weights", f"{network.HEAD}/biases")
    return {name: numpy.zeros(shapes[name], "float32") for name in names}
