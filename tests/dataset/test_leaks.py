"""No patient, source image or picture is in two of training, validation and test, whatever copies and tables exist."""

import shutil

import numpy
import PIL.Image
import pytest

from Classes import Data
from Classes.common import input_files, provenance
from Classes.common.errors import DataError
from Classes.dataset import crop_descriptors, discovery, grouping, held_out, tfrecords
from tests.support import smears
from tests.support.folders import configuration, put


def picture(number, turns=0, mirrored=False):
    """uint8 [64, 64, 3]: a picture of its own for each number, large enough to be recognized when it is turned."""
    coarse = numpy.random.default_rng(number).integers(0, 255, (9, 9, 3), "uint8")
    image = numpy.asarray(PIL.Image.fromarray(coarse).resize((64, 64), PIL.Image.Resampling.BICUBIC))
    image = numpy.rot90(image, turns)
    return numpy.ascontiguousarray(image[:, ::-1] if mirrored else image)


def add(folder, name, number, **change):
    return put(folder, name, content=smears.png(picture(number, **change)))


@pytest.fixture(autouse=True)
def no_search_for_crops(monkeypatch):
    """These pictures are noise, so that nearly all pairs would be aligned; test_overlapping_crops tests that search."""
    monkeypatch.setattr(crop_descriptors, "describe", lambda picture: None)


PATIENTS = 8


def table(folder, rows):
    text = "".join(f"{file},{patient}\n" for file, patient in rows.items())
    (folder / "Model/Data/groups.csv").write_text("file,patient\n" + text)


def cells(folder):
    """{file: patient}: two images of each of eight patients a class, such as c1p3k0.png of patient 13."""
    rows = {}
    for label in (0, 1):
        for patient in range(PATIENTS):
            for image in (0, 1):
                name = f"c{label}p{patient}k{image}.png"
                add(folder, f"Data/{label}/{name}", [label, patient, image])
                rows[name] = f"{label}{patient}"
    return rows


@pytest.fixture
def rows(tmp_path):
    return cells(tmp_path)


def select(folder, *settings):
    """({class/file: split}, manifest part) of what Data.py decides."""
    chosen = configuration(folder, "AllowDatasetBias=true", "Workers=1", *settings)
    files, _ = discovery.find_class_images(chosen)
    splits, about = Data.build_splits(chosen, files, grouping.load_patient_map(folder / "Model/Data"))
    return {item.filename: split for split, items in splits.items() for item in items}, about


def of_patient(sides, label, patient):
    return {name for name in sides if name.startswith(f"{label}/c{label}p{patient}k")}


@pytest.mark.parametrize("copy", ["none", "content", "turned", "view"])
def test_the_patient_of_a_test_image_is_held_out(tmp_path, rows, copy):
    add(tmp_path, "Test/unseen_1.png", 999)
    table(tmp_path, {**rows, "unseen_1.png": "13"})
    if copy == "content":
        shutil.copy(tmp_path / "Model/Data/1/c1p3k0.png", tmp_path / "Model/Data/1/backup.png")
    elif copy == "turned":
        add(tmp_path, "Data/1/backup.png", [1, 3, 0], turns=1, mirrored=True)
    elif copy == "view":
        add(tmp_path, "Data/1/backup__rotated_03.jpg", [1, 3, 0], turns=1)

    sides, about = select(tmp_path)

    assert not of_patient(sides, 1, 3)
    assert not {name for name in sides if "backup" in name}
    assert {row["file"] for row in about["held_out"]} >= {"1/c1p3k0.png", "1/c1p3k1.png"}
    assert about["proof"]["group"]["test"] == 1
    assert [(row["file"], row["patient"]) for row in about["tests"]] == [("/Test/unseen_1.png", "13")]


def test_a_table_in_the_test_folder(tmp_path, rows):
    add(tmp_path, "Test/c1p5k0.png", 999)
    (tmp_path / "Model/Test/Groups.csv").write_text("Image;Patient\nC1P5K0;13\n")
    table(tmp_path, rows)

    sides, about = select(tmp_path)

    assert not of_patient(sides, 1, 3)
    assert about["proof"]["patients"]["test"] == {"known": 1, "images": 1}


def test_a_test_image_that_got_its_class_into_its_name(tmp_path, rows):
    add(tmp_path, "Test/unseen_1.jpg", 999)
    table(tmp_path, {**rows, "unseen.tif": "13"})

    sides, _ = select(tmp_path)

    assert not of_patient(sides, 1, 3)


@pytest.mark.parametrize("turns", [0, 1])
def test_two_patients_that_a_copy_joins_are_both_held_out(tmp_path, rows, turns):
    add(tmp_path, "Data/1/again.png", [1, 3, 0], turns=turns)
    add(tmp_path, "Test/unseen_1.png", 999)
    table(tmp_path, {**rows, "again.png": "12", "unseen_1.png": "13"})

    sides, _ = select(tmp_path)

    assert not of_patient(sides, 1, 3) | of_patient(sides, 1, 2)
    assert of_patient(sides, 1, 4)


