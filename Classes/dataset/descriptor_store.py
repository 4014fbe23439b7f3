"""The descriptors of all images of a run, in temporary files."""

import array
import base64
from collections.abc import Sequence

import numpy

from Classes.dataset import crop_descriptors, perceptual_hash
from Classes.dataset.array_file import ArrayFile

FINGERPRINT = (2, perceptual_hash.RINGS, perceptual_hash.HARMONICS)
CROP = (2, crop_descriptors.RINGS, crop_descriptors.WAVES)

# What decode_task.DecodeTask finds out for `DescriptorStore.add`, in the order of its arguments.
KINDS = ("fingerprint", "crops")


def encode(descriptors: numpy.ndarray | None) -> str:
    """Return descriptors as text for JSON; "" for none."""
    return "" if descriptors is None else base64.b64encode(descriptors.tobytes()).decode()


class DescriptorStore:
    """Descriptors by the number that `add` gives an image.

    Attributes:
      fingerprints: one per image, see perceptual_hash.descriptor.
      crops: of the nuclei of all images, see crop_descriptors.describe.
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

    def fingerprints_of(self, images: Sequence[int]) -> ArrayFile:
        """Return a copy of the fingerprints of some images, in their order, so that many are read at once."""
        return _copied(self.fingerprints, numpy.asarray(images, int))

    def crops_of(self, images: Sequence[int]) -> tuple[ArrayFile, numpy.ndarray]:
        """Return a copy of the crops of some images, and the index in `images` of each, int [N]."""
        starts, numbers = numpy.frombuffer(self._starts, "int64"), numpy.asarray(images, int)
        counts = starts[numbers + 1] - starts[numbers]
        owners = numpy.repeat(numpy.arange(len(numbers)), counts)
        within = numpy.arange(len(owners)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
        places = starts[numbers][owners] + within
        return _copied(self.crops, places), owners


def _copied(arrays: ArrayFile, places: numpy.ndarray) -> ArrayFile:
    copy = ArrayFile(arrays.shape, arrays.kind)
    for place in places.tolist():
        copy.append(arrays[place])
    return copy
