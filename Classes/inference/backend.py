"""The interface of what runs a frozen graph, and the checks of its input and output."""

import abc
from collections.abc import Callable, Iterable

import numpy

from Classes.common import cancellation
from Classes.common.errors import EngineError
from Classes.common.translation import Message

# Largest deviation of a sum of probabilities from 1: bf16 keeps three digits.
SUM_TOLERANCE = 1e-2


class InferenceBackend(abc.ABC):
    """A frozen graph on a device; also a context manager that closes it. device_selection.open_backend opens one."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name of the device, such as "OpenVINO CPU"."""

    @property
    @abc.abstractmethod
    def precision(self) -> str:
        """Arithmetic of the device: f32, bf16, f16 or int8."""

    @abc.abstractmethod
    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return the class probabilities of images; safe from any thread.

        Args:
          batch: uint8 [N, S, S, 3], RGB, from network_input.InputSpec.decode_and_resize.
        Returns:
          float32 [N, classes]; each row has passed `validate_probabilities`.
        Raises:
          EngineError: the device failed, its output is invalid, or the backend is closed.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release the device; may be called again."""

    def classify_with_source(
        self, batch: numpy.ndarray, meanwhile: Callable[[], None] | None = None
    ) -> "tuple[numpy.ndarray, InferenceBackend]":
        """Return (probabilities, the backend that computed them).

        Args:
          batch: see `classify`.
          meanwhile: called once, if possible while the device computes. If it raises an error, that is the result.
        """
        if meanwhile:
            meanwhile()
        return self.classify(batch), self

    def classify_in_background(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Return what `classify` returns, but let the images of other callers pass: one image at a time."""
        found = []
        for index in range(len(batch)):
            cancellation.check()
            found.append(self.classify(batch[index : index + 1]))
        return numpy.concatenate(found)

    def telemetry(self) -> list[dict]:
        """Return one dict per device that reports its state; see Movidius.NCS1Backend."""
        return []

    def __enter__(self) -> "InferenceBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Background(InferenceBackend):
    """An open backend for long work, which leaves the device to short work; closing it leaves the backend open.

    Args:
      opened: the backend.
    """

    def __init__(self, opened: InferenceBackend) -> None:
        self._opened = opened

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._opened.name

    @property
    def precision(self) -> str:
        """Arithmetic of the device."""
        return self._opened.precision

    def classify(self, batch: numpy.ndarray) -> numpy.ndarray:
        """Classify the images one at a time."""
        return self._opened.classify_in_background(batch)

    def close(self) -> None:
        """Do nothing: whoever opened the backend closes it."""


def describe_source(sources: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Join the names and precisions of the backends that computed several images.

    Args:
      sources: (name, precision) per image, one or more.
    Returns:
      (names, precisions), such as ("Movidius NCS1 and OpenVINO CPU", "f16 and bf16").
    """
    names, precisions = zip(*sources, strict=True)
    return " and ".join(dict.fromkeys(names)), " and ".join(dict.fromkeys(precisions))


def validate_probabilities(probabilities: numpy.ndarray, classes: int) -> None:
    """Raise EngineError unless a device's output consists of probabilities.

    Args:
      probabilities: float32 [N, classes].
      classes: number of classes.
    Raises:
      EngineError: wrong shape, NaN, infinity, a negative value, or a sum that differs from 1.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        shape = list(probabilities.shape)
        raise EngineError(
            Message(
                "device result invalid: shape {shape}, but [N, {classes}] is expected", shape=shape, classes=classes
            ),
            "invalid_output",
        )
    # Comparisons with NaN are false, so NaN and infinity fail too.
    with numpy.errstate(invalid="ignore"):
        sums = probabilities.sum(axis=1)
    valid = (probabilities >= 0).all(axis=1) & (numpy.abs(sums - 1) <= SUM_TOLERANCE)
    if not valid.all():
        first = probabilities[~valid][0].tolist()
        raise EngineError(
            Message("device result invalid: {first} are not probabilities; try Device=CPU Precision=f32", first=first),
            "invalid_output",
        )


def validate_batch(batch: numpy.ndarray, size: int) -> None:
    """Raise ValueError unless a batch is uint8 [N, size, size, 3]."""
    if batch.dtype != numpy.uint8 or batch.ndim != 4 or batch.shape[1:] != (size, size, 3):
        raise ValueError(f"a batch must be uint8 [N, {size}, {size}, 3], not {batch.dtype} {list(batch.shape)}")
