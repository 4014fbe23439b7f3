import pytest

from Classes.common.errors import DataError
from Classes.imaging.annotations import folder
from tests.support import folders
from tests.support.errors import raises

BOX = "0 0.5 0.5 0.5 0.5\n"


def read(tmp_path, files):
    for name, content in files.items():
        path = tmp_path / "fields" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder.read_folder(folders.configuration(tmp_path), tmp_path / "fields")


def found(fields):
    return {field.name: field.source for field in fields}


def codes(problems):
    return [(problem.code, problem.file) for problem in problems]


@pytest.mark.parametrize("pattern", ["{}/images/1.{}", "images/{}/1.{}", "{}/1.{}"])
def test_photographs_of_one_name_get_the_annotation_in_their_folder(tmp_path, pattern):
    files = {}
    for split in ("train", "val"):
        files[pattern.format(split, "jpg")] = ""
        files[pattern.format(split, "txt").replace("images", "labels")] = BOX
    fields, problems = read(tmp_path, files)
    assert not problems
    assert found(fields) == {
        name: name.replace("images", "labels").replace("jpg", "txt") for name in files if "jpg" in name
    }


def test_an_annotation_that_fits_two_photographs_is_given_to_none(tmp_path):
    fields, problems = read(tmp_path, {"a/1.jpg": "", "b/1.jpg": "", "xyc/1.xyc": "1 2", "a/2.jpg": "", "a/2.xyc": ""})
    assert found(fields) == {"a/2.jpg": "a/2.xyc"}
    assert ("several_photographs", "xyc/1.xyc") in codes(problems)


def test_what_has_no_counterpart_is_reported(tmp_path):
    files = {"1.jpg": "", "2.jpg": "", "1.xyc": "3 4", "9.xyc": "3 4", "notes.txt": "hello", "bad.json": "{"}
    fields, problems = read(tmp_path, files)
    assert found(fields) == {"1.jpg": "1.xyc"}
    assert sorted(codes(problems)) == [
        ("annotation_without_photograph", "9.xyc"),
        ("photograph_without_annotation", "2.jpg"),
        ("unreadable_annotation", "bad.json"),
    ]


def test_one_of_two_annotations_of_a_photograph_is_used(tmp_path):
    geojson = '{"type": "FeatureCollection", "features": []}'
    fields, problems = read(tmp_path, {"1.jpg": "", "1.xyc": "3 4", "1.jpg.geojson": geojson})
    assert found(fields) == {"1.jpg": "1.jpg.geojson"}
    assert codes(problems) == [("several_annotations", "1.jpg")]


def test_fractions_become_pixels_and_another_size_is_refused(tmp_path):
    voc = "<annotation><size><width>200</width><height>100</height></size></annotation>"
    fields, _ = read(tmp_path, {"1.jpg": "", "1.txt": BOX, "2.jpg": "", "2.xml": voc})
    cells, _ = fields[0].cells(200, 100)
    assert [(cell.x, cell.y, cell.width, cell.height) for cell in cells] == [(100, 50, 100, 50)]
    assert fields[1].cells(200, 100) == ([], [])
    assert codes(fields[1].cells(100, 200)[1]) == [("other_size", "2.jpg")]


@pytest.mark.parametrize(
    ("files", "code"),
    [({"a.csv": ""}, "no_images"), ({"1.jpg": ""}, "no_annotations"), ({"1.jpg": "", "1.json": "5"}, "no_annotations")],
)
def test_a_folder_without_anything_to_read(tmp_path, files, code):
    with raises(DataError, code):
        read(tmp_path, files)


def test_a_folder_that_does_not_exist(tmp_path):
    with raises(DataError, "no_folder"):
        read(tmp_path, {})
