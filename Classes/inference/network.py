"""A network that OpenVINO has compiled: images run through it at the same time, from any thread.

Requests are asynchronous, and OpenVINO starts them in the order of arrival, so there is no lock: an image of another
caller waits for the few images that a batch has started, not for the whole batch. There are no callbacks either
(openvino.AsyncInferQueue): they need the GIL, and the release of a model would wait for them while it holds the GIL.
"""

import collections
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy

from Classes.inference import openvino_devices

# One stream that uses all cores, and about one stream per core.
LATENCY, THROUGHPUT = {"PERFORMANCE_HINT": "LATENCY"}, {"PERFORMANCE_HINT": "THROUGHPUT"}


class Network:
    """A compiled network with one input.

    Attributes:
      streams: number of images that it computes at the same time.

    Args:
      core: openvino.Core.
      model: openvino.Model.
      precision: f32, bf16 or f16; the layers of an int8 network stay int8.
      options: of OpenVINO; LATENCY, THROUGHPUT or others. Those that the device does not know are left out.
      device: a name that OpenVINO lists.
    Raises:
      RuntimeError: OpenVINO cannot compile it.
    """

    def __init__(
        self, core: Any, model: Any, precision: str, options: Mapping[str, Any] = LATENCY, device: str = "CPU"
    ) -> None:
        wanted = {**options, "INFERENCE_PRECISION_HINT": precision}
        self._compiled = core.compile_model(model, device, openvino_devices.supported_options(core, device, wanted))
        self.streams = max(1, int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        # A request holds only the memory of its outputs. Appending and popping are atomic.
        self._idle: list[Any] = [self._compiled.create_infer_request()]

    def infer(self, inputs: numpy.ndarray, outputs: int = 1) -> tuple[numpy.ndarray, ...]:
        """Return the first outputs for one image.

        Args:
          inputs: float32 [1, S, S, 3], from network_input.normalize.
          outputs: how many.
        Returns:
          float32 each, without the first axis, such as [classes].
        Raises:
          RuntimeError: the device failed.
        """
        [found] = self.infer_all([inputs], outputs)
        return found

    def infer_all(
        self, inputs: Iterable[numpy.ndarray], outputs: int = 1, at_once: int | None = None
    ) -> list[tuple[numpy.ndarray, ...]]:
        """Return what `infer` returns for each image, in the same order.

        Args:
          inputs: images, which may be made while others are computed.
          outputs: how many of the outputs.
          at_once: number of images that are started at the same time; None: one more than streams, so that none idles.
        """
        running: collections.deque[Any] = collections.deque()
        found: list[tuple[numpy.ndarray, ...]] = []
        try:
            for image in inputs:
                if len(running) >= (at_once or self.streams + 1):
                    found.append(self._finish(running.popleft(), outputs))
                running.append(self._start(image))
            while running:
                found.append(self._finish(running.popleft(), outputs))
        finally:
            # After an error: the others read their input until they end.
            for request, *_ in running:
                with contextlib.suppress(RuntimeError):
                    request.wait()
        return found

    def _start(self, image: numpy.ndarray) -> tuple[Any, Any, numpy.ndarray]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        # Without a copy, which would take half a millisecond.
        tensor = openvino_devices.openvino_api.Tensor(image, shared_memory=True)
        request.set_input_tensor(tensor)
        request.start_async()
        # The array must live as long as the request reads it. In OpenVINO 2022.3 the tensor does not keep it alive.
        return request, tensor, image

    def _finish(self, running: tuple[Any, Any, numpy.ndarray], outputs: int) -> tuple[numpy.ndarray, ...]:
        request, *_ = running
        request.wait()
        found = tuple(request.get_output_tensor(index).data[0].copy() for index in range(outputs))
        self._idle.append(request)
        return found
