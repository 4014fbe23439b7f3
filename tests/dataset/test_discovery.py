"""Folder trees as people download them: used correctly, or refused with what lies where."""

import unicodedata

import pytest

from Classes.common import input_files
from Classes.common.errors import DataError
from Classes.dataset import discovery, offline_augmentation
from tests.support.folders import configuration


def tree(folder, *names):
    """Empty files below Model/Data; the layout alone decides, nothing is decoded."""
    for name in names:
        path = folder / "Model/Data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def refused(folder, code, *parts, settings=()):
    """The message of the refusal, which names all `parts`."""
    with pytest.raises(DataError) as caught:
        discovery.find_class_images(configuration(folder, *settings))
    assert caught.value.code == code
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("extension", ["tif", "TIFF", "bmp", "webp", "jpg", "jpeg", "png", "gif"])
def test_every_common_extension_is_an_image_by_default(tmp_path, extension):
    tree(tmp_path, f"0/Im1_0.{extension}", f"1/Im2_1.{extension}", "0/Im1_0.xyc", "1/Thumbs.db", "1/._Im2_1.tif")

    files, ignored = discovery.find_class_images(configuration(tmp_path))

    assert {name: [path.name for path in paths] for name, paths in files.items()} == {
        "0": [f"Im1_0.{extension}"],
        "1": [f"Im2_1.{extension}"],
    }
    assert ignored == ["0/Im1_0.xyc", "1/._Im2_1.tif", "1/Thumbs.db"]


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_skipped_files_are_counted_in_one_warning(tmp_path, caplog):
    tree(tmp_path, "0/a.png", "1/b.png", *(f"0/Im{number}.xyc" for number in range(7)), "1/Thumbs.db", "1/deep/c.png")
    tree(tmp_path, "loose.png", "ALL_manifest.json", "groups.csv", "Captured/d.png")

    _, ignored = discovery.find_class_images(configuration(tmp_path))

    assert len(ignored) == 10
    assert not {"ALL_manifest.json", "groups.csv", "Captured/d.png"} & set(ignored)
    (line,) = warnings_of(caplog)
    assert all(part in line for part in ("7", ".xyc", "0/Im0.xyc", "1/deep/c.png", "loose.png"))


def test_files_of_the_system_are_counted_without_a_warning_and_those_of_git_not_at_all(tmp_path, caplog):
    caplog.set_level("INFO")
    tree(tmp_path, "0/a.png", "1/b.png", "0/.DS_Store", "1/Thumbs.db", "1/.gitkeep")

    _, ignored = discovery.find_class_images(configuration(tmp_path))

    assert ignored == ["0/.DS_Store", "1/Thumbs.db"]
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_folders_of_archives_and_of_the_desktop_are_no_classes(tmp_path, caplog):
    tree(tmp_path, "0/a.bmp", "1/b.bmp", "__MACOSX/0/._a.bmp", "@eaDir/a.png", "2 - empty/.gitkeep")
    (tmp_path / "Model/Data/New folder").mkdir()

    files, _ = discovery.find_class_images(configuration(tmp_path))

    assert list(files) == ["0", "1"]
    assert "New folder" in caplog.text


def test_c_nmc(tmp_path):
    tree(tmp_path, "fold_0/all/UID_1_1_1_all.bmp", "fold_0/all/UID_1_2_1_all.bmp", "fold_0/hem/UID_H1_1_1_hem.bmp")

    refused(tmp_path, "nested_folders", "fold_0/all (2 .bmp)", "fold_0/hem (1 .bmp)", "Model/Data/fold_0", "Positive")

    # What the message says works.
    settings = [f"DatasetDir={tmp_path / 'Model/Data/fold_0'}"]
    with pytest.raises(DataError) as caught:
        discovery.find_class_images(configuration(tmp_path, *settings))
    assert caught.value.code == "positive_class"
    files, _ = discovery.find_class_images(configuration(tmp_path, *settings, "PositiveClass=all"))
    assert [len(paths) for paths in files.values()] == [2, 1]


def test_folds_are_not_mixed(tmp_path):
    tree(tmp_path, *(f"fold_{fold}/{name}/{name}{fold}.bmp" for fold in range(3) for name in ("all", "hem")))
    refused(
        tmp_path, "nested_folders", *(f"fold_{fold}/{name} (1 .bmp)" for fold in range(3) for name in ("all", "hem"))
    )


@pytest.mark.parametrize("place", ["", "img/", "ALL_IDB2/img/"])
def test_all_idb_with_the_class_in_the_names(tmp_path, place):
    tree(tmp_path, f"{place}Im001_1.tif", f"{place}Im002_0.tif", f"{place}Im002_0.xyc")

    refused(tmp_path, "flat_folder", "2 .tif", place.rstrip("/"), "Data.py Augment")

    files = offline_augmentation.find_source_images(configuration(tmp_path), tmp_path / "Model/Data" / place)
    assert {label: [path.name for path in paths] for label, paths in files.items()} == {
        "0": ["Im002_0.tif"],
        "1": ["Im001_1.tif"],
    }


