import contextlib
import io
import json
import types

import numpy
import PIL.Image
import pytest

from Classes.common.errors import DataError
from Classes.dataset import annotated_fields, grouping
from Classes.dataset.annotated_fields import Request
from tests.support import changes, folders
from tests.support.errors import raises

BACKGROUND = (230, 220, 225)


def photograph(*cells, size=(200, 150)):
    """A PNG with dark squares of 20 x 20 pixels at these centers."""
    pixels = numpy.empty((size[1], size[0], 3), "uint8")
    pixels[:] = BACKGROUND
    for number, (x, y) in enumerate(cells):
        pixels[y - 10 : y + 10, x - 10 : x + 10] = 90, 20 + 10 * number, 120
    content = io.BytesIO()
    PIL.Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def boxes(*cells):
    """YOLO text of (class number, x, y) in a photograph of 200 x 150 pixels."""
    return "".join(f"{label} {x / 200} {y / 150} {20 / 200} {20 / 150}\n" for label, x, y in cells)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "Photographs"
    folder.mkdir()
    (folder / "classes.txt").write_text("LY\nMO\n")
    for name, cells in (("P1_a", [(0, 60, 50), (1, 150, 100)]), ("P1_b", [(0, 100, 70)]), ("P2_a", [(1, 100, 70)])):
        (folder / f"{name}.png").write_bytes(photograph(*((x, y) for _, x, y in cells)))
        (folder / f"{name}.txt").write_text(boxes(*cells))
    return folder


def run(tmp_path, source, strict=False, settings=(), **request):
    configuration = folders.configuration(tmp_path, *settings)
    return annotated_fields.crop_annotated_fields(configuration, source, Request(**request), strict)


def crops(tmp_path):
    return sorted(path.relative_to(tmp_path / "Model/Data").as_posix() for path in tmp_path.glob("Model/Data/*/*.png"))


def report(tmp_path):
    return json.loads((tmp_path / "Model/Report/Fields.json").read_text())


ALL = [
    "LY/P1_a__cell_00060x00050.png",
    "LY/P1_b__cell_00100x00070.png",
    "MO/P1_a__cell_00150x00100.png",
    "MO/P2_a__cell_00100x00070.png",
]


def test_the_finder_is_opened_after_the_photographs_were_found(tmp_path):
    with pytest.raises(DataError, match="missing"):
        run(tmp_path, tmp_path / "missing", open_finder=lambda: pytest.fail("opened"))


def test_cells_are_cropped_into_class_folders(tmp_path, source):
    assert run(tmp_path, source, strict=True) == 0
    assert crops(tmp_path) == ALL
    image = numpy.asarray(PIL.Image.open(tmp_path / "Model/Data" / ALL[0]))
    assert image.shape == (342, 342, 3)
    # The cell is 0.4 of the side, in the middle: from 103 to 239.
    assert tuple(image[171, 171]) == (90, 20, 120) and image[110, 110].max() < 150
    assert image[95, 171].min() > 200 and image[247, 171].min() > 200
    assert report(tmp_path)["classes"] == {"LY": 2, "MO": 2} and not report(tmp_path)["problems"]


def test_all_cells_of_a_photograph_are_in_one_group(tmp_path, source):
    run(tmp_path, source)
    # A pattern that knows nothing of cells, and the default.
    for pattern in ("^(scan\\d+)", folders.configuration(tmp_path)["GroupPattern"]):
        groups = grouping.assign_groups(ALL, pattern, {}).groups
        assert groups[ALL[0]] == groups[ALL[2]]
        assert len({groups[name] for name in ALL}) == 3


def test_photographs_of_a_patient_stay_together(tmp_path, source):
    (source / "groups.csv").write_text("file,patient\nP1_a.png,17\nP1_b,17\nP2_a.png,18\n")
    run(tmp_path, source)
    table = grouping.load_patient_map(tmp_path / "Model/Data")
    patients = grouping.assign_groups(ALL, folders.configuration(tmp_path)["GroupPattern"], table).patients
    assert patients == dict(zip(ALL, ["17", "17", "17", "18"], strict=True))


def test_a_folder_in_the_table_stands_for_its_photographs(tmp_path, source):
    (source / "first").mkdir()
    for path in source.glob("P1_*"):
        path.rename(source / "first" / path.name)
    (source / "groups.csv").write_text("file,patient\nfirst,17\n")
    run(tmp_path, source)
    table = grouping.load_patient_map(tmp_path / "Model/Data")
    assert table == {"P1_a.png": "17", "P1_b.png": "17"}
    run(tmp_path, source)


