"""Decoding as units: shared between runs, continued after one ended, and always with the same data set."""

import errno
import json
import os

import numpy
import PIL.Image
import pytest

from Classes import Data
from Classes.common import provenance
from Classes.dataset import (
    audit,
    crop_descriptors,
    decoding,
    descriptor_store,
    discovery,
    held_out,
    image_records,
    perceptual_hash,
)
from Classes.dataset.decoding import Decoding
from Classes.jobs.shards import Shard
from tests.support import smears
from tests.support.folders import configuration, put


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    monkeypatch.setattr(decoding, "IMAGES_PER_UNIT", 3)


@pytest.fixture
def folder(tmp_path):
    generator = numpy.random.default_rng(5)
    for number in range(14):
        image = generator.integers(0, 255, (40, 40, 3), "uint8")
        put(tmp_path, f"Data/{number % 2}/Im{number:03d}.png", content=smears.png(image))
    put(tmp_path, "Data/1/Damaged.png", content=b"no image")
    put(tmp_path, "Test/Im900_1.png", content=smears.png(generator.integers(0, 255, (40, 40, 3), "uint8")))
    return tmp_path


def select(folder):
    return configuration(folder).replace(Processes=0)


def outputs(folder):
    return {path.name: path.read_bytes() for path in (folder / "Model/Data").iterdir() if path.is_file()}


def count_decoded(monkeypatch):
    from Classes.dataset import decode_task

    seen, read = [], decode_task.DecodeTask._read

    def counted(self, about):
        seen.append(about["file"])
        return read(self, about)

    monkeypatch.setattr(decode_task.DecodeTask, "_read", counted)
    return seen


def test_a_run_that_ended_early_is_continued(folder, monkeypatch):
    Data.prepare_dataset(select(folder))
    expected = outputs(folder)
    assert not list((folder / "Model/Jobs").glob("*/parts"))

    monkeypatch.setattr(Data.shard_writer, "write_shards", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Data.prepare_dataset(select(folder))
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "IMAGES_PER_UNIT", 3)
    seen = count_decoded(monkeypatch)
    Data.prepare_dataset(select(folder))
    assert seen == [] and outputs(folder) == expected


def test_a_file_that_cannot_be_examined_has_the_reason_of_the_system(folder):
    files = [
        folder / "Model/Data/0/Im000.png",
        folder / "Model/Data/0/Gone.png",
        folder / "Model/Data/0/Im000.png/a.png",
    ]

    found = list(Decoding(select(folder)).read([(str(path), path.name, False) for path in files]))

    assert found[0]["sha256"] == provenance.sha256_file(files[0])
    assert found[1:] == [
        {"reason": f"Gone.png: {os.strerror(errno.ENOENT)}"},
        {"reason": f"a.png: {os.strerror(errno.ENOTDIR)}"},
    ]


def test_what_follows_is_interrupted_before_the_part_files_go(folder, monkeypatch):
    def interrupt(*_arguments):
        assert any(name.endswith(".tfrecord") for name in outputs(folder))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Data.prepare_dataset(select(folder), follow_up=interrupt)
    seen = count_decoded(monkeypatch)
    called = []
    Data.prepare_dataset(select(folder), follow_up=lambda *_: called.append(True))
    assert seen == [] and len(called) == 1
    assert not list((folder / "Model/Jobs").glob("*/parts"))


@pytest.mark.parametrize("shards", [[None], [Shard(2, 2), Shard(1, 2)]], ids=["one run", "shares"])
def test_the_audit_that_follows_decodes_nothing_again(folder, shards, monkeypatch):
    put(folder, "Test/Damaged.png", content=b"no image")
    put(folder, "Test/notes.txt", content=b"no image")
    seen = count_decoded(monkeypatch)
    for shard in shards:
        Data.prepare_dataset(select(folder), shard=shard, follow_up=audit.audit_if_outdated)

    # The reason why a test image cannot be read is of interest to the audit only.
    assert sorted(seen) == sorted([*set(seen) - {"Test/Damaged.png"}, "Test/Damaged.png"])
    assert len(seen) == 15 + 3 + 1
    report = folder / "Model/Report/Data.json"
    found = json.loads(report.read_text())
    assert audit.audit_dataset(select(folder)) == 0
    alone = json.loads(report.read_text())
    assert len(alone["unreadable"]) == 2 and alone["manifest_sha256"]
    for key in ("created", "content_sha256"):
        del found[key], alone[key]
    assert found == alone


@pytest.mark.parametrize(("most", "audited"), [(13, False), (14, True)])
def test_only_a_small_data_set_is_audited(folder, most, audited):
    """14 of the 15 images can be read."""
    Data.prepare_dataset(select(folder).replace(AuditImages=most), follow_up=audit.audit_if_outdated)
    assert (folder / "Model/Report/Data.json").exists() == audited
    assert not list((folder / "Model/Jobs").glob("*/parts"))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shares_in_any_order_write_what_one_run_writes(folder, order, monkeypatch):
    Data.prepare_dataset(select(folder))
    expected = outputs(folder)
    for name in expected:
        (folder / "Model/Data" / name).unlink()
    seen = count_decoded(monkeypatch)
    for number in order:
        assert not any(name.endswith(".tfrecord") for name in outputs(folder))
        assert Data.prepare_dataset(select(folder), shard=Shard(number, 3)) == 0
    assert outputs(folder) == expected
    assert len(seen) == len(set(seen)) == 16
    # The same command without a share writes the same once more, and removes the part files.
    assert list((folder / "Model/Jobs").glob("*/parts/*.json"))
    assert Data.prepare_dataset(select(folder)) == 0
    assert outputs(folder) == expected and len(seen) == 16
    assert not list((folder / "Model/Jobs").glob("*/parts"))


def test_a_file_that_ends_its_process_is_listed(folder, monkeypatch):
    from Classes.jobs import run_job

    results = run_job.JobRun.results

    def killed(self):
        for item, result in results(self):
            yield item, ({"killed": True} if item.name in ("0/Im000.png", "/Test/Im900_1.png") else result)

    monkeypatch.setattr(run_job.JobRun, "results", killed)
    files, _ = discovery.find_class_images(select(folder))
    assignment = held_out.group_images(select(folder), files, {})
    records, unreadable = image_records.decode_all(
        select(folder), image_records.ImageRecord, image_records.class_images(files), assignment
    )
    assert {row["file"] for row in unreadable} == {"0/Im000.png", "1/Damaged.png"} and len(records) == 13
    # A test image is held out by its content at least.
    (test,) = held_out.read_test_records(select(folder), assignment)
    assert len(test.sha256) == 64 and test.size and not test.format


def test_descriptors_come_back_as_they_were(folder):
    run = Decoding(select(folder))
    paths = sorted((folder / "Model/Data").glob("?/Im*.png"))
    results = list(run.read([(str(path), path.name, False) for path in paths]))
    numbers = [run.store.add(*map(result.get, descriptor_store.KINDS))[0] for result in results]
    wanted = numbers[::3]
    images = [numpy.asarray(PIL.Image.open(paths[number])) for number in wanted]
    for place, image in enumerate(images):
        numpy.testing.assert_array_equal(run.store.fingerprints_of(wanted)[place], perceptual_hash.descriptor(image))
    found = [crop_descriptors.describe(image) for image in images]
    crops, owners = run.store.crops_of(wanted)
    numpy.testing.assert_array_equal(owners, numpy.repeat(range(len(images)), list(map(len, found))))
    numpy.testing.assert_array_equal(crops[: len(crops)], numpy.concatenate(found))
