"""Batches of images for end-to-end training; only the seed and the epoch decide their order."""

from typing import Any

import numpy
import tensorflow as tf

from Classes import inception_preprocessing
from Classes.common.config import Configuration
from Classes.dataset import tfrecords
from Classes.imaging import decode, network_input

# Shards that are read at the same time; the same on every machine, because the order of the records depends on it.
INTERLEAVED_SHARDS = 4

# Records in the shuffle buffer. The shards are read in another order in every epoch, because a larger data set would
# otherwise be shuffled only locally.
SHUFFLE_BUFFER = 4096

_LABEL = "image/class/label"


def train_dataset(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    input_spec: network_input.InputSpec,
    epoch: int,
    skip: int = 0,
    rows: tuple[int, int] | None = None,
    uses: numpy.ndarray | None = None,
) -> tf.data.Dataset:
    """Return one epoch of augmented training images.

    Args:
      configuration: Configuration.
      manifest: of the shards.
      input_spec: of the network.
      epoch: number of the epoch, from 0; decides the order and the augmentation.
      skip: batches that an interrupted run has already used.
      rows: (start, stop) of the rows of every batch that this process needs, see distributed.local_rows; None: all.
      uses: int [N], how often each image of the manifest is used, N times in total; None: each once.
    Returns:
      tf.data.Dataset of (uint8 [B, S, S, 3], int64 [B]).
    """
    batch, seed = configuration["BatchSize"], configuration["RandomSeed"]
    distortion = inception_preprocessing.distortion_config(configuration)
    count = len(manifest.splits["train"])
    drop_remainder = count >= batch
    used = _records(manifest, "train", (seed, epoch)) if uses is None else _repeated(manifest, (seed, epoch), uses)
    records = used.shuffle(SHUFFLE_BUFFER, seed=seed + epoch)
    records = records.enumerate().skip(skip * batch)
    if rows is not None:
        # Other processes decode the other rows; no process decodes the last, partial batch.
        start, stop = rows
        end = count // batch * batch
        size = batch
        records = records.filter(lambda index, _: (index < end) & (index % size >= start) & (index % size < stop))
        batch = stop - start

    limits = decode.decode_limits(configuration)

    def load(encoded: bytes) -> numpy.ndarray:
        return decode.decode_image(encoded, limits, at_least=input_spec.size / input_spec.crop)

    def augment(index: tf.Tensor, record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.ensure_shape(_call(load, record), [None, None, 3])
        number = tf.stack([seed, epoch * 1_000_003 + tf.cast(index, tf.int32)])
        return inception_preprocessing.distort_image(image, input_spec.size, distortion, number), record[_LABEL]

    batches = records.map(augment, tf.data.AUTOTUNE, deterministic=True)
    return batches.batch(batch, drop_remainder=drop_remainder).prefetch(2)


def eval_dataset(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    input_spec: network_input.InputSpec,
    place: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return every validation image once, prepared as for inference.

    Args:
      configuration, manifest, input_spec: as for train_dataset.
      place: (index of this process, number of processes); each process gets its part of the images.
    Returns:
      tf.data.Dataset of (uint8 [B, S, S, 3], int64 [B]).
    """
    limits = decode.decode_limits(configuration)

    def load(encoded: bytes) -> numpy.ndarray:
        return input_spec.decode_and_resize(encoded, limits)

    def prepare(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.ensure_shape(_call(load, record), [input_spec.size, input_spec.size, 3]), record[_LABEL]

    records = _records(manifest, "validation").shard(place[1], place[0])
    return records.map(prepare, tf.data.AUTOTUNE, deterministic=True).batch(configuration["BatchTestSize"]).prefetch(2)


def _records(manifest: tfrecords.Manifest, split: str, order: tuple[int, int] | None = None) -> tf.data.Dataset:
    """Return the records of a split; `order` is the seed of the order of its shards, None orders them by name."""
    files = [str(path) for path in manifest.paths(split)]
    if order is not None:
        files = [files[place] for place in numpy.random.default_rng(order).permutation(len(files))]
    return tf.data.TFRecordDataset(files, num_parallel_reads=INTERLEAVED_SHARDS).map(_parse)


def _repeated(manifest: tfrecords.Manifest, order: tuple[int, int], uses: numpy.ndarray) -> tf.data.Dataset:
    """Return the training records, each as often as `uses` says, with the shards in a random order as in `_records`."""
    shards = [shard for shard in manifest.shards if shard["split"] == "train"]
    starts = numpy.cumsum([0, *(shard["count"] for shard in shards)])[:-1]
    places = numpy.random.default_rng(order).permutation(len(shards))
    files = [str(manifest.folder / shards[place]["file"]) for place in places]
    # A shard holds its records in the order of the manifest.
    numbered = tf.data.Dataset.from_tensor_slices((files, starts[places])).interleave(
        lambda file, start: tf.data.TFRecordDataset(file).enumerate(start),
        cycle_length=INTERLEAVED_SHARDS,
    )
    times = tf.constant(uses, tf.int64)
    chosen = numbered.flat_map(lambda number, record: tf.data.Dataset.from_tensors(record).repeat(times[number]))
    return chosen.map(_parse)


def _parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    features = {"image/encoded": tf.io.FixedLenFeature([], tf.string), _LABEL: tf.io.FixedLenFeature([], tf.int64)}
    return tf.io.parse_single_example(record, features)


def _call(load: Any, record: dict[str, tf.Tensor]) -> tf.Tensor:
    # Stateless, because the result depends only on the bytes. A stateful function would make a deterministic TensorFlow
    # decode one image after the other, and none ahead of the training step.
    return tf.numpy_function(load, [record["image/encoded"]], tf.uint8, stateful=False)
