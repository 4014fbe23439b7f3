"""Made-up folders in the shapes in which data sets are published."""

import json
import os

import pytest

from Classes import Data
from Classes.common.errors import DataError
from Classes.dataset import audit, image_source, tfrecords
from Classes.dataset.presets import settings
from tests.support import folders, smears
from tests.support.errors import raises

FOUR = ("Benign", "[Malignant] Pre-B", "[Malignant] Pro-B", "[Malignant] early Pre-B")


def publish(tmp_path, *names):
    """Distinct images under names; returns the folder."""
    folder = tmp_path / "published"
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(smears.png(smears.cell("all" in name, number, 16)))
    return folder


def find(tmp_path, *names, chosen=()):
    """(adopted configuration, source) of empty files."""
    folder = tmp_path / "published"
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return image_source.find_images(folders.configuration(tmp_path, f"ImageDir={folder}", *chosen))


def counts(source):
    return {name: len(paths) for name, paths in source.files.items()}


def preset(source):
    return source.recognized and source.recognized.preset.name


def c_nmc(prefix=""):
    return [
        f"{prefix}fold_{fold}/{name}/UID_{mark}{subject}_{image}_1_{name}.bmp"
        for fold in range(3)
        for name, mark in (("all", ""), ("hem", "H"))
        for subject in range(3 * fold, 3 * fold + 4)
        for image in range(1, 4)
    ]


@pytest.mark.parametrize("prefix", ["", "C-NMC_training_data/", "C-NMC_Leukemia/training_data/"])
def test_c_nmc(tmp_path, prefix):
    test = ["C-NMC_test_prelim_phase_data/1.bmp", "C-NMC_test_prelim_phase_data/2.bmp"]
    adopted, source = find(tmp_path, *c_nmc(prefix), *(test if prefix else []))

    assert preset(source) == "C-NMC"
    assert counts(source) == {"all": 36, "hem": 36}
    assert (adopted["NumClasses"], adopted["PositiveClass"]) == (2, "all")
    assert source.ignored == (test if prefix else [])
    assert source.split is None


def test_class_folders_called_all_and_hem_with_other_files_are_not_c_nmc(tmp_path):
    _, source = find(tmp_path, "all/a.png", "hem/b.png", chosen=["PositiveClass=all"])
    assert preset(source) is None


def test_cells_of_a_subject_stay_together_across_folds(tmp_path):
    publish(tmp_path, *c_nmc())
    configuration = folders.configuration(tmp_path, f"ImageDir={tmp_path / 'published'}")

    Data.prepare_dataset(configuration)

    manifest = tfrecords.load_manifest(configuration)
    sides = {split: {row["patient"] for row in rows} for split, rows in manifest.splits.items()}
    # Subjects 3 and 6 are in two folds.
    assert sides["train"] | sides["validation"] == {f"{mark}{number}" for mark in ("", "H") for number in range(10)}
    assert sides["train"].isdisjoint(sides["validation"])
    assert manifest.data_set["preset"] == "C-NMC"
    assert manifest.data_set["limits"]
    assert not list((tmp_path / "published").glob("*.tfrecord"))


@pytest.mark.parametrize(
    ("place", "extension", "name"),
    [("im/", ".jpg", "ALL-IDB1"), ("", ".jpg", "ALL-IDB1"), ("ALL_IDB2/img/", ".tif", "ALL-IDB2")],
)
def test_all_idb_has_the_class_in_the_names(tmp_path, place, extension, name):
    names = [f"{place}Im{number:03d}_{number % 2}{extension}" for number in range(1, 6)]
    adopted, source = find(tmp_path, *names, "xyc/Im001_1.xyc")

    assert preset(source) == name
    assert counts(source) == {"0": 2, "1": 3}
    assert adopted["PositiveClass"] == "1"


def test_both_all_idb_are_not_mixed(tmp_path):
    names = ["ALL_IDB1/im/Im001_1.jpg", "ALL_IDB1/im/Im002_0.jpg", "ALL_IDB2/img/Im001_1.tif"]
    with pytest.raises(DataError) as caught:
        find(tmp_path, *names, "ALL_IDB2/img/Im002_0.tif")
    assert caught.value.code in ("several_data_sets", "flat_folder")


