"""Color histograms of many images in a temporary file, so that they do not have to fit into memory."""

from collections.abc import Callable, Iterable

import numpy

from Classes.common import parallel
from Classes.common.config import Configuration
from Classes.dataset import shard_index, tfrecords
from Classes.dataset.array_file import ArrayFile
from Classes.imaging import color_histogram, decode


class HistogramStore:
    """Color histograms of images, in a temporary file.

    Args:
      found: (SHA-256 of the image file, histogram float32 [SIZE]) of each image.
    """

    def __init__(self, found: Iterable[tuple[str, numpy.ndarray]]) -> None:
        self._arrays, hashes = ArrayFile((color_histogram.SIZE,), "float32"), []
        for sha256, histogram in found:
            self._arrays.append(histogram[None])
            hashes.append(sha256.encode())
        self._hashes = numpy.array(hashes, "S64")

    def table(self, hashes: numpy.ndarray) -> numpy.ndarray:
        """Return the histograms of images, float32 [N, SIZE].

        Args:
          hashes: SHA-256 of the image files, bytes of 64 hexadecimal digits [N].
        Raises:
          LookupError: an image has no histogram.
        """
        rows = shard_index.find_rows(self._hashes, hashes)
        if (rows < 0).any():
            raise LookupError("an image has no histogram")
        found = numpy.empty((len(rows), color_histogram.SIZE), "float32")
        for place, row in enumerate(rows):
            found[place] = self._arrays[int(row)]
        return found


def read_histograms(configuration: Configuration, is_wanted: Callable[[tfrecords.Record], bool]) -> HistogramStore:
    """Return the color histograms of those images in the shards that are wanted."""
    limits = decode.decode_limits(configuration)

    def measure(record: tfrecords.Record) -> tuple[str, numpy.ndarray]:
        image = decode.decode_image(record.encoded, limits, at_least=color_histogram.SIDE)
        return record.sha256, color_histogram.color_histogram(image)

    records = (record for split in tfrecords.SPLITS for record in tfrecords.iter_records(configuration, split))
    work = ((record,) for record in records if is_wanted(record))
    return HistogramStore(parallel.map_threads(measure, work, configuration.workers))