def test_all_idb1_beside_its_coordinates_is_brought_in_from_elsewhere(tmp_path):
    source = tree(tmp_path, "im/Im001_1.jpg", "im/Im002_0.jpg", "xyc/Im001_1.xyc", "xyc/Im002_0.xyc") / "Model/Data"
    elsewhere = source.rename(tmp_path / "ALL_IDB1")

    with pytest.raises(DataError) as caught:
        offline_augmentation.find_source_images(configuration(tmp_path), elsewhere)
    assert caught.value.code == "flat_folder"
    assert f"Data.py Augment {elsewhere / 'im'}" in str(caught.value)
    assert offline_augmentation.find_source_images(configuration(tmp_path), elsewhere / "im").keys() == {"0", "1"}


@pytest.mark.parametrize(
    "names",
    [
        ["train/0/a.png", "train/1/b.png", "test/0/c.png", "test/1/d.png"],
        ["Training/0/a.png", "Training/1/b.png", "Validation/0/c.png", "Validation/1/d.png"],
        ["0/train/a.png", "1/train/b.png", "0/test/c.png", "1/test/d.png"],
        ["train/a_0.png", "train/b_1.png", "val/c_0.png", "val/d_1.png"],
        ["train_set/a.png", "test_set/b.png"],
        ["ALL/training_data/fold_0/all/a.bmp", "ALL/training_data/fold_0/hem/b.bmp", "ALL/testing_data/c.bmp"],
        ["0/a.png", "1/b.png", "test/0/c.png", "test/1/d.png"],
        ["0/a.png", "1/b.png", "Test/c.png"],
    ],
)
def test_an_existing_split_is_never_mixed(tmp_path, names):
    tree(tmp_path, *names)
    refused(tmp_path, "split_folders", *{name.rpartition("/")[0] for name in names})
    refused(tmp_path, "split_folders", settings=["NumClasses=3"])


def test_the_advice_about_a_split_works(tmp_path):
    tree(tmp_path, "train/0/a.png", "train/1/b.png", "val/0/c.png", "val/1/d.png", "test/0/e.png", "test/1/f.png")
    message = refused(tmp_path, "split_folders")
    data = tmp_path / "Model/Data"
    assert f"DatasetDir to {data / 'train'}," in message
    assert f"TestImagePath to {data / 'test'}" in message
    files, _ = discovery.find_class_images(configuration(tmp_path, f"DatasetDir={data / 'train'}"))
    assert {name: [path.name for path in paths] for name, paths in files.items()} == {"0": ["a.png"], "1": ["b.png"]}


def test_class_names_that_only_resemble_a_split_are_classes(tmp_path):
    tree(tmp_path, "latest/a.png", "trained eye/b.png")
    assert list(discovery.find_class_images(configuration(tmp_path, "PositiveClass=latest"))[0]) == [
        "latest",
        "trained eye",
    ]


@pytest.mark.parametrize(
    ("names", "code", "parts"),
    [
        (["Original/Benign/a.jpg", "Original/Pro/b.jpg", "Segmented/Benign/c.jpg", "Segmented/Pro/d.jpg"],
         "nested_folders", ["Original/Benign (1 .jpg)", "Model/Data/Segmented"]),
        (["0/p1/a.png", "0/p2/b.png", "1/p3/c.png"], "nested_folders", ["0/p1 (1 .png)", "groups.csv"]),
        (["0/a.png", "1/New folder/b.png"], "nested_folders", ["1/New folder (1 .png)"]),
        (["0/a.png", "1/b.png", "more/2/c.png"], "nested_folders", ["more/2 (1 .png)"]),
        (["a.png", "b.png"], "flat_folder", ["2 .png"]),
        (["0/a.heic", "1/b.heic"], "no_images", ["2 .heic", "0/a.heic"]),
        (["ALL_IDB2.zip", "0/.gitkeep"], "no_images", ["ALL_IDB2.zip"]),
        (["0/a.png", "1/b.heic"], "one_class", ["1 (1 .heic)"]),
    ],
)  # fmt: skip
def test_what_lies_elsewhere_is_named(tmp_path, names, code, parts):
    tree(tmp_path, *names)
    refused(tmp_path, code, *parts)


def test_several_malignant_classes(tmp_path, caplog):
    names = ["Benign", "[Malignant] Pre-B", "[Malignant] Pro-B", "[Malignant] early Pre-B"]
    tree(tmp_path, *(f"{name}/Sap_013 ({number}).jpg" for number, name in enumerate(names)))

    refused(tmp_path, "positive_class", *names)
    refused(tmp_path, "class_count", *names, settings=["NumClasses=3"])
    files, _ = discovery.find_class_images(configuration(tmp_path, "PositiveClass=[Malignant] Pro-B"))

    assert list(files) == names
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert all(name in line for name in names)


