"""Data.py: what is found, kept together, split and written."""

import collections
import hashlib
import os
import pathlib
import re
import shutil
import sys

import pytest

import Data as Script
from Classes import Data
from Classes.common import cli
from Classes.common.errors import ALLError, DataError
from Classes.dataset import grouping, tfrecords
from tests.support import smears
from tests.support.folders import configuration, manifest, put, sides, toys
from tests.support.processes import held


@pytest.fixture
def folder(tmp_path):
    return toys(tmp_path)


def test_every_image_ends_up_in_one_split(folder, caplog):
    caplog.set_level("INFO")

    assert Data.prepare_dataset(configuration(folder)) == 0

    found = sides(folder)
    assert sorted(found) == sorted(
        path.relative_to(folder / "Model/Data").as_posix() for path in folder.rglob("Toy*.png")
    )
    counts = collections.Counter((name[0], split) for name, split in found.items())
    for label in "01":
        assert counts[label, "validation"] in (5, 6, 7)
    values = manifest(folder)
    assert values["classes"] == ["0", "1"]
    assert (values["seed"], values["synthetic"]) == (50, False)
    assert values["configuration"]["Data"]["ValidationSize"] == 0.3
    assert values["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    for key in ("unreadable", "ignored", "duplicates", "contradictions", "held_out"):
        assert values[key] == []
    assert (folder / "Model/Data/Classes.txt").read_text() == "0\n1\n"
    assert (folder / "Model/Data/Labels.txt").read_text() == "0:0\n1:1\n"
    assert "Completed sorting data!" in caplog.text
    assert "Next: python3 Trainer.py" in caplog.text
    records = [record for split in tfrecords.SPLITS for record in tfrecords.iter_records(configuration(folder), split)]
    assert all(record.filename.startswith(f"{record.label}/") for record in records)
    assert all(hashlib.sha256(record.encoded).hexdigest() == record.sha256 for record in records)


def test_every_shard_has_both_classes(folder):
    Data.prepare_dataset(configuration(folder, "Shards=4"))

    values = manifest(folder)
    for split, rows in values["splits"].items():
        rows = iter(rows)
        for shard in values["shards"]:
            if shard["split"] == split:
                assert {next(rows)["class"] for _ in range(shard["count"])} == {"0", "1"}


def test_the_proof(folder):
    Data.prepare_dataset(configuration(folder))

    values = manifest(folder)
    groups = {split: {row["group"] for row in rows} for split, rows in values["splits"].items()}
    assert not groups["train"] & groups["validation"]
    for kind in ("group", "sha256"):
        counts = {split: len({row[kind] for row in rows}) for split, rows in values["splits"].items()}
        assert values["proof"][kind] == {**counts, "test": 0, "in_both": []}
    # All images are of 16 pixels, which is too small for a fingerprint, and no patient is known.
    assert values["proof"]["not_compared"] == {**counts, "test": 0}
    assert values["proof"]["patients"]["train"] == {"known": 0, "images": counts["train"]}


def test_nothing_changes_sides_when_files_come_or_the_folder_moves(folder, tmp_path_factory):
    Data.prepare_dataset(configuration(folder))
    before, written = sides(folder), manifest(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(folder, elsewhere)

    Data.prepare_dataset(configuration(elsewhere))
    assert sides(elsewhere) == before
    assert manifest(elsewhere)["content_sha256"] == written["content_sha256"]

    for number in range(20, 45):
        for positive in (0, 1):
            put(elsewhere, f"Data/{positive}/Toy{number:03d}_{positive}.png", positive, number)
    Data.prepare_dataset(configuration(elsewhere))
    after = sides(elsewhere)
    assert len(after) == 90
    # 20 images a class are few: the share may cost one of each side's class its place, not more.
    assert sum(after[name] != split for name, split in before.items()) <= 2


def test_another_seed(folder):
    Data.prepare_dataset(configuration(folder))
    before = sides(folder)

    Data.prepare_dataset(configuration(folder, "RandomSeed=51"))

    assert sides(folder) != before
    assert manifest(folder)["seed"] == 51


def test_a_second_run_writes_the_same_bytes(folder):
    def shards():
        return {path.name: path.read_bytes() for path in (folder / "Model/Data").iterdir() if path.is_file()}

    Data.prepare_dataset(configuration(folder, "Workers=1"))
    before = shards()
    Data.prepare_dataset(configuration(folder, "Workers=1"))

    assert shards() == before


def test_views_stay_together_across_classes(folder):
    for number in range(20):
        for view in (1, 2):
            put(folder, f"Data/{number % 2}/Toy{number:03d}_0__{view}.png", True, 1000 * view + number)
            put(folder, f"Data/{number % 2}/TOY{number:03d}_0__{view}.PNG", True, 9000 * view + number)

    Data.prepare_dataset(configuration(folder))

    found = {}
    for name, split in sides(folder).items():
        found.setdefault(grouping.source_image_key(name, configuration(folder)["GroupPattern"]), set()).add(split)
    assert all(len(splits) == 1 for splits in found.values())
    assert len(sides(folder)) == 40 + 80


def test_patients_of_groups_csv_stay_together(folder, caplog):
    names = sorted(sides_of_files(folder))
    lines = [f"{name.rpartition('/')[2]},patient {number % 8}" for number, name in enumerate(names[:-2])]
    (folder / "Model/Data/groups.csv").write_text("\n".join(["file,patient", *lines, "ghost.png,9"]))

    Data.prepare_dataset(configuration(folder))

    found = collections.defaultdict(set)
    for rows in manifest(folder)["splits"].items():
        for row in rows[1]:
            found[row["group"]].add(rows[0])
    assert len([group for group in found if group.startswith("patient ")]) == 8
    assert all(len(splits) == 1 for splits in found.values())
    known = manifest(folder)["proof"]["patients"]
    assert sum(each["known"] for each in known.values()) == 38
    assert sum(each["images"] for each in known.values()) == 40
    assert "1/Toy018_1.png" in caplog.text
    assert "ghost.png" in caplog.text


def sides_of_files(folder):
    data = folder / "Model/Data"
    return [path.relative_to(data).as_posix() for path in data.rglob("Toy*.png")]


def test_a_malformed_groups_csv(folder):
    (folder / "Model/Data/groups.csv").write_text("Toy001_0.png;1\n")

    with pytest.raises(DataError, match=r"groups\.csv") as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "groups_table"


def test_the_type_is_the_contents(folder):
    (folder / "Model/Data/0/Toy001_0.png").rename(folder / "Model/Data/0/Toy001_0.jpg")

    Data.prepare_dataset(configuration(folder))

    formats = {
        record.filename: record.format
        for split in tfrecords.SPLITS
        for record in tfrecords.iter_records(configuration(folder), split)
    }
    assert formats["0/Toy001_0.jpg"] == "png"


@pytest.mark.parametrize("folders", [[], ["0", "1"], ["0"]])
def test_no_images_at_all(tmp_path, folders):
    data = tmp_path / "Model/Data"
    data.mkdir(parents=True)
    for name in folders:
        (data / name).mkdir()
        (data / name / ".gitkeep").touch()

    with pytest.raises(DataError, match=re.escape(str(data))) as caught:
        Data.prepare_dataset(configuration(tmp_path))
    assert caught.value.code == "no_images"


def test_no_data_folder(tmp_path):
    with pytest.raises(DataError) as caught:
        Data.prepare_dataset(configuration(tmp_path))
    assert caught.value.code == "no_folder"
    assert not (tmp_path / "Model").exists()


def test_one_class_only(folder):
    shutil.rmtree(folder / "Model/Data/0")

    with pytest.raises(DataError) as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "one_class"


def test_an_empty_class(folder):
    for path in (folder / "Model/Data/0").iterdir():
        path.unlink()

    with pytest.raises(DataError) as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "one_class"


def test_other_class_names(folder):
    data = folder / "Model/Data"
    (data / "0").rename(data / "healthy")
    (data / "1").rename(data / "leukemic")

    with pytest.raises(DataError, match="healthy, leukemic") as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "positive_class"
    Data.prepare_dataset(configuration(folder, "PositiveClass=leukemic"))

    assert (data / "Classes.txt").read_text() == "healthy\nleukemic\n"
    assert (data / "Labels.txt").read_text() == "0:healthy\n1:leukemic\n"
    assert manifest(folder)["classes"] == ["healthy", "leukemic"]


def test_three_classes(folder):
    for number in range(9):
        put(folder, f"Data/2/c{number}.png", True, 700 + number)

    with pytest.raises(DataError, match="0, 1, 2") as caught:
        Data.prepare_dataset(configuration(folder, "NumClasses=4"))
    assert caught.value.code == "class_count"
    assert Data.prepare_dataset(configuration(folder)) == 0
    assert {row["label"] for row in manifest(folder)["splits"]["validation"]} == {0, 1, 2}


def test_a_class_of_which_nothing_is_left(folder):
    for path in (folder / "Model/Data/0").iterdir():
        path.write_bytes(b"broken")

    with pytest.raises(DataError, match="class 0") as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "class_without_images"
    assert not (folder / "Model/Data/ALL_manifest.json").exists()


def test_a_class_of_one_original(folder):
    for path in (folder / "Model/Data/1").iterdir():
        path.rename(path.with_name(f"same__{path.name}"))

    with pytest.raises(DataError, match="class 1") as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "class_in_one_split"


def test_fewer_images_than_shards(tmp_path, caplog):
    caplog.set_level("INFO")
    for positive in (0, 1):
        for number in range(3):
            put(tmp_path, f"Data/{positive}/t{number}_{positive}.png", positive, number)

    Data.prepare_dataset(configuration(tmp_path, "Shards=10"))

    counts = collections.Counter(shard["split"] for shard in manifest(tmp_path)["shards"])
    assert counts == {"train": 4, "validation": 2}
    assert "train: fewer images than Shards=10" in caplog.text


def test_names_beyond_ascii(folder):
    put(folder, "Data/1/Zelle äöü 白血病.png", True, 800)
    broken = os.fsencode(folder / "Model/Data/1") + b"/no\xfftext.png"
    try:
        with open(broken, "wb") as file:
            file.write(smears.png(smears.cell(True, 801, 16)))
    except OSError:
        broken = None

    Data.prepare_dataset(configuration(folder))

    assert "1/Zelle äöü 白血病.png" in sides(folder)
    if broken:
        assert "1/no\ufffdtext.png" in sides(folder)
    assert len(tfrecords.load_manifest(configuration(folder)).splits["train"]) > 20


def test_two_runs_at_once(folder):
    with held(folder / "Model/Data"), pytest.raises(ALLError) as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "folder_in_use"


def test_all_cores_give_what_one_gives(folder):
    Data.prepare_dataset(configuration(folder, "Workers=1"))
    before = manifest(folder)

    Data.prepare_dataset(configuration(folder, "Workers=7"))

    assert manifest(folder)["shards"] == before["shards"]


def test_the_script(folder, monkeypatch, capsys):
    put(folder, "Data/1/cut.png", content=b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["Data.py"])
    options = ["--set", f"NetworkPath={folder}", "--set", "Shards=2"]

    assert cli.run_cli(lambda: Script.main(options), ()) == 0
    assert "Completed sorting data!" in capsys.readouterr().out
    assert cli.run_cli(lambda: Script.main([*options, "--strict"]), ()) == 1
    assert (folder / "Logs/Data.log").exists()

    shutil.rmtree(folder / "Model/Data/0")
    assert cli.run_cli(lambda: Script.main(options), ()) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1


@pytest.mark.slow
def test_real_cells(tmp_path):
    shared = os.environ.get("ALL_SHARED")
    if not shared:
        pytest.skip("ALL_SHARED does not name the folder of the real cells")
    source = pathlib.Path(shared) / "data/pbc"
    (tmp_path / "Model/Data").mkdir(parents=True)
    for place, target in (("0", "Data/0"), ("1", "Data/1"), ("Test", "Test")):
        (tmp_path / "Model" / target).symlink_to(source / place, target_is_directory=True)

    assert Data.prepare_dataset(configuration(tmp_path, "Shards=10")) == 0

    values = manifest(tmp_path)
    assert sum(map(len, values["splits"].values())) == 600
    assert values["unreadable"] == []
    assert {shard["count"] for shard in values["shards"] if shard["split"] == "train"} <= {43, 44}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Data/Inbox", "Data/1/Inbox", "Test/Inbox"])
def test_captured_images_are_neither_a_class_nor_test_images(tmp_path, name):
    smears.fill(tmp_path, per_class=20)
    found = configuration(tmp_path)
    Data.prepare_dataset(found)
    before = manifest(tmp_path)

    # The same image as smear 1 of class 1.
    smears.capture(tmp_path / "Model" / name)
    Data.prepare_dataset(found)

    after = manifest(tmp_path)
    for key in ("classes", "splits", "held_out", "images_sha256", "ignored"):
        assert after[key] == before[key], key
