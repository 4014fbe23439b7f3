"""The record that the audit keeps of an image."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy

from Classes.dataset.descriptor_store import DescriptorStore
from Classes.dataset.image_records import ImageRecord

# Class name of the test images.
TEST = "Test"


@dataclasses.dataclass(slots=True)
class AuditRecord(ImageRecord):
    """An ImageRecord with what only the audit needs; the class name of a test image is TEST.

    Attributes:
      split: "train", "validation", "test", or "" if Data.py has not used the image.
      mode: of the stored image.
      metadata: numbers in the file that do not depend on its pixels.
      means: mean of each channel, 0 to 255.
      colors: see color_stats.color_features.
    """

    split: str = ""
    mode: str = ""
    metadata: tuple[float, ...] = ()
    means: tuple[float, ...] = ()
    colors: numpy.ndarray = dataclasses.field(default_factory=lambda: numpy.zeros(0))

    @property
    def bytes_per_pixel(self) -> float:
        """Size of the file per pixel, which shows a stronger compression of one class."""
        return self.size / (self.width * self.height)

    def restore(self, result: Mapping[str, Any], store: DescriptorStore) -> None:
        """Take over also the mode, the metadata, the means of the channels and the colors."""
        ImageRecord.restore(self, result, store)
        self.mode = sys.intern(result["mode"])
        self.metadata, self.means = tuple(result["metadata"]), tuple(result["means"])
        self.colors = numpy.array(result["colors"])
