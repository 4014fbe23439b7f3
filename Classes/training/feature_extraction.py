"""The backbone's answer to every image, computed once and kept.

With moving statistics an image's features depend on its bytes, on the backbone and on the way from the one to the
other, so they are kept under all three: adding images or training again costs only what is new.
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

import numpy
import openvino
import PIL

from Classes import Helpers, imaging
from Classes.common import atomic_files, parallel
from Classes.imaging import decode
from Classes.inference import openvino_backend
from Classes.networks import registry
from Classes.training import distributed

# So many images between two writes: what a kill can cost at most, half a minute's work.
CHUNK = 500
FILES = "[0-9]" * 6 + ".npz"


def key(configuration, identity: str) -> str:
    """Name everything but the image that changes a feature, as 64 hexadecimal digits.

    Args:
      configuration: Configuration.
      identity: as for `extract`.
    """
    decoder = [
        importlib.import_module(f"{imaging.__name__}.{each.name}") for each in pkgutil.iter_modules(imaging.__path__)
    ]
    changing = {
        "backbone": identity,
        "network": configuration["Network"],
        "view": dataclasses.asdict(registry.get_network(configuration).input_spec(configuration)),
        "precision": openvino_backend.cpu_precision(configuration["Precision"]),
        # The other limits refuse an image or leave its pixels as they are.
        "sample_bits": configuration["SampleBits"],
        # The decoder's own source: a version number would be forgotten one day, and old features be taken for new ones.
        "decoder": [inspect.getsource(each) for each in decoder],
        "libraries": {"openvino": openvino.__version__, "pillow": PIL.__version__},
    }
    return hashlib.sha256(json.dumps(changing, sort_keys=True).encode()).hexdigest()


def extract_features(configuration, backbone, identity, records, strategy=None):
    """Pooled features of images, from the cache where they are known; several workers share the others out.

    Args:
      configuration: Configuration.
      backbone: {variable name: array} below the last layer of a network that is POOLED, moving statistics included.
      identity: a text that tells this backbone from any other.
      records: {sha256: record}, with `encoded` and `filename`; see Shards.
      strategy: see Distribution; None: this process is alone. Only the chief writes the cache.
    Returns:
      {sha256: float32 [F]}, the globally averaged activations below the last layer.
    """
    precision = openvino_backend.cpu_precision(configuration["Precision"])
    folder = configuration.path("FeatureCache") / key(configuration, identity)[:32]
    known = _read(folder)
    index, workers = distributed.rank_and_world_size(strategy) if strategy else (0, 1)
    missing = [record for key, record in _uncached_everywhere(strategy, records, known).items()]
    log = logging.getLogger("Trainer")
    log.info(
        "Features of %d images: %d from the cache, %d to compute.",
        len(records),
        len(records) - len(missing),
        len(missing),
    )
    if missing:
        backbone = _Backbone(configuration, backbone, precision)
        bar = Helpers.progress(total=len(missing), desc="Features", unit="image")
        with bar:
            for start in range(0, len(missing), CHUNK * workers):
                everybodys = missing[start : start + CHUNK * workers]
                chunk = backbone.features(everybodys[index::workers], bar)
                chunk = _all_gather(strategy, everybodys, chunk) if workers > 1 else chunk
                if index == 0:
                    _write(folder, chunk)
                known.update(chunk)
    return {key: known[key] for key in records}


def _uncached_everywhere(strategy, records, known):
    """The records whose features some worker lacks: only where all agree can they share the rest out."""
    lacking = numpy.array([key not in known for key in records], "int32")
    if strategy:
        (lacking,) = distributed.all_reduce_sum(strategy, [lacking])
    return {key: records[key] for key, count in zip(records, lacking, strict=True) if count}


def _all_gather(strategy, records, mine):
    """{sha256: features} of all workers' parts, each worker having brought the part in `mine`."""
    width = len(next(iter(mine.values()))) if mine else 0
    (width,) = distributed.all_reduce_sum(strategy, [numpy.array(width if distributed.is_chief(strategy) else 0)])
    table = numpy.zeros((len(records), int(width)), "float32")
    for row, record in enumerate(records):
        if record.sha256 in mine:
            table[row] = mine[record.sha256]
    (table,) = distributed.all_reduce_sum(strategy, [table])
    return {record.sha256: features for record, features in zip(records, table, strict=True)}


class _Backbone:
    """The folded network up to its last pooling, on OpenVINO: three times as fast as a TensorFlow session."""

    def __init__(self, configuration, arrays, precision):
        self._configuration = configuration
        network = registry.get_network(configuration)
        self._view = network.input_spec(configuration)
        graph = network.build_inference_graph(configuration, {**arrays, **_zero_head(network, configuration)})
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "backbone.pb"
            path.write_bytes(graph.as_graph_def().SerializeToString())
            core = openvino_backend.new_core()
            model = core.read_model(path)
            pooled = openvino_backend.find_global_pool(model).output(0)
            model = openvino.Model([pooled], model.get_parameters(), "backbone")
            self._streams = openvino_backend.InferRequestPool(core, model, precision)

    def features(self, records, bar):
        """{sha256: float32 [F]} of records; while some are computed, others are decoded."""

        def one(record):
            return record.sha256, self._streams.infer(self._input(record))

        found = {}
        for key, features in parallel.map_threads(
            one, ((record,) for record in records), 2 * self._configuration.workers
        ):
            found[key] = features
            bar.update()
        return found

    def _input(self, record):
        image = self._view.decode_and_resize(record.encoded, decode.decode_limits(self._configuration))
        return self._view.normalize(image[None])


def _zero_head(network, configuration):
    """A last layer of zeros: the graph needs one, the features do not."""
    shapes = network.variable_shapes(configuration)
    names = (f"{network.HEAD}/weights", f"{network.HEAD}/biases")
    return {name: numpy.zeros(shapes[name], "float32") for name in names}


def _read(folder):
    """Every whole chunk of a cache; a damaged one is named, removed and computed again."""
    known = {}
    for path in sorted(folder.glob(FILES)):
        try:
            with open(path, "rb") as file, numpy.load(file) as chunk:
                known.update(zip(chunk["sha256"].tolist(), chunk["features"], strict=True))
        except Exception as error:  # whatever the damaged part of an archive leads to
            logging.getLogger("Trainer").warning("%s: damaged (%s); its features are computed again", path, error)
            # Another worker may have found it too.
            path.unlink(missing_ok=True)
    return known


def _write(folder, chunk):
    if not chunk:
        return
    keys = sorted(chunk)
    # Validation.py Folds may write there too.
    with atomic_files.folder_lock(folder, wait=True):
        number = 1 + max((int(path.stem) for path in folder.glob(FILES)), default=0)
        with atomic_files.atomic_replace(folder / f"{number:06d}.npz") as temporary, open(temporary, "wb") as file:
            numpy.savez(file, sha256=numpy.array(keys), features=numpy.stack([chunk[key] for key in keys]))
