import contextlib
import json
import types

import numpy
import PIL.Image
import pytest

from Classes.common.errors import DataError, ImageError
from Classes.evaluation import field_report, measure_fields
from tests.support import folders
from tests.support.errors import raises

TYPES = {"ly": "lymphocyte", "mo": "monocyte"}


def cell(x, y, size=20):
    return types.SimpleNamespace(x=x, y=y, width=size, height=size)


@pytest.fixture
def source(tmp_path):
    """Three photographs of 200 x 100 pixels with two annotated cells, one and none."""
    folder = tmp_path / "Fields"
    folder.mkdir()
    (folder / "classes.txt").write_text("LY\nMO\nRBC\n")
    cells = {"a": "0 0.25 0.5 0.1 0.2\n1 0.75 0.5 0.1 0.2\n2 0.5 0.5 0.1 0.2\n", "b": "1 0.5 0.5 0.1 0.2\n", "c": ""}
    for number, (name, text) in enumerate(cells.items()):
        PIL.Image.fromarray(numpy.full((100, 200, 3), 200 + number, "uint8")).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(text)
    return folder


def run(tmp_path, source, found, types=None):
    def find(path, image, name):
        if found[name] is None:
            raise ImageError("not a smear", "not_a_smear")
        return found[name], (types or {}).get(name, ())

    analysis = measure_fields.Analysis(find, TYPES, {})
    models = contextlib.nullcontext(analysis)
    assert measure_fields.measure_annotated_fields(folders.configuration(tmp_path), source, models) == 0
    return json.loads((tmp_path / "Model/Report/FieldValidation.json").read_text())


def test_models_are_opened_after_the_photographs_were_found(tmp_path):
    @contextlib.contextmanager
    def models():
        pytest.fail("opened")
        yield

    with pytest.raises(DataError):
        measure_fields.measure_annotated_fields(folders.configuration(tmp_path), tmp_path / "missing", models())


def test_red_cells_are_not_expected_to_be_found(tmp_path, source):
    found = {"a.png": [cell(50, 50), cell(150, 50)], "b.png": [cell(100, 50)], "c.png": []}
    report = run(tmp_path, source, found)
    assert report["recall"]["of"] == report["precision"]["of"] == [3, 3]
    assert report["exact_count"]["of"] == [3, 3] and report["f1"]["value"] == 1
    assert "<img" not in (tmp_path / "Model/Report/FieldValidation.html").read_text()


def test_errors_of_finder_counts_and_types(tmp_path, source, capsys):
    found = {"a.png": [cell(50, 50), cell(100, 50)], "b.png": [cell(100, 50)], "c.png": [cell(9, 9)]}
    named = {"a.png": ["lymphocyte", "monocyte"], "b.png": ["lymphocyte"], "c.png": ["monocyte"]}
    report = run(tmp_path, source, found, named)
    assert report["recall"]["of"] == [2, 3] and report["precision"]["of"] == [2, 4]
    assert report["f1"]["value"] == pytest.approx(4 / 7)
    assert report["types"]["accuracy"]["of"] == [1, 2]
    assert report["absolute_count_error"]["value"] == pytest.approx(1 / 3)
    assert "0.5714" in capsys.readouterr().out
    page = (tmp_path / "Model/Report/FieldValidation.html").read_text()
    assert page.count("<img") == 2 and "2 of 3" in page


def test_a_photograph_that_gets_no_count_misses_its_cells(tmp_path, source):
    found = {"a.png": None, "b.png": [cell(100, 50)], "c.png": []}
    report = run(tmp_path, source, found)
    assert report["recall"]["of"] == [1, 3] and report["precision"]["of"] == [1, 1]
    assert [row["refused"] for row in report["fields"]] == ["not_a_smear", None, None]


def test_photographs_of_a_patient_count_as_one_group(tmp_path, source):
    (source / "groups.csv").write_text("file,patient\na,1\nb,1\nc,2\n")
    report = run(tmp_path, source, {"a.png": [], "b.png": [], "c.png": []})
    assert report["groups"] == 2 and report["photographs"] == 3


def test_what_cannot_be_measured_is_reported(tmp_path, source):
    (source / "a.png").write_bytes(b"no image")
    (source / "b.txt").write_text("1 0.5 0.5 0.001 0.001")
    report = run(tmp_path, source, {"b.png": [], "c.png": []})
    assert [(problem["code"], problem["file"]) for problem in report["problems"]] == [
        ("unreadable_photograph", "a.png"),
        ("too_small", "b.png"),
    ]
    assert report["photographs"] == 2 and report["recall"]["value"] is None
    for name in ("b", "c"):
        (source / f"{name}.png").write_bytes(b"no image")
    with raises(DataError, "no_images"):
        run(tmp_path, source, {})


def test_the_page_keeps_the_photographs_with_the_most_errors():
    image = numpy.full((50, 50, 3), 200, "uint8")
    pictures = field_report.Pictures()
    for number in range(field_report.MAX_PICTURES + 3):
        found = tuple(cell(20, 20) for _ in range(number))
        pictures.add(measure_fields.MeasuredField(str(number), str(number), (), found), image)
    kept = [picture.false for picture in pictures.drawn]
    assert kept == list(range(field_report.MAX_PICTURES + 2, 2, -1))


def test_annotated_names_of_the_types():
    card = types.SimpleNamespace(
        cell_types={
            "names": {"BNE": "band neutrophil", "SNE": "segmented neutrophil", "LY": "lymphocyte"},
            "groups": {"neutrophil": ["BNE", "SNE"], "lymphocyte": ["LY"]},
        }
    )
    found = measure_fields.annotated_types(card)
    for name in ("sne", "neutrophils", "band neutrophil", "neutrophil"):
        assert found[name] == "neutrophil"
    assert found["ly"] == "lymphocyte" and "wbc" not in found