def test_a_test_image_whose_patient_only_a_copy_gives(tmp_path, rows):
    add(tmp_path, "Test/unknown.png", [1, 3, 0], turns=2)
    table(tmp_path, rows)

    sides, about = select(tmp_path)

    assert not of_patient(sides, 1, 3)
    assert about["tests"][0]["patient"] == "13"


def test_a_view_of_a_test_image_holds_out_its_patient(tmp_path, rows):
    add(tmp_path, "Test/unseen_1.png", 999)
    add(tmp_path, "Data/1/elsewhere__gray.jpg", 999, turns=3)
    table(tmp_path, {**rows, "elsewhere__gray.jpg": "13"})

    sides, _ = select(tmp_path)

    assert not of_patient(sides, 1, 3)
    assert "1/elsewhere__gray.jpg" not in sides


def test_a_copy_of_a_test_image_in_two_classes(tmp_path, rows):
    """Left out for its label; its patients are held out all the same."""
    add(tmp_path, "Test/unseen_1.png", [1, 3, 0], turns=1)
    add(tmp_path, "Data/0/wrong.png", [1, 3, 0], turns=2)
    table(tmp_path, {**rows, "wrong.png": "05"})

    sides, about = select(tmp_path)

    assert not of_patient(sides, 1, 3) | of_patient(sides, 0, 5) | {"0/wrong.png"} & set(sides)
    assert [conflict["files"] for conflict in about["contradictions"]] == [["0/wrong.png", "1/c1p3k0.png"]]


@pytest.mark.slow
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ["backup.png", "c1p3k0 (1).png", "zz.png", "A.png"])
def test_a_copy_moves_no_patient_to_another_split(tmp_path, rows, listed, name):
    if listed:
        table(tmp_path, rows)
    before, _ = select(tmp_path)
    for patient in range(PATIENTS):
        source, copy = (tmp_path / "Model/Data/1" / each for each in (f"c1p{patient}k0.png", name))
        shutil.copy(source, copy)

        after, _ = select(tmp_path)

        # The copy may stand for its source, on the same side.
        after[f"1/{source.name}"] = after.get(f"1/{source.name}") or after[f"1/{name}"]
        assert {each: after[each] for each in before} == before
        copy.unlink()


def test_merged_patients_keep_their_names(tmp_path, rows):
    add(tmp_path, "Data/1/again.png", [1, 3, 0], turns=1)
    table(tmp_path, {**rows, "again.png": "12"})
    chosen = configuration(tmp_path, "AllowDatasetBias=true", "Workers=1")
    files, _ = discovery.find_class_images(chosen)

    splits, about = Data.build_splits(chosen, files, grouping.load_patient_map(tmp_path / "Model/Data"))

    items = {item.filename: item for each in splits.values() for item in each}
    assert items["1/c1p3k1.png"].group == items["1/c1p2k1.png"].group == "patient 12"
    assert {name: items[name].patient for name in ("1/c1p3k1.png", "1/c1p2k1.png", "1/again.png")} == {
        "1/c1p3k1.png": "13", "1/c1p2k1.png": "12", "1/again.png": "12",
    }  # fmt: skip
    assert len({item.patient for item in items.values()}) == 2 * PATIENTS
    assert all(each["known"] == each["images"] for each in about["proof"]["patients"].values())


def test_conflicting_labels_go_with_their_copies_and_views(tmp_path, rows):
    for patient in range(3):
        source = [1, patient, 0]
        shutil.copy(tmp_path / f"Model/Data/1/c1p{patient}k0.png", tmp_path / f"Model/Data/0/twin{patient}.png")
        add(tmp_path, f"Data/1/c1p{patient}k0__sheared.png", 5000 + patient)
        add(tmp_path, f"Data/1/saved again{patient}.png", source, turns=1, mirrored=True)
        add(tmp_path, f"Data/1/saved again{patient}__shifted.png", 6000 + patient)
        add(tmp_path, f"Data/1/c1p{patient}k1__shifted.png", 7000 + patient)
        rows |= {f"twin{patient}.png": f"1{patient}", f"saved again{patient}.png": f"1{patient}"}
    table(tmp_path, rows)

    sides, about = select(tmp_path)

    assert not {name for name in sides if "twin" in name or "again" in name or "k0__" in name}
    assert not {f"1/c1p{patient}k0.png" for patient in range(3)} & set(sides)
    assert len(about["contradictions"]) == 3
    # The view of another image of the patient stays, if its source is in training.
    for patient in range(3):
        used = sides.get(f"1/c1p{patient}k1__shifted.png") == "train"
        assert used == (sides[f"1/c1p{patient}k1.png"] == "train")


