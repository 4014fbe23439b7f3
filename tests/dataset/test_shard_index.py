import hashlib

import numpy
import pytest

from Classes.common.errors import DataError
from Classes.dataset import shard_index, tfrecords

CONTENTS = [b"first image", b"second", b"the third one"]


def shard(path, contents, label=1):
    """A TFRecord file as TensorFlow writes it."""
    import tensorflow as tf

    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, content in enumerate(contents):
            values = {
                "image/encoded": content,
                "image/sha256": hashlib.sha256(content).hexdigest().encode(),
                "image/class/label": label + number,
            }
            example = tf.train.Example(
                features=tf.train.Features(feature={key: feature(value) for key, value in values.items()})
            )
            writer.write(example.SerializeToString())


def manifest(folder):
    shard(folder / "a.tfrecord", CONTENTS[:2])
    shard(folder / "b.tfrecord", CONTENTS[2:], label=7)
    shards = [{"file": "a.tfrecord", "split": "train"}, {"file": "b.tfrecord", "split": "validation"}]
    return tfrecords.Manifest(folder, ["0", "1"], {}, shards, False, "")


def test_the_places_are_those_of_the_images(tmp_path):
    index = shard_index.index_shards(manifest(tmp_path), ["train", "validation"])

    assert [place.read() for place in index] == CONTENTS
    assert index.labels.tolist() == [1, 2, 7]
    assert [each.decode() for each in index.hashes] == [hashlib.sha256(each).hexdigest() for each in CONTENTS]
    for place, content in zip(index, CONTENTS, strict=True):
        with open(place.path, "rb") as file:
            assert file.read()[place.offset :].startswith(content)
    assert [place.read() for place in index.select(numpy.array([2, 0]))] == [CONTENTS[2], CONTENTS[0]]
    assert len(shard_index.index_shards(manifest(tmp_path), ["validation"])) == 1


def test_another_image_in_the_place_is_noticed(tmp_path):
    index = shard_index.index_shards(manifest(tmp_path), ["train"])
    path = tmp_path / "a.tfrecord"
    path.write_bytes(path.read_bytes().replace(b"second", b"2econd"))

    assert index[0].read() == CONTENTS[0]
    with pytest.raises(DataError) as error:
        index[1].read()
    assert error.value.code == "damaged_shards"


@pytest.mark.parametrize("length", [5, 30])
def test_a_shard_that_was_cut_is_damaged(tmp_path, length):
    found = manifest(tmp_path)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(DataError) as error:
        shard_index.index_shards(found, ["train"])
    assert error.value.code == "damaged_shards"


def test_files_are_places_too(tmp_path):
    paths = [tmp_path / name for name in "xyz"]
    for path, content in zip(paths, CONTENTS, strict=True):
        path.write_bytes(content)

    index = shard_index.index_files(paths, [3, 4, 5])

    assert [place.read() for place in index] == CONTENTS
    assert index.labels.tolist() == [3, 4, 5]


def test_rows_are_found_by_hash():
    known = numpy.array(["b" * 64, "a" * 64, "d" * 64, "a" * 64], "S64")
    wanted = numpy.array(["a" * 64, "c" * 64, "b" * 64, "e" * 64, "0" * 64], "S64")

    assert shard_index.find_rows(known, wanted).tolist() == [3, -1, 0, -1, -1]
    assert shard_index.find_rows(known[:0], wanted[:2]).tolist() == [-1, -1]
    assert shard_index.find_rows(known, wanted[:0]).tolist() == []