def test_four_classes(tmp_path):
    adopted, source = find(tmp_path, *(f"{name}/Sap_{number}.jpg" for number, name in enumerate(FOUR)))

    assert preset(source) == "ALL-four-class"
    assert list(source.files) == list(FOUR)
    assert adopted["NumClasses"] == 4
    assert adopted["PositiveClass"] == list(FOUR[1:])


def test_segmented_twins_of_the_original_images_are_left_out(tmp_path):
    names = [f"{kind}/{name}/WBC-{name}.jpg" for kind in ("Original", "Segmented") for name in ("Benign", "Early")]
    names += [f"{kind}/{name}/WBC-{name}.jpg" for kind in ("Original", "Segmented") for name in ("Pre", "Pro")]
    _, source = find(tmp_path, *names)

    assert counts(source) == {"Benign": 1, "Early": 1, "Pre": 1, "Pro": 1}
    assert all("Original" in str(path) for paths in source.files.values() for path in paths)
    assert len(source.ignored) == 4
    assert source.settings["PositiveClass"] == ["Early", "Pre", "Pro"]


PBC = ("basophil/BA_1.jpg", "eosinophil/EO_1.jpg", "ig/MMY_1.jpg", "lymphocyte/LY_1.jpg", "monocyte/MO_1.jpg")
PBC += ("neutrophil/BNE_1.jpg", "neutrophil/SNE_1.jpg", "neutrophil/NEUTROPHIL_1.jpg", "platelet/PLATELET_1.jpg")


def test_pbc_detects_nothing(tmp_path):
    adopted, source = find(tmp_path, *(f"PBC_dataset_normal_DIB/{name}" for name in PBC))

    assert preset(source) == "PBC"
    assert counts(source)["neutrophil"] == 3
    assert adopted["PositiveClass"] == ""


def test_fine_types_of_pbc_are_in_the_file_names(tmp_path):
    adopted, source = find(tmp_path, *PBC, "ig/PMY_1.jpg", chosen=["DatasetPreset=PBC-fine"])

    assert counts(source) == dict.fromkeys(("BA", "BNE", "EO", "LY", "MMY", "MO", "PLATELET", "PMY", "SNE"), 1)
    assert source.ignored == ["neutrophil/NEUTROPHIL_1.jpg"]
    assert adopted["ClassGroups"] == {"immature granulocyte": ["MMY", "PMY"], "neutrophil": ["BNE", "SNE"]}


def test_munich(tmp_path):
    codes = ("LYT", "MON", "MYO", "MOB", "NGS", "NGB")
    folder = tmp_path / "published"
    folder.mkdir()
    rows = ["LYT/LYT_0001.tiff LYT nan nan", "MYO/MYO_0001.tiff MYO MYO MOB", "MON/MON_0001.tiff MON MON nan"]
    (folder / "annotations.dat").write_text("\n".join(rows))
    names = [f"AML-Cytomorphology_LMU/{code}/{code}_0001.tiff" for code in codes]
    adopted, source = find(tmp_path, *names)

    assert preset(source) == "AML-Munich"
    assert adopted["PositiveClass"] == ["MOB", "MYO"]
    assert adopted["ClassGroups"] == {"neutrophil": ["NGB", "NGS"]}
    assert adopted["Condition"] == "AML"
    # Of two images with a second opinion, one got another class.
    assert source.describe()["limits"][-1].values.items() >= {"again": 2, "other": 1}.items()


def test_a_preset_can_be_named_or_switched_off(tmp_path):
    with raises(DataError, "preset_mismatch"):
        find(tmp_path, "0/a.png", "1/b.png", chosen=["DatasetPreset=C-NMC"])
    _, source = find(tmp_path, "0/a.png", "1/b.png")
    assert (source.describe(), counts(source)) == (None, {"0": 1, "1": 1})


def test_switched_off_nested_folders_are_refused_as_before(tmp_path):
    with raises(DataError, "nested_folders"):
        find(tmp_path, *c_nmc(), chosen=["DatasetPreset=none"])


def test_what_the_user_has_set_wins(tmp_path):
    adopted, _ = find(tmp_path, *c_nmc(), chosen=["PositiveClass=hem"])
    assert adopted["PositiveClass"] == "hem"