def test_a_view_filed_under_another_class_is_a_conflict(tmp_path, rows):
    add(tmp_path, "Data/0/other__mirrored_vertically.png", [1, 2, 0], turns=2, mirrored=True)
    table(tmp_path, rows)

    sides, about = select(tmp_path)

    assert not {"0/other__mirrored_vertically.png", "1/c1p2k0.png"} & set(sides)
    assert about["contradictions"][0]["classes"] == ["0", "1"]


def test_a_table_that_matches_nothing_stops(tmp_path, rows):
    table(tmp_path, {f"scan_{name}": patient for name, patient in rows.items()})

    with pytest.raises(DataError) as caught:
        select(tmp_path)
    assert caught.value.code == "groups_match_nothing"


def test_how_many_patients_are_known_is_counted(tmp_path, rows):
    add(tmp_path, "Test/a.png", 700)
    add(tmp_path, "Test/b.png", 701)
    put(tmp_path, "Test/small.png", content=smears.png(numpy.zeros((8, 8, 3), "uint8")))
    table(tmp_path, {name: patient for name, patient in rows.items() if name.startswith("c0")} | {"a.png": "x"})

    _, about = select(tmp_path)

    counts = about["proof"]["patients"]
    assert counts["test"] == {"known": 1, "images": 3}
    assert sum(counts[split]["known"] for split in ("train", "validation")) == 2 * PATIENTS
    assert sum(counts[split]["images"] for split in ("train", "validation")) == 4 * PATIENTS
    assert about["proof"]["not_compared"] == {"train": 0, "validation": 0, "test": 1}


def test_patients_of_c_nmc_are_kept_apart_without_a_table(tmp_path):
    for label, letter, diagnosis in ((0, "H", "hem"), (1, "", "all")):
        for subject in range(10):
            for image in range(3):
                name = f"UID_{letter}{subject + 1}_{image + 1}_1_{diagnosis}.bmp"
                add(tmp_path, f"Data/{label}/{name}", [label, subject, image])
    add(tmp_path, "Test/UID_H4_9_1_hem.bmp", 900)

    sides, about = select(tmp_path, 'ValidIType=[".bmp"]')

    places = {}
    for name, side in sides.items():
        places.setdefault(name.split("_")[1], set()).add(side)
    assert len(places) == 19 and "H4" not in places
    assert all(len(each) == 1 for each in places.values())
    assert all(each["known"] == each["images"] for each in about["proof"]["patients"].values())


def test_a_linked_test_folder_is_followed(tmp_path, tmp_path_factory, rows):
    cohort = tmp_path_factory.mktemp("cohort")
    shutil.copy(tmp_path / "Model/Data/1/c1p3k0.png", cohort / "renamed_1.png")
    (cohort / "back").symlink_to(tmp_path / "Model/Test", target_is_directory=True)
    (cohort / "self").symlink_to(cohort, target_is_directory=True)
    (tmp_path / "Model/Test").mkdir()
    (tmp_path / "Model/Test/cohort").symlink_to(cohort, target_is_directory=True)
    table(tmp_path, {**rows, "Model/Test/cohort": "05"})

    sides, about = select(tmp_path)

    assert not of_patient(sides, 1, 3) | of_patient(sides, 0, 5)
    assert [row["file"] for row in about["tests"]] == ["/Test/cohort/renamed_1.png"]
    assert [path.name for path in input_files.resolve_inputs(configuration(tmp_path))] == ["renamed_1.png"]


def test_a_link_that_leads_nowhere_stops(tmp_path, rows):
    (tmp_path / "Model/Test").mkdir()
    (tmp_path / "Model/Test/cohort").symlink_to(tmp_path / "not mounted", target_is_directory=True)
    table(tmp_path, rows)

    with pytest.raises(DataError) as caught:
        select(tmp_path)
    assert caught.value.code == "broken_link"


def test_a_test_image_that_was_added_after_the_split(tmp_path, rows, caplog):
    add(tmp_path, "Test/known.png", [9, 9])
    chosen = configuration(tmp_path, "AllowDatasetBias=true", "Workers=1")
    known = provenance.sha256_file(tmp_path / "Model/Test/known.png")
    items = [{"file": "1/c1p3k0.png", "sha256": provenance.sha256_file(tmp_path / "Model/Data/1/c1p3k0.png")}]
    manifest = tfrecords.Manifest(tmp_path, ["0", "1"], {"train": items}, [], True, "", frozenset([known]))

    held_out.check_test_images(chosen, manifest)
    assert not caplog.records

    add(tmp_path, "Test/new.png", [9, 8])
    held_out.check_test_images(chosen, manifest)
    assert [record.args[0] for record in caplog.records] == [1]

    shutil.copy(tmp_path / "Model/Data/1/c1p3k0.png", tmp_path / "Model/Test/renamed.png")
    with pytest.raises(DataError) as stopped:
        held_out.check_test_images(chosen, manifest)
    assert stopped.value.code == "test_image_in_shards"
