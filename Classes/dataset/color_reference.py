"""The colors of the training images, with which a prediction compares its image."""

import itertools
from typing import Any

from Classes.common import parallel
from Classes.common.config import Configuration
from Classes.dataset import grouping, tfrecords
from Classes.imaging import color_stats, decode, network_input

MAX_IMAGES = 1000


def training_color_reference(
    configuration: Configuration, manifest: tfrecords.Manifest, input_spec: network_input.InputSpec
) -> dict[str, Any] | None:
    """Return color_stats.fit_reference of the training images for the model card, None without training images.

    The first MAX_IMAGES source images are used; shards are ordered by content hash, so they are a random sample.
    """
    if not manifest.paths("train"):
        return None
    records = tfrecords.iter_records(configuration, "train")
    sources = (record for record in records if not grouping.is_augmented_view(record.filename))

    limits = decode.decode_limits(configuration)

    def features(record: tfrecords.Record) -> Any:
        return color_stats.color_features(input_spec.decode_and_resize(record.encoded, limits))

    work = ((record,) for record in itertools.islice(sources, MAX_IMAGES))
    return color_stats.fit_reference(list(parallel.map_threads(features, work, configuration.workers)))
