"""Data.py: what is left out of both splits, and how that is told."""

import io
import pathlib
import shutil

import numpy
import pytest
import tifffile

from Classes import Data
from Classes.common.errors import DataError
from Classes.imaging import decode
from tests.support import smears
from tests.support.folders import configuration, manifest, put, sides, toys


@pytest.fixture
def folder(tmp_path):
    return toys(tmp_path)


@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 1)])
def test_unreadable_images_are_named_and_left_out(folder, caplog, strict, code):
    good = smears.png(smears.cell(True, 99))
    put(folder, "Data/1/cut.png", content=good[: len(good) // 2])
    put(folder, "Data/0/empty.jpg", content=b"")
    put(folder, "Data/0/page.jpg", content=b"<html>")
    (folder / "Model/Data/0/gone.png").symlink_to(folder / "nowhere")

    assert Data.prepare_dataset(configuration(folder), strict) == code

    unreadable = {row["file"]: row["reason"] for row in manifest(folder)["unreadable"]}
    assert set(unreadable) == {"0/empty.jpg", "0/page.jpg", "1/cut.png"}
    for name, reason in unreadable.items():
        assert reason.startswith(f"{name}: ")
        assert f"Left out: {reason}" in caplog.text
    assert "0/gone.png" in manifest(folder)["ignored"]
    assert len(sides(folder)) == 40


def test_a_file_that_goes_while_it_is_looked_at(folder, monkeypatch):
    read = pathlib.Path.read_bytes

    def vanishes(path):
        if path.name == "Toy003_1.png":
            path.unlink()
        return read(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", vanishes)
    assert Data.prepare_dataset(configuration(folder)) == 0

    assert manifest(folder)["unreadable"] == [
        {"file": "1/Toy003_1.png", "reason": "1/Toy003_1.png: No such file or directory"}
    ]


def test_limits_of_the_configuration(folder):
    put(folder, "Data/0/large.png", content=smears.png(smears.cell(False, 5, 40)))

    Data.prepare_dataset(configuration(folder, "MaxSide=39"))

    (row,) = manifest(folder)["unreadable"]
    assert row["file"] == "0/large.png"
    assert "MaxSide" in row["reason"]


def test_other_extensions_and_folders_are_reported(folder, caplog):
    put(folder, "Data/1/notes.txt", content=b"hello")
    put(folder, "Data/1/cell.tga", True, 77)
    put(folder, "Data/1/Photo.JpG", True, 76)
    put(folder, "Data/1/more/cell.png", True, 78)
    put(folder, "Data/1/.hidden.png", content=b"")
    put(folder, "Data/1/Cell.Png", True, 79)

    Data.prepare_dataset(configuration(folder))

    assert manifest(folder)["ignored"] == ["1/.hidden.png", "1/cell.tga", "1/more/cell.png", "1/notes.txt"]
    assert {"1/Cell.Png", "1/Photo.JpG"} <= set(sides(folder))
    (told,) = [record.getMessage() for record in caplog.records if "1/more/cell.png" in record.getMessage()]
    assert "1/cell.tga" in told
    # Hidden files are not the user's, so they are no warning.
    assert "1/.hidden.png" not in told
    Data.prepare_dataset(configuration(folder, 'ValidIType=[".png", ".tga"]'))
    assert "1/cell.tga" in sides(folder)


def test_copies_within_a_class(folder, caplog):
    copy = folder / "Model/Data/1/AnotherName.png"
    shutil.copy(folder / "Model/Data/1/Toy007_1.png", copy)

    Data.prepare_dataset(configuration(folder))

    assert manifest(folder)["duplicates"] == [{"file": "1/Toy007_1.png", "of": "1/AnotherName.png"}]
    assert "1/AnotherName.png" in sides(folder)
    assert len(sides(folder)) == 40
    assert "1 exact duplicates" in caplog.text


def test_groups_that_share_an_image_are_one(folder):
    # a__1 is the same image as b__1: so a__2 and b__2 show one original, whatever they are called.
    for number in range(12):
        first, second = f"Data/0/a{number}", f"Data/0/b{number}"
        put(folder, f"{first}__1.png", False, 200 + number)
        put(folder, f"{second}__1.png", False, 200 + number)
        put(folder, f"{first}__2.png", False, 300 + number)
        put(folder, f"{second}__2.png", False, 400 + number)

    Data.prepare_dataset(configuration(folder))

    found = sides(folder)
    for number in range(12):
        assert len({found[f"0/{name}{number}__2.png"] for name in "ab"} | {found[f"0/a{number}__1.png"]}) == 1


def test_one_image_in_two_classes_has_no_label(folder, caplog):
    shutil.copy(folder / "Model/Data/1/Toy007_1.png", folder / "Model/Data/0/Toy999_0.png")
    shutil.copy(folder / "Model/Data/1/Toy007_1.png", folder / "Model/Data/1/Toy998_1.png")

    Data.prepare_dataset(configuration(folder))

    (row,) = manifest(folder)["contradictions"]
    assert row["files"] == ["0/Toy999_0.png", "1/Toy007_1.png", "1/Toy998_1.png"]
    assert manifest(folder)["duplicates"] == []
    assert len(sides(folder)) == 39
    assert not set(row["files"]) & set(sides(folder))
    assert "0/Toy999_0.png, 1/Toy007_1.png" in caplog.text


def test_what_belongs_to_a_test_image_is_held_out(folder, caplog):
    caplog.set_level("INFO")
    put(folder, "Data/1/Toy001_1__blur.png", True, 501)
    put(folder, "Data/1/Toy005_1__blur.png", True, 502)
    put(folder, "Data/1/patient7.png", True, 503)
    put(folder, "Data/1/more7.png", True, 504)
    (folder / "Model/Data/groups.csv").write_text("file,patient\npatient7.png,7\nmore7.png,7\nsomewhere_1.png,7\n")
    # By original (in another case and type), by content under another name, by patient.
    put(folder, "Test/TOY001_1.jpg", True, 505)
    shutil.copy(folder / "Model/Data/1/Toy005_1.png", put(folder, "Test/deep/renamed_1.bmp"))
    put(folder, "Test/somewhere_1.png", True, 506)

    Data.prepare_dataset(configuration(folder))

    held = sorted(row["file"] for row in manifest(folder)["held_out"])
    assert held == [
        "1/Toy001_1.png", "1/Toy001_1__blur.png", "1/Toy005_1.png", "1/Toy005_1__blur.png", "1/more7.png",
        "1/patient7.png",
    ]  # fmt: skip
    assert not set(held) & set(sides(folder))
    assert len(sides(folder)) == 44 - 6
    assert "Held out: 6 images" in caplog.text


def test_a_test_image_among_copies_holds_all_their_groups(folder):
    put(folder, "Data/1/first__a.png", True, 600)
    put(folder, "Data/1/second__a.png", True, 600)
    put(folder, "Data/1/second__b.png", True, 601)
    put(folder, "Test/first_1.png", True, 602)
    put(folder, "Test/first.png", True, 603)

    Data.prepare_dataset(configuration(folder))

    assert sorted(row["file"] for row in manifest(folder)["held_out"]) == ["1/first__a.png", "1/second__b.png"]


def test_synthetic_smears_mark_the_manifest(folder, tmp_path_factory):
    drawn = tmp_path_factory.mktemp("drawn")
    for positive in (0, 1):
        for number in range(4):
            put(drawn, f"Data/{positive}/Synthetic_{number:04d}_{positive}.png", positive, number)

    Data.prepare_dataset(configuration(drawn))
    assert manifest(drawn)["synthetic"] is True

    put(folder, "Data/0/Synthetic_0001_0.png", False, 1)
    with pytest.raises(DataError) as caught:
        Data.prepare_dataset(configuration(folder))
    assert caught.value.code == "synthetic_and_real"


def test_images_that_show_nothing_are_named_and_left_out(folder):
    for label, value in ((0, 255), (1, 0)):
        put(folder, f"Data/{label}/blank.png", content=smears.png(numpy.full((90, 90, 3), value, "uint8")))

    assert Data.prepare_dataset(configuration(folder)) == 0

    assert [row["file"] for row in manifest(folder)["unreadable"]] == ["0/blank.png", "1/blank.png"]
    assert len(sides(folder)) == 40


def test_depths_in_one_folder_never_give_several_brightnesses(folder):
    cell = smears.cell(True, 300)
    files = {"stated": (12, [(281, "H", 3, (4095,) * 3, True)]), "open": (12, []), "less": (10, []), "full": (16, [])}
    for name, (bits, tags) in files.items():
        file = io.BytesIO()
        pixels = numpy.rint(cell * ((2**bits - 1) / 255)).astype("uint16")
        tifffile.imwrite(file, pixels, photometric="rgb", extratags=tags)
        put(folder, f"Data/1/{name}_1.tif", content=file.getvalue())
        numpy.testing.assert_array_equal(
            decode.decode_image(file.getvalue(), decode.DecodeLimits(sample_bits=bits)), cell
        )

    for settings, expected in (((), ["1/less_1.tif", "1/open_1.tif"]), (("SampleBits=12",), ["1/less_1.tif"])):
        setting = configuration(folder, *settings)
        assert Data.prepare_dataset(setting) == 0
        assert [row["file"] for row in manifest(folder)["unreadable"]] == expected
        for name in files.keys() - {each[2:-6] for each in expected}:
            path = folder / f"Model/Data/1/{name}_1.tif"
            numpy.testing.assert_array_equal(decode.decode_image(path, decode.decode_limits(setting)), cell)
