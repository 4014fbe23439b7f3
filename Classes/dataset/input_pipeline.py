"""Batches of images for end-to-end training, in an order that the seed and the epoch alone decide."""

import functools

import numpy
import tensorflow as tf

from Classes import inception_preprocessing
from Classes.imaging import decode

# Shards read at once; the order of the records depends on it, so it is the same on every machine.
INTERLEAVED_SHARDS = 4

# Records that wait to be drawn from. Shards are read in another order in every epoch, since a data set larger than this
# would otherwise be shuffled within its neighbourhoods only.
SHUFFLE_BUFFER = 4096


def train_dataset(configuration, manifest, view, epoch, skip=0, rows=None):
    """One epoch of distorted training images.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest.
      view: network_input.InputSpec of the network.
      epoch: number of the epoch, from 0; every epoch has an order and distortions of its own.
      skip: batches that a run before this one has already used.
      rows: (first, behind the last) row of every batch that is wanted, see distributed.local_rows; None: all of them.
    Returns:
      tf.data.Dataset of (uint8 [B, S, S, 3], int64 [B]).
    """
    batch, seed = configuration["BatchSize"], configuration["RandomSeed"]
    amounts = inception_preprocessing.distortion_config(configuration)
    whole = _count(manifest, "train") >= batch
    records = _records(manifest, "train", (seed, epoch)).shuffle(SHUFFLE_BUFFER, seed=seed + epoch)
    records = records.enumerate().skip(skip * batch)
    if rows is not None:
        # Others decode the other rows; the last, partial batch is nobody's.
        records = records.filter(
            lambda index, _: (
                (index < _count(manifest, "train") // batch * batch)
                & (index % batch >= rows[0])
                & (index % batch < rows[1])
            )
        )
        batch = rows[1] - rows[0]

    def distorted(index, record):
        image = _decoded(functools.partial(_load, configuration, view), record)
        image = tf.ensure_shape(image, [None, None, 3])
        number = tf.stack([seed, epoch * 1_000_003 + tf.cast(index, tf.int32)])
        return inception_preprocessing.distort_image(image, view.size, amounts, number), record[_LABEL]

    batches = records.map(distorted, tf.data.AUTOTUNE, deterministic=True)
    return batches.batch(batch, drop_remainder=whole).prefetch(2)


def eval_dataset(configuration, manifest, view, place=(0, 1)):
    """The validation images as the network sees them when it is used, every one once.

    Args:
      configuration, manifest, view: as for `training`.
      place: (index of this process, number of processes), which share the images out.
    Returns:
      tf.data.Dataset of (uint8 [B, S, S, 3], int64 [B]).
    """

    def plain(record):
        prepare = functools.partial(_prepare, configuration, view)
        return tf.ensure_shape(_decoded(prepare, record), [view.size, view.size, 3]), record[_LABEL]

    records = _records(manifest, "validation").shard(place[1], place[0])
    return records.map(plain, tf.data.AUTOTUNE, deterministic=True).batch(configuration["BatchTestSize"]).prefetch(2)


_LABEL = "image/class/label"


def _records(manifest, split, order=None):
    """The records of a split; `order` seeds the order of its shards, None is that of their names."""
    features = {"image/encoded": tf.io.FixedLenFeature([], tf.string), _LABEL: tf.io.FixedLenFeature([], tf.int64)}
    files = [str(path) for path in manifest.paths(split)]
    if order is not None:
        files = [files[place] for place in numpy.random.default_rng(order).permutation(len(files))]
    parse = functools.partial(tf.io.parse_single_example, features=features)
    return tf.data.TFRecordDataset(files, num_parallel_reads=INTERLEAVED_SHARDS).map(parse)


def _decoded(function, record):
    # It depends on the bytes alone. Else TensorFlow, told to be deterministic, would decode one image after another and
    # none ahead of the training.
    return tf.numpy_function(function, [record["image/encoded"]], tf.uint8, stateful=False)


def _count(manifest, split):
    return len(manifest.splits[split])


def _load(configuration, view, encoded):
    return decode.decode_image(encoded, decode.decode_limits(configuration), at_least=view.size / view.crop)


def _prepare(configuration, view, encoded):
    return view.decode_and_resize(encoded, decode.decode_limits(configuration))
