"""The task that computes the features of images below the last layer, without TensorFlow; see jobs.task."""

import base64
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from Classes.common import parallel
from Classes.common.config import CORES
from Classes.dataset import shard_index
from Classes.dataset.shard_index import ImageIndex, Place
from Classes.imaging import decode, network_input
from Classes.inference import map_output, openvino_backend, openvino_devices
from Classes.inference.network import THROUGHPUT, Network
from Classes.jobs.items import Item

NAME = "Classes.training.feature_task:FeatureTask"

# Images per item, which is a unit of work. They take some seconds, and a killed run computes no more than these again.
IMAGES = 200


class FeatureTask:
    """The backbone on OpenVINO: three times as fast as a TensorFlow session.

    Args:
      settings: "backbone": path of the frozen network, "backbone_sha256", "precision": of the arithmetic, "input":
        fields of network_input.InputSpec, "limits": fields of decode.DecodeLimits.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._input_spec = network_input.InputSpec(**settings["input"])
        self._limits = decode.DecodeLimits(**settings["limits"])
        self._network: Network | None = None
        self._index: tuple[str, ImageIndex] | None = None

    def open(self) -> None:
        """Read the backbone.

        Raises:
          GraphError: its file is missing or damaged.
        """
        core = openvino_devices.new_core()
        model = openvino_backend.read_model(core, pathlib.Path(self._settings["backbone"]))
        pooled = map_output.find_global_pool(model).output(0)
        model = openvino_devices.openvino_api.Model([pooled], model.get_parameters(), "backbone")
        self._network = Network(core, model, self._settings["precision"], THROUGHPUT)

    def run(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return {"features"} of each item: the features of its images one after the other, float32 in base64.

        Raises:
          DataError: `damaged_shards`.
          ImageError: an image cannot be decoded; Data.py has decoded all of them.
        """
        return [{"features": base64.b64encode(self._features(item).tobytes()).decode()} for item in items]

    def close(self) -> None:
        """Release the backbone."""
        self._network = None

    def _features(self, item: Item) -> numpy.ndarray:
        """Return float32 [n, F]; decoding and inference run at the same time."""
        network = self._network
        assert network is not None, "the task is open"
        if self._index is None or self._index[0] != item.data["path"]:
            self._index = item.data["path"], shard_index.load_index(item.data["path"])
        index = self._index[1]

        def compute(place: Place) -> numpy.ndarray:
            image = self._input_spec.decode_and_resize(place.read(), self._limits)
            return network.infer(self._input_spec.normalize(image[None]))[0].reshape(-1)

        work = ((index[row],) for row in range(item.data["start"], item.data["stop"]))
        return numpy.stack(list(parallel.map_threads(compute, work, 2 * CORES)))


def make_items(images: ImageIndex, path: pathlib.Path) -> list[Item]:
    """Return the items of images whose places are in the file `path`, so that an item needs no list of its own."""
    ranges = ((start, min(start + IMAGES, len(images))) for start in range(0, len(images), IMAGES))
    return [
        Item(
            f"{pathlib.Path(images[start].path).name}, {stop - start} images from byte {images[start].offset} on", data
        )
        for start, stop in ranges
        for data in [{"path": str(path), "start": start, "stop": stop}]
    ]


def read_result(result: Mapping[str, Any], count: int) -> numpy.ndarray:
    """Return the features in a result of `run`, float32 [count, F]."""
    return numpy.frombuffer(base64.b64decode(result["features"]), "float32").reshape(count, -1)
