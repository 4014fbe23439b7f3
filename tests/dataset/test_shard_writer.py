"""Shards and manifest are written as a whole, or the former ones stay."""

import hashlib
import json
import signal
import subprocess
import sys
import threading

import pytest

from Classes import Data, Helpers
from Classes.common import file_system, locks
from Classes.dataset import shard_writer, tfrecords
from Classes.dataset.image_records import ImageRecord
from tests.support import faults, shards, smears


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Model/Data").mkdir(parents=True)
    return tmp_path / "Model/Data"


def test_manifest_and_name_files(folder):
    chosen = shards.configuration(folder, "Shards=3")

    shard_writer.write_shards(chosen, shards.splits(folder, 7, 2), {**shards.ABOUT, "held_out": ["é"]})

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


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (10, 10), (11, 10), (0, 0)])
def test_no_shard_is_empty(folder, count, expected):
    chosen = shards.configuration(folder)

    written = shard_writer.write_shards(chosen, shards.splits(folder, 4, count), shards.ABOUT)

    counts = [shard["count"] for shard in written.shards if shard["split"] == "validation"]
    assert len(counts) == expected
    assert sum(counts) == count
    assert all(counts)
    assert len(list(tfrecords.iter_records(chosen, "validation"))) == count


@pytest.mark.parametrize(("zeros", "ones"), [(36, 11), (10, 10), (3, 40), (1, 1), (25, 12)])
def test_spread_gives_every_shard_its_part_of_every_class(folder, zeros, ones):
    chosen = shards.configuration(folder)
    digests = iter(hashlib.sha256(str(number).encode()).hexdigest() for number in range(1000))
    items = [
        ImageRecord(str(folder), str(label), label, "", next(digests), 1, "png", 1, 1)
        for label, count in enumerate((zeros, ones))
        for _ in range(count)
    ]

    spread = shard_writer.interleave_by_class(chosen, items)

    assert sorted(spread, key=id) == sorted(items, key=id)
    assert shard_writer.interleave_by_class(chosen, items[::-1]) == spread
    number = min(10, len(items))
    start, least = 0, [zeros // number, ones // number]
    for shard in range(number):
        end = start + len(items) // number + (shard < len(items) % number)
        labels = [each.label for each in spread[start:end]]
        assert labels.count(0) >= least[0] and labels.count(1) >= least[1]
        start = end


def test_a_second_run_leaves_nothing_of_the_first(folder):
    shard_writer.write_shards(shards.configuration(folder, "Shards=7"), shards.splits(folder), shards.ABOUT)
    (folder / "ALL_train_notes.tfrecord").write_text("mine")
    (folder / ".shards.0123456789ab.tmp").mkdir()
    (folder / ".shards.0123456789ab.tmp" / "ALL_train_00000-of-00007.tfrecord").write_text("half")
    (folder / ".ALL_manifest.json.0123456789ab.tmp").write_text("half")

    with locks.folder_lock(folder):
        written = shard_writer.write_shards(
            shards.configuration(folder, "Shards=2"), shards.splits(folder), shards.ABOUT
        )

    files = [shard["file"] for shard in written.shards]
    assert sorted(shards.listing(folder)) == sorted(
        [*files, "ALL_manifest.json", "Classes.txt", "Labels.txt", "ALL_train_notes.tfrecord"]
    )
    assert len(files) == 4
    assert not list(folder.glob(".*.tmp"))


def test_equal_data_have_equal_hashes_wherever_they_are(folder, tmp_path):
    other = tmp_path / "elsewhere/Model/Data"
    other.mkdir(parents=True)

    one = shard_writer.write_shards(
        shards.configuration(folder, "Shards=2", "Epochs=3"), shards.splits(folder), shards.ABOUT
    )
    two = shard_writer.write_shards(shards.configuration(other, "Shards=2"), shards.splits(other), shards.ABOUT)
    three = shard_writer.write_shards(
        shards.configuration(other, "Shards=2"), shards.splits(other, train=13), shards.ABOUT
    )

    assert one.sha256 == two.sha256 != three.sha256
    assert [shard["sha256"] for shard in one.shards] == [shard["sha256"] for shard in two.shards]


def test_an_image_that_changed_meanwhile(folder):
    chosen = shards.configuration(folder)
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    before, made = shards.listing(folder), shards.splits(folder)
    made["train"][3].path.write_bytes(b"another image")

    with shards.fails("image_changed", "Im003_1.png"):
        shard_writer.write_shards(chosen, made, shards.ABOUT)
    assert shards.listing(folder) == before


def test_a_full_disk_leaves_the_former_shards(folder):
    chosen = shards.configuration(folder, "Shards=1")
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    before, made = shards.listing(folder), shards.splits(folder, 30, 8, size=64)

    with faults.full_disk(100_000), shards.fails("shards_not_written", "ALL_train_00000-of-00001.tfrecord"):
        shard_writer.write_shards(chosen, made, shards.ABOUT)

    assert shards.listing(folder) == before
    assert not list(folder.glob(".*.tmp"))
    tfrecords.load_manifest(chosen)


def test_no_room_for_the_manifest_leaves_the_former_shards(folder):
    chosen = shards.configuration(folder, "Shards=1")
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    before = shards.listing(folder)

    with faults.full_disk(6_000), pytest.raises(OSError, match="File too large"):
        shard_writer.write_shards(chosen, shards.splits(folder, 2, 2), {**shards.ABOUT, "unreadable": ["x" * 99] * 99})

    assert shards.listing(folder) == before
    tfrecords.load_manifest(chosen)


def test_ctrl_c_while_writing_leaves_the_former_shards(folder, monkeypatch):
    chosen = shards.configuration(folder, "Shards=2")
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    before, flushed = shards.listing(folder), file_system.fsync_path

    def interrupted(path):
        if path.name.startswith("ALL_validation"):
            raise KeyboardInterrupt
        flushed(path)

    monkeypatch.setattr(file_system, "fsync_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shard_writer.write_shards(chosen, shards.splits(folder, 20), shards.ABOUT)

    assert shards.listing(folder) == before
    assert not list(folder.glob(".*.tmp"))


def test_the_renames_are_not_interrupted(folder, monkeypatch):
    chosen = shards.configuration(folder, "Shards=2")
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    publish = shard_writer.replace_shards

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        publish(*arguments)

    monkeypatch.setattr(shard_writer, "replace_shards", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shard_writer.write_shards(chosen, shards.splits(folder, 20), shards.ABOUT)

    assert len(tfrecords.load_manifest(chosen).splits["train"]) == 20


def test_another_thread_may_write(folder):
    chosen, errors = shards.configuration(folder, "Shards=2"), []

    def write():
        try:
            shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
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
    chosen = shards.configuration(folder, "Shards=2")
    Data.prepare_dataset(chosen)
    before = shards.listing(folder)
    smears.fill(tmp_path, per_class=14)

    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=Helpers.PROJECT, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"writing\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()

    assert list(folder.glob(".shards.*.tmp"))
    assert shards.listing(folder) == before
    tfrecords.load_manifest(chosen)
    assert Data.prepare_dataset(chosen) == 0
    assert not list(folder.glob(".*.tmp"))
    assert sum(map(len, tfrecords.load_manifest(chosen).splits.values())) == 28


def test_death_between_the_renames_is_told(folder, monkeypatch):
    chosen = shards.configuration(folder, "Shards=2")
    shard_writer.write_shards(chosen, shards.splits(folder), shards.ABOUT)
    flushed, calls = file_system.fsync_path, []

    def dies(path):
        flushed(path)
        if path == folder:
            calls.append(path)
            if len(calls) == 2:
                raise SystemError("the machine is gone")

    monkeypatch.setattr(file_system, "fsync_path", dies)
    with pytest.raises(SystemError):
        shard_writer.write_shards(chosen, shards.splits(folder, 20), shards.ABOUT)

    with shards.fails("no_shards"):
        tfrecords.load_manifest(chosen)