def split_names(count=8, extension=".png"):
    names = {"train": "train", "val": "val", "test": "test"}
    return [f"{part}/{label}/{number}{extension}" for part in names for label in "01" for number in range(count)]


def test_an_existing_split_is_kept(tmp_path):
    publish(tmp_path, *split_names())
    configuration = folders.configuration(tmp_path, f"ImageDir={tmp_path / 'published'}")

    Data.prepare_dataset(configuration)

    manifest = tfrecords.load_manifest(configuration)
    for split, folder in (("train", "train"), ("validation", "val")):
        # Equal names in train and val do not make their images belong together.
        assert sorted(row["file"] for row in manifest.splits[split]) == sorted(
            name for name in split_names() if name.startswith(f"{folder}/")
        )
    values = json.loads(tfrecords.manifest_path(configuration).read_text())
    assert len(values["tests"]) == 16
    adopted = settings.adopt_from_manifest(configuration)
    assert adopted.path("TestImagePath") == tmp_path / "published/test"


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["training/0/a.png", "training/1/b.png", "Validation/0/c.png", "Validation/1/d.png"], {"train", "validation"}),
        (["x/train_set/0/a.png", "x/train_set/1/b.png", "x/test_set/0/c.png"], {"train", "test"}),
        (["0/a.png", "1/b.png", "test/0/c.png", "test/1/d.png"], {"train", "test"}),
    ],
)
def test_folders_of_a_split(tmp_path, names, roles):
    _, source = find(tmp_path, *names)
    assert set(source.split.folders) == roles
    assert set(source.files) == {"0", "1"}


def test_a_test_folder_of_another_name_is_left_out_of_a_split(tmp_path):
    names = ["train/0/a.png", "train/1/b.png", "val/0/c.png", "val/1/d.png", "mine/1/e.png", "mine/f.png"]
    mine = tmp_path / "published/mine"
    adopted, source = find(tmp_path, *names, chosen=[f"TestImagePath={mine}"])
    assert set(source.split.folders) == {"train", "validation"}
    assert counts(source) == {"0": 2, "1": 2}
    assert source.tests == adopted.path("TestImagePath") == mine


@pytest.mark.parametrize(("choice", "kept"), [("keep", True), ("replace", False)])
def test_the_test_folder_of_a_split_is_never_used_for_training_if_it_is_configured(tmp_path, choice, kept):
    names = [f"{part}/{name}/{part}{name}.png" for part in ("train", "test") for name in "01"]
    tests = tmp_path / "published/test"
    _, source = find(tmp_path, *names, chosen=[f"TestImagePath={tests}", f"ExistingSplit={choice}"])
    assert {path.name for paths in source.files.values() for path in paths} == {"train0.png", "train1.png"}
    assert bool(source.split) == kept
    assert source.tests == (None if kept else tests)


def test_a_fold_that_is_kept_for_testing_is_left_out_of_a_published_data_set(tmp_path):
    _, source = find(tmp_path, *c_nmc(), chosen=[f"TestImagePath={tmp_path / 'published/fold_2'}"])
    assert preset(source) == "C-NMC"
    assert counts(source) == {"all": 24, "hem": 24}


def test_the_advice_about_a_training_folder_beside_the_test_images_works(tmp_path):
    names = ["train/0/a.png", "train/1/b.png", "test/c.png"]
    folder = tmp_path / "published"
    chosen = [f"TestImagePath={folder / 'test'}"]
    with raises(DataError, "split_folders") as caught:
        find(tmp_path, *names, chosen=chosen)
    assert f"ImageDir to {folder / 'train'}," in str(caught.value)
    _, source = find(tmp_path, *names, chosen=[*chosen, f"ImageDir={folder / 'train'}"])
    assert counts(source) == {"0": 1, "1": 1}


@pytest.mark.parametrize(
    "names", [["train/a_0.png", "val/b_1.png"], ["0/train/a.png", "1/train/b.png", "0/test/c.png", "1/test/d.png"]]
)
def test_splits_of_another_form_are_refused_as_before(tmp_path, names):
    with raises(DataError, "split_folders"):
        find(tmp_path, *names)


