"""The record that the audit keeps of an image."""

import dataclasses

import numpy
import PIL.Image
import PIL.ImageStat

from Classes.dataset.image_records import ImageRecord
from Classes.imaging import color_stats, decode

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

    def measure(self, data: bytes, image: numpy.ndarray) -> None:
        """Measure the image as ImageRecord does, and also its metadata, mean channels and colors."""
        ImageRecord.measure(self, data, image)
        self.mode, metadata = decode.metadata(data)
        self.metadata = (*metadata, len(self.mode))
        self.means = tuple(PIL.ImageStat.Stat(PIL.Image.fromarray(image)).mean)
        self.colors = color_stats.color_features(image, self.background)
