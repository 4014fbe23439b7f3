"""Shards and manifest are read only when whole, and any decoder can read them."""

import json

import numpy
import pytest
import tensorflow as tf

from Classes.dataset import shard_writer, tfrecords
from tests.support import shards, smears


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Model/Data").mkdir(parents=True)
    return tmp_path / "Model/Data"


def test_records_come_back_once_and_in_order(folder):
    chosen = shards.configuration(folder, "Shards=4")
    made = shards.splits(folder)

    written = shard_writer.write_shards(chosen, made, shards.ABOUT)

    assert tfrecords.load_manifest(chosen) == written
    for split, items in made.items():
        records = list(tfrecords.iter_records(chosen, split))
        assert [record.sha256 for record in records] == [item.sha256 for item in items]
        for record, item in zip(records, items, strict=True):
            assert record == tfrecords.Record(
                item.path.read_bytes(), "png", item.label, 20, 20, item.filename, item.group, item.sha256
            )
        assert [row["sha256"] for row in written.splits[split]] == [item.sha256 for item in items]
    assert [path.name for path in written.paths("train")] == [f"ALL_train_{n:05d}-of-00004.tfrecord" for n in range(4)]


def test_an_old_decoder_reads_them(folder):
    chosen = shards.configuration(folder, "Shards=2")
    made = shards.splits(folder)
    written = shard_writer.write_shards(chosen, made, shards.ABOUT)
    # The features that the original's reader asks for, with its defaults.
    features = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/format": tf.io.FixedLenFeature((), tf.string, default_value="jpg"),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        "image/height": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        "image/width": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
    }

    raw = tf.data.TFRecordDataset([str(path) for path in written.paths("train")], buffer_size=1 << 16)
    parsed = [tf.io.parse_single_example(each, features) for each in raw]

    assert len(parsed) == 12
    for record, item in zip(parsed, made["train"], strict=True):
        numpy.testing.assert_array_equal(
            tf.io.decode_image(record["image/encoded"]), smears.cell(item.label, int(item.path.name[2:5]), 20)
        )
        assert record["image/format"].numpy() == b"png"
        assert record["image/class/label"].numpy() == item.label
        assert (record["image/height"].numpy(), record["image/width"].numpy()) == (20, 20)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damage_is_named_with_the_remedy(folder):
    chosen = shards.configuration(folder, "Shards=2")
    with shards.fails("no_shards"):
        tfrecords.load_manifest(chosen)
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    shard = folder / "ALL_validation_00001-of-00002.tfrecord"
    good = shards.listing(folder)

    flip(shard)
    with shards.fails("damaged_shards", shard.name, "ALL_manifest.json"):
        tfrecords.load_manifest(chosen)
    shard.unlink()
    with shards.fails("damaged_shards", shard.name, "ALL_manifest.json"):
        tfrecords.load_manifest(chosen)
    shard.write_bytes(good[shard.name])
    assert tfrecords.load_manifest(chosen).classes == ["0", "1"]


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(version=2),
        lambda values: values["splits"]["train"][0].update(label=1 - values["splits"]["train"][0]["label"]),
        lambda values: values["splits"]["train"].pop(),
        lambda values: values["shards"].pop(),
        lambda values: values["shards"][0].update(count=1),
        lambda values: values.pop("splits"),
        lambda values: values.update(splits=[]),
        lambda values: values.update(shards=[3]),
        lambda values: values.update(splits={"train": None, "validation": []}),
    ],
)
def test_a_changed_manifest(folder, change):
    chosen = shards.configuration(folder, "Shards=2")
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    path = folder / "ALL_manifest.json"
    values = json.loads(path.read_text())

    change(values)
    path.write_text(json.dumps(values))

    with shards.fails("damaged_shards", "ALL_manifest.json"):
        tfrecords.load_manifest(chosen)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none(folder, content):
    (folder / "ALL_manifest.json").write_bytes(content)

    with shards.fails("damaged_shards", "ALL_manifest.json"):
        tfrecords.load_manifest(shards.configuration(folder))