def test_the_positive_class_of_a_split_is_not_guessed(tmp_path):
    names = ["train/hem/a.png", "train/blast/b.png", "val/hem/c.png", "val/blast/d.png"]
    with raises(DataError, "positive_class"):
        find(tmp_path, *names)
    assert find(tmp_path, *names, chosen=["PositiveClass=blast"])[1].split


def leaky(tmp_path, copy=None, *names):
    folder = publish(tmp_path, *split_names(), *names)
    if copy:
        (folder / copy[1]).write_bytes((folder / copy[0]).read_bytes())
    return folders.configuration(tmp_path, f"ImageDir={folder}")


@pytest.mark.parametrize("where", ["val/1/7.png", "test/1/7.png"])
def test_a_split_with_one_picture_on_both_sides_is_refused_with_its_names(tmp_path, where):
    configuration = leaky(tmp_path, ("train/1/3.png", where))
    with raises(DataError, "split_leak") as caught:
        Data.prepare_dataset(configuration)
    assert "train/1/3.png" in str(caught.value)
    assert where in str(caught.value)
    assert not tfrecords.manifest_path(configuration).exists()


def test_a_split_with_one_patient_on_both_sides_is_refused_with_the_patient(tmp_path):
    names = [f"{part}/1/UID_7_{number}_1_all.png" for number, part in enumerate(("train", "val"))]
    with raises(DataError, "split_leak") as caught:
        Data.prepare_dataset(leaky(tmp_path, None, *names))
    assert all(name in str(caught.value) for name in names)


def test_the_audit_shows_the_leak_of_a_split_that_is_refused(tmp_path):
    configuration = leaky(tmp_path, ("train/1/3.png", "val/1/7.png"))
    audit.audit_dataset(configuration)
    findings = json.loads((tmp_path / "Model/Report/Data.json").read_text())

    [leak] = [problem for problem in findings["problems"] if problem["code"] == "leak_between_splits"]
    assert "ExistingSplit=replace" in leak["commands"][0]["command"]
    assert [pair["files"] for pair in findings["exact"] if pair["across_splits"]] == [["train/1/3.png", "val/1/7.png"]]


def test_a_leaky_split_can_be_replaced(tmp_path):
    configuration = leaky(tmp_path, ("train/1/3.png", "val/1/7.png"))

    Data.prepare_dataset(configuration.replace(ExistingSplit="replace"))

    values = json.loads(tfrecords.manifest_path(configuration).read_text())
    assert sum(map(len, values["splits"].values())) == len(split_names()) - 1
    assert values["tests"] == []


def test_a_class_without_validation_images(tmp_path):
    publish(tmp_path, *(name for name in split_names() if not name.startswith("val/1")))
    with raises(DataError, "class_in_one_split"):
        Data.prepare_dataset(folders.configuration(tmp_path, f"ImageDir={tmp_path / 'published'}"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_shards_beside_read_only_images(tmp_path):
    folder = publish(tmp_path, *split_names())
    folder.chmod(0o555)
    try:
        with raises(DataError, "read_only_folder"):
            Data.prepare_dataset(folders.configuration(tmp_path, f"DatasetDir={folder}"))
        assert Data.prepare_dataset(folders.configuration(tmp_path, f"ImageDir={folder}")) == 0
    finally:
        folder.chmod(0o755)


def test_the_audit_and_later_scripts_know_the_data_set(tmp_path):
    publish(tmp_path, *c_nmc())
    configuration = folders.configuration(tmp_path, f"ImageDir={tmp_path / 'published'}")
    Data.prepare_dataset(configuration)
    later = folders.configuration(tmp_path)

    with raises(DataError, "no_images"):
        audit.audit_dataset(later)
    adopted = settings.adopt_from_manifest(later)
    tfrecords.load_manifest_for_training(adopted)
    audit.audit_dataset(adopted)

    findings = json.loads((tmp_path / "Model/Report/Data.json").read_text())
    assert findings["data_set"]["title"] == "C-NMC 2019"
    assert findings["data_set"]["limits"][0] in (tmp_path / "Model/Report/Data.html").read_text()
    assert findings["images"] == len(c_nmc())