def test_two_classes_give_no_warning(tmp_path, caplog):
    tree(tmp_path, "0/a.png", "1/b.png")
    discovery.find_class_images(configuration(tmp_path))
    assert not caplog.records


def test_links_are_followed_once(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep/a_0.tif").touch()
    test = tmp_path / "Model/Test"
    test.mkdir(parents=True)
    (test / "cohort").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(test)
    (test / "gone.png").symlink_to(tmp_path / "nowhere")

    images, skipped = input_files.walk(configuration(tmp_path), test)

    assert [path.relative_to(test).as_posix() for path in images] == ["cohort/deep/a_0.tif"]
    assert skipped.names == ["gone.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x_0.ome.tif", "0"),
        ("X_1.OME.TIFF", "1"),
        ("Im001_1.jpg.png", "1"),
        ("slide_1.svs.ome.tif", "1"),
        ("x_0.tif", "0"),
        ("x.ome.tif", None),
        ("x_0.old_scan.tif", None),
        ("v1.5_1.png", "1"),
        ("ome.tif", None),
        (".ome", None),
    ],
)
def test_truth_of_names_with_two_extensions(name, expected):
    assert input_files.label_from_filename(f"some_1.ome/{name}", ["0", "1"]) == expected


def test_outputs_below_the_images_are_no_classes(tmp_path):
    names = ["0/a.png", "1/b.png", "Runs/confusion.png", "Report/c.png", "Captured/d.png"]
    tree(tmp_path, *names)
    places = [f"{key}=Model/Data/{name}" for key, name in (("LogDirEval", "Runs"), ("ReportDir", "Report"))]
    files, _ = discovery.find_class_images(configuration(tmp_path, *places))
    assert set(files) == {"0", "1"}


@pytest.mark.parametrize("tests", ["Test", "held out", "1/held out"])
def test_the_test_folder_below_the_images_is_no_class_and_its_images_are_left_out(tmp_path, caplog, tests):
    tree(tmp_path, "0/a.png", "1/b.png", f"{tests}/c.png", f"{tests}/deep/d.png")
    files, ignored = discovery.find_class_images(configuration(tmp_path, f"TestImagePath=Model/Data/{tests}"))
    assert {name: [path.name for path in paths] for name, paths in files.items()} == {"0": ["a.png"], "1": ["b.png"]}
    assert ignored == []
    assert not warnings_of(caplog)


def test_the_advice_about_a_test_folder_beside_the_classes_works(tmp_path):
    tree(tmp_path, "0/a.png", "1/b.png", "Test/c.png")
    place = tmp_path / "Model/Data/Test"
    refused(tmp_path, "split_folders", f"TestImagePath to {place}")
    files, _ = discovery.find_class_images(configuration(tmp_path, f"TestImagePath={place}"))
    assert set(files) == {"0", "1"}


def test_the_images_are_used_if_the_test_folder_is_their_own_folder_or_one_above(tmp_path):
    tree(tmp_path, "0/a.png", "1/b.png")
    for place in ("Model/Data", "Model"):
        files, _ = discovery.find_class_images(configuration(tmp_path, f"TestImagePath={place}"))
        assert set(files) == {"0", "1"}


AWKWARD = [
    "[Malignant] Pre-B",
    "Pro*B? (late), 2nd",
    'Anna\'s "cells"',
    "=1+1",
    "Früh Pro-B",
    "細胞",
    "-rf",
    " Benign ",
    "100% {sure}",
    "a" * 200,
]


def test_folder_names_as_people_have_them(tmp_path):
    tree(tmp_path, *(f"{name}/a{number}.png" for number, name in enumerate(AWKWARD)), ".hidden/a.png", "__MACOSX/a.png")
    files, _ = discovery.find_class_images(configuration(tmp_path, "PositiveClass=[Malignant] Pre-B"))
    assert list(files) == sorted(AWKWARD)
    assert all(len(paths) == 1 and paths[0].is_file() for paths in files.values())


def test_a_decomposed_folder_name_is_the_composed_class(tmp_path):
    tree(tmp_path, f"{unicodedata.normalize('NFD', 'Früh')}/a.png", "Benign/b.png")
    files, _ = discovery.find_class_images(configuration(tmp_path, "PositiveClass=Früh"))
    assert list(files) == ["Benign", unicodedata.normalize("NFC", "Früh")]


@pytest.mark.parametrize(
    "names",
    [(unicodedata.normalize("NFD", "Früh"), unicodedata.normalize("NFC", "Früh")), ("Blast", "blast"), ("a\nb", "c")],
)
def test_names_that_cannot_be_told_apart_or_written_are_refused(tmp_path, names):
    tree(tmp_path, *(f"{name}/{number}.png" for number, name in enumerate(names)))
    refused(tmp_path, "class_name")
