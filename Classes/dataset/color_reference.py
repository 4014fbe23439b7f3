"""What the training images look like, with which a prediction compares its image."""

import itertools
from typing import Any

import numpy

from Classes.common import parallel
from Classes.common.config import Configuration
from Classes.dataset import grouping, tfrecords
from Classes.imaging import cell_features, color_stats, decode, image_check, network_input

MAX_IMAGES = 1000


def training_references(
    configuration: Configuration, manifest: tfrecords.Manifest, input_spec: network_input.InputSpec
) -> dict[str, Any]:
    """Return the fields of the model card about the training images; each is None without training images.

    The first MAX_IMAGES source images are used; shards are ordered by content hash, so they are a random sample.

    Returns:
      {"colours": see color_stats.fit_reference, "image_check": see image_check.fit_reference}.
    """
    if not manifest.paths("train"):
        return {"colours": None, "image_check": None}
    records = tfrecords.iter_records(configuration, "train", manifest)
    sources = (record for record in records if not grouping.is_augmented_view(record.filename))

    limits = decode.decode_limits(configuration)

    def features(record: tfrecords.Record) -> tuple[numpy.ndarray, numpy.ndarray]:
        image, small = input_spec.decode_views(record.encoded, limits)
        return color_stats.color_features(image), cell_features.measure(image, small)

    work = ((record,) for record in itertools.islice(sources, MAX_IMAGES))
    found = list(parallel.map_threads(features, work, configuration.workers))
    return {
        "colours": color_stats.fit_reference([colors for colors, _ in found]),
        "image_check": image_check.fit_reference([shapes for _, shapes in found]),
    }