def test_another_table_of_patients_is_not_overwritten(tmp_path, source):
    (source / "groups.csv").write_text("file,patient\nP1_a.png,17\n")
    target = tmp_path / "Model/Data"
    target.mkdir(parents=True)
    (target / "groups.csv").write_text("file,patient\nother.png,1\n")
    with raises(DataError, "two_tables"):
        run(tmp_path, source)
    assert not crops(tmp_path)


def test_a_second_run_changes_nothing(tmp_path, source):
    run(tmp_path, source)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("Model/Data/*/*")}
    written = (tmp_path / "Model/Report/Fields.json").read_bytes()
    run(tmp_path, source)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("Model/Data/*/*")}
    assert written == (tmp_path / "Model/Report/Fields.json").read_bytes()


def test_a_corrected_annotation_replaces_its_crop_only(tmp_path, source):
    run(tmp_path, source)
    own = tmp_path / "Model/Data/LY/P1_a__cell_00001x00001.png"
    own.write_bytes(photograph())
    (source / "P1_a.txt").write_text(boxes((1, 60, 50)))
    run(tmp_path, source)
    moved = ALL[0].replace("LY", "MO")
    # A picture that was not cropped by this command stays.
    assert crops(tmp_path) == sorted([moved, ALL[1], ALL[3], f"LY/{own.name}"])


def test_what_cannot_be_placed_is_reported(tmp_path, source):
    marked = boxes((1, 100, 70), (1, 100, 70), (0, 300, 70), (7, 30, 30))
    (source / "P2_a.txt").write_text(marked + "0 0.5 0.5 0.001 0.001")
    (source / "lost.xyc").write_text("1 2")
    (source / "new.png").write_bytes(photograph())
    (source / "broken.png").write_bytes(b"no image")
    (source / "broken.txt").write_text(boxes((1, 100, 70)))
    assert run(tmp_path, source, strict=True) == 1
    assert crops(tmp_path) == ALL
    assert sorted((problem["code"], problem["file"]) for problem in report(tmp_path)["problems"]) == [
        ("annotation_without_photograph", "lost.xyc"),
        ("duplicate", "P2_a.png"),
        ("outside_photograph", "P2_a.png"),
        ("photograph_without_annotation", "new.png"),
        ("too_small", "P2_a.png"),
        ("unknown_class", "P2_a.png"),
        ("unreadable_photograph", "broken.png"),
    ]


def test_the_finder_gives_the_others_and_the_scale(tmp_path, source):
    def find(path, image):
        cells = [types.SimpleNamespace(x=60, y=50, width=20, height=20)]
        cells += [types.SimpleNamespace(x=30, y=120, width=20, height=20)]
        return cells, 0.74

    run(tmp_path, source, classes={"LY": "1"}, others="0", open_finder=lambda: find)
    rows = [row for row in report(tmp_path)["cells"] if row["photograph"] == "P1_a.png"]
    # The monocyte at 150, 100 has no class folder, and nobody called it a white cell of the other class.
    assert [(row["class"], row["x"], row["y"], row["side"]) for row in rows] == [("1", 60, 50, 50), ("0", 30, 120, 50)]


@pytest.mark.parametrize(("name", "code"), [("sub/P1_a.png", "same_stem"), (None, "no_cells")])
def test_folders_that_cannot_be_used(tmp_path, source, name, code):
    if name:
        (source / "sub").mkdir()
        (source / name).write_bytes(photograph((60, 50)))
        (source / name).with_suffix(".txt").write_text(boxes((0, 60, 50)))
    with raises(DataError, code):
        run(tmp_path, source, classes={} if name else {"SNE": "0"})


def test_a_run_that_is_interrupted_at_any_change_leaves_whole_files_only(tmp_path, source):
    def interrupt(*_):
        raise KeyboardInterrupt

    known = set()
    for _ in range(20):
        count = len(known)
        with contextlib.suppress(KeyboardInterrupt), changes.at_the_next(tmp_path / "Model", known, interrupt):
            run(tmp_path, source)
        for path in tmp_path.glob("Model/Data/*/*.png"):
            PIL.Image.open(path).load()
        if len(known) == count:
            break
    assert len(known) > 3 and crops(tmp_path) == ALL and report(tmp_path)["classes"] == {"LY": 2, "MO": 2}
