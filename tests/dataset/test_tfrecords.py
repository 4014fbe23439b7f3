"""Shards and manifest: written as a whole, read only when whole, readable by any decoder."""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import threading

import numpy
import pytest
import tensorflow as tf

from Classes import Data, Helpers
from Classes.common import file_system, locks
from Classes.common.errors import DataError
from Classes.dataset import tfrecords
from Classes.dataset.image_records import ImageRecord
from tests.support import faults, smears

ABOUT = {"classes": ["0", "1"], "synthetic": False, "proof": {}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Model/Data").mkdir(parents=True)
    return tmp_path / "Model/Data"


def configuration(data, *settings):
    return Helpers.load_config(None, [f"NetworkPath={data.parent.parent}", *settings])


def item(folder, number, label, size=20):
    """An image file of its own and what Data knows of it."""
    content = smears.png(smears.cell(label, number, size))
    path = folder / f"images/{label}/Im{number:03d}_{label}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return ImageRecord(path, str(label), label, f"original im{number}", digest, len(content), "png", size, size)


def splits(folder, train=12, validation=5, size=20):
    return {
        "train": [item(folder, number, number % 2, size) for number in range(train)],
        "validation": [item(folder, 100 + number, number % 2, size) for number in range(validation)],
    }


def listing(folder):
    """Everything in the data folder but the images, with its content."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def test_records_come_back_once_and_in_order(folder):
    chosen = configuration(folder, "Shards=4")
    made = splits(folder)

    written = tfrecords.write_shards(chosen, made, ABOUT)

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
    chosen = configuration(folder, "Shards=2")
    made = splits(folder)
    written = tfrecords.write_shards(chosen, made, ABOUT)
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


def test_manifest_and_name_files(folder):
    chosen = configuration(folder, "Shards=3")

    tfrecords.write_shards(chosen, splits(folder, 7, 2), {**ABOUT, "held_out": ["é"]})

    values = json.loads((folder / "ALL_manifest.json").read_text())
    assert [shard["count"] for shard in values["shards"]] == [3, 2, 2, 1, 1]
    for shard in values["shards"]:
        assert hashlib.sha256((folder / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
    assert values["splits"]["validation"][0] == {
        "file": "0/Im100_0.png",
        "class": "0",
        "label": 0,
        "group": "original im100",
        "sha256": hashlib.sha256((folder / "images/0/Im100_0.png").read_bytes()).hexdigest(),
        "bytes": (folder / "images/0/Im100_0.png").stat().st_size,
    }
    assert (values["version"], values["synthetic"], values["held_out"]) == (1, False, ["é"])
    assert (folder / "Classes.txt").read_text() == "0\n1\n"
    assert (folder / "Labels.txt").read_text() == "0:0\n1:1\n"


@pytest.mark.parametrize(("count", "shards"), [(3, 3), (10, 10), (11, 10), (0, 0)])
def test_no_shard_is_empty(folder, count, shards):
    chosen = configuration(folder)

    written = tfrecords.write_shards(chosen, splits(folder, 4, count), ABOUT)

    counts = [shard["count"] for shard in written.shards if shard["split"] == "validation"]
    assert len(counts) == shards
    assert sum(counts) == count
    assert all(counts)
    assert len(list(tfrecords.iter_records(chosen, "validation"))) == count


@pytest.mark.parametrize(("zeros", "ones"), [(36, 11), (10, 10), (3, 40), (1, 1), (25, 12)])
def test_spread_gives_every_shard_its_part_of_every_class(folder, zeros, ones):
    chosen = configuration(folder)
    digests = iter(hashlib.sha256(str(number).encode()).hexdigest() for number in range(1000))
    items = [
        ImageRecord(folder, str(label), label, "", next(digests), 1, "png", 1, 1)
        for label, count in enumerate((zeros, ones))
        for _ in range(count)
    ]

    spread = tfrecords.interleave_by_class(chosen, items)

    assert sorted(spread, key=id) == sorted(items, key=id)
    assert tfrecords.interleave_by_class(chosen, items[::-1]) == spread
    number = min(10, len(items))
    start, least = 0, [zeros // number, ones // number]
    for shard in range(number):
        end = start + len(items) // number + (shard < len(items) % number)
        labels = [each.label for each in spread[start:end]]
        assert labels.count(0) >= least[0] and labels.count(1) >= least[1]
        start = end


def test_a_second_run_leaves_nothing_of_the_first(folder):
    tfrecords.write_shards(configuration(folder, "Shards=7"), splits(folder), ABOUT)
    (folder / "ALL_train_notes.tfrecord").write_text("mine")
    (folder / ".shards.0123456789ab.tmp").mkdir()
    (folder / ".shards.0123456789ab.tmp" / "ALL_train_00000-of-00007.tfrecord").write_text("half")
    (folder / ".ALL_manifest.json.0123456789ab.tmp").write_text("half")

    with locks.folder_lock(folder):
        written = tfrecords.write_shards(configuration(folder, "Shards=2"), splits(folder), ABOUT)

    shards = [shard["file"] for shard in written.shards]
    assert sorted(listing(folder)) == sorted(
        [*shards, "ALL_manifest.json", "Classes.txt", "Labels.txt", "ALL_train_notes.tfrecord"]
    )
    assert len(shards) == 4
    assert not list(folder.glob(".*.tmp"))


def test_equal_data_have_equal_hashes_wherever_they_are(folder, tmp_path):
    other = tmp_path / "elsewhere/Model/Data"
    other.mkdir(parents=True)

    one = tfrecords.write_shards(configuration(folder, "Shards=2", "Epochs=3"), splits(folder), ABOUT)
    two = tfrecords.write_shards(configuration(other, "Shards=2"), splits(other), ABOUT)
    three = tfrecords.write_shards(configuration(other, "Shards=2"), splits(other, train=13), ABOUT)

    assert one.sha256 == two.sha256 != three.sha256
    assert [shard["sha256"] for shard in one.shards] == [shard["sha256"] for shard in two.shards]


@contextlib.contextmanager
def fails(code, *parts):
    """Expect a DataError with a code and a message that contains all parts."""
    with pytest.raises(DataError) as caught:
        yield
    assert caught.value.code == code
    assert all(part in str(caught.value) for part in parts)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damage_is_named_with_the_remedy(folder):
    chosen = configuration(folder, "Shards=2")
    with fails("no_shards"):
        tfrecords.load_manifest(chosen)
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    shard = folder / "ALL_validation_00001-of-00002.tfrecord"
    good = listing(folder)

    flip(shard)
    with fails("damaged_shards", shard.name, "ALL_manifest.json"):
        tfrecords.load_manifest(chosen)
    shard.unlink()
    with fails("damaged_shards", shard.name, "ALL_manifest.json"):
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
    chosen = configuration(folder, "Shards=2")
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    path = folder / "ALL_manifest.json"
    values = json.loads(path.read_text())

    change(values)
    path.write_text(json.dumps(values))

    with fails("damaged_shards", "ALL_manifest.json"):
        tfrecords.load_manifest(chosen)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none(folder, content):
    (folder / "ALL_manifest.json").write_bytes(content)

    with fails("damaged_shards", "ALL_manifest.json"):
        tfrecords.load_manifest(configuration(folder))


def test_an_image_that_changed_meanwhile(folder):
    chosen = configuration(folder)
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    before, made = listing(folder), splits(folder)
    made["train"][3].path.write_bytes(b"another image")

    with fails("image_changed", "Im003_1.png"):
        tfrecords.write_shards(chosen, made, ABOUT)
    assert listing(folder) == before


def test_a_full_disk_leaves_the_former_shards(folder):
    chosen = configuration(folder, "Shards=1")
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    before, made = listing(folder), splits(folder, 30, 8, size=64)

    with faults.full_disk(100_000), fails("shards_not_written", "ALL_train_00000-of-00001.tfrecord"):
        tfrecords.write_shards(chosen, made, ABOUT)

    assert listing(folder) == before
    assert not list(folder.glob(".*.tmp"))
    tfrecords.load_manifest(chosen)


def test_no_room_for_the_manifest_leaves_the_former_shards(folder):
    chosen = configuration(folder, "Shards=1")
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    before = listing(folder)

    with faults.full_disk(6_000), pytest.raises(OSError, match="File too large"):
        tfrecords.write_shards(chosen, splits(folder, 2, 2), {**ABOUT, "unreadable": ["x" * 99] * 99})

    assert listing(folder) == before
    tfrecords.load_manifest(chosen)


def test_ctrl_c_while_writing_leaves_the_former_shards(folder, monkeypatch):
    chosen = configuration(folder, "Shards=2")
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    before, flushed = listing(folder), file_system.fsync_path

    def interrupted(path):
        if path.name.startswith("ALL_validation"):
            raise KeyboardInterrupt
        flushed(path)

    monkeypatch.setattr(file_system, "fsync_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tfrecords.write_shards(chosen, splits(folder, 20), ABOUT)

    assert listing(folder) == before
    assert not list(folder.glob(".*.tmp"))


def test_the_renames_are_not_interrupted(folder, monkeypatch):
    chosen = configuration(folder, "Shards=2")
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    publish = tfrecords.replace_shards

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        publish(*arguments)

    monkeypatch.setattr(tfrecords, "replace_shards", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tfrecords.write_shards(chosen, splits(folder, 20), ABOUT)

    assert len(tfrecords.load_manifest(chosen).splits["train"]) == 20


def test_another_thread_may_write(folder):
    chosen, errors = configuration(folder, "Shards=2"), []

    def write():
        try:
            tfrecords.write_shards(chosen, splits(folder), ABOUT)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()

    assert errors == []
    tfrecords.load_manifest(chosen)


CHILD = """
import os, pathlib, sys, time
from Classes import Data, Helpers; from Classes.common import file_system
flush = file_system.fsync_path

def slow(path):
    flush(path)
    if "ALL_validation" in str(path):
        print("writing", flush=True)
        time.sleep(60)

file_system.fsync_path = slow
Data.prepare_dataset(Helpers.load_config(None, ["NetworkPath=" + sys.argv[1], "Shards=2"]))
"""


@pytest.mark.slow
def test_kill_while_writing(tmp_path):
    smears.fill(tmp_path, per_class=10)
    folder = tmp_path / "Model/Data"
    chosen = configuration(folder, "Shards=2")
    Data.prepare_dataset(chosen)
    before = listing(folder)
    smears.fill(tmp_path, per_class=14)

    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=Helpers.PROJECT, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"writing\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()

    assert list(folder.glob(".shards.*.tmp"))
    assert listing(folder) == before
    tfrecords.load_manifest(chosen)
    assert Data.prepare_dataset(chosen) == 0
    assert not list(folder.glob(".*.tmp"))
    assert sum(map(len, tfrecords.load_manifest(chosen).splits.values())) == 28


def test_death_between_the_renames_is_told(folder, monkeypatch):
    chosen = configuration(folder, "Shards=2")
    tfrecords.write_shards(chosen, splits(folder), ABOUT)
    flushed, calls = file_system.fsync_path, []

    def dies(path):
        flushed(path)
        if path == folder:
            calls.append(path)
            if len(calls) == 2:
                raise SystemError("the machine is gone")

    monkeypatch.setattr(file_system, "fsync_path", dies)
    with pytest.raises(SystemError):
        tfrecords.write_shards(chosen, splits(folder, 20), ABOUT)

    with fails("no_shards"):
        tfrecords.load_manifest(chosen)
