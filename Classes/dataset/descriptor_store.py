"""The descriptors of all images of a run, in temporary files."""

import array
import base64
from collections.abc import Sequence
from typing import Any

import numpy

from Classes.dataset import crop_descriptors, perceptual_hash
from Classes.dataset.array_file import ArrayFile

FINGERPRINT = (2, perceptual_hash.RINGS, perceptual_hash.HARMONICS)
CROP = (2, crop_descriptors.RINGS, crop_descriptors.WAVES)


def encode(descriptors: numpy.ndarray | None) -> str:
    """Return descriptors as text for JSON; "" for none."""
    return "" if descriptors is None else base64.b64encode(descriptors.tobytes()).decode()


class DescriptorStore:
    """Descriptors by the number that `add` gives an image.

    Attributes:
      fingerprints: one per image, see perceptual_hash.descriptor.
      crops: of all images, see crop_descriptors.describe.
    """

    def __init__(self) -> None:
        self.fingerprints, self.crops = ArrayFile(FINGERPRINT), ArrayFile(CROP)
        # Where the crops of each image begin and end.
        self._starts = array.array("q", [0])

    def add(self, fingerprint: str, crops: str) -> tuple[int, bool]:
        """Keep the descriptors of an image, given as `encode` returns them.

        Returns:
          (number of the image, whether its fingerprint can match others).
        """
        values = numpy.frombuffer(base64.b64decode(fingerprint), "float16").reshape(1, *FINGERPRINT)
        self.fingerprints.append(values)
        self.crops.append(numpy.frombuffer(base64.b64decode(crops), "float16").reshape(-1, *CROP))
        self._starts.append(len(self.crops))
        return len(self.fingerprints) - 1, bool(values.any())

    def fingerprints_of(self, images: Sequence[int]) -> "Chosen":
        """Return the fingerprints of some images, without reading them yet."""
        return Chosen(self.fingerprints, numpy.asarray(images, int))

    def crops_of(self, images: Sequence[int]) -> tuple["Chosen", numpy.ndarray]:
        """Return the crops of some images, without reading them yet, and the index in `images` of each, int [N]."""
        starts, numbers = numpy.frombuffer(self._starts, "int64"), numpy.asarray(images, int)
        counts = starts[numbers + 1] - starts[numbers]
        owners = numpy.repeat(numpy.arange(len(numbers)), counts)
        within = numpy.arange(len(owners)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
        return Chosen(self.crops, starts[numbers][owners] + within), owners


class Chosen:
    """Some arrays of an ArrayFile.

    Args:
      arrays: the file.
      places: int [N], their indices.
    """

    def __init__(self, arrays: ArrayFile, places: numpy.ndarray) -> None:
        self._arrays, self._places = arrays, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any, /) -> numpy.ndarray:
        """Return one array, or those of a slice as [N, ...]."""
        if isinstance(index, slice):
            return numpy.stack([self._arrays[place] for place in self._places[index].tolist()])
        return self._arrays[int(self._places[index])]
