"""Compute the features of images below the last layer, without TensorFlow."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from Classes.common import parallel
from Classes.dataset.shard_index import Place
from Classes.imaging import decode, network_input
from Classes.inference import map_output, openvino_backend, openvino_devices
from Classes.inference.network import THROUGHPUT, Network


class FeatureTask:
    """The backbone on OpenVINO: three times as fast as a TensorFlow session.

    Args:
      settings: "backbone": path of the frozen network, "precision": of the arithmetic, "input": fields of
        network_input.InputSpec, "limits": fields of decode.DecodeLimits.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._input_spec = network_input.InputSpec(**settings["input"])
        self._limits = decode.DecodeLimits(**settings["limits"])
        self._network: Network | None = None

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

    def features(self, places: Sequence[Place], done: Callable[[], object] = lambda: None) -> numpy.ndarray:
        """Return the features of images, float32 [N, F]; decoding and inference run at the same time.

        Args:
          places: where the images lie.
          done: called after every image.
        Raises:
          DataError: `damaged_shards`.
          ImageError: an image cannot be decoded.
        """
        network = self._network
        assert network is not None, "the task is open"

        def compute(place: Place) -> numpy.ndarray:
            image = self._input_spec.decode_and_resize(place.read(), self._limits)
            return network.infer(self._input_spec.normalize(image[None]))[0].reshape(-1)

        found = []
        for features in parallel.map_threads(compute, ((place,) for place in places), 2 * (os.cpu_count() or 1)):
            found.append(features)
            done()
        return numpy.stack(found)
