import pytest

from Classes.common import input_files
from Classes.common.errors import DataError
from tests.support import graphs


@pytest.fixture
def folder(tmp_path):
    for name in ("Im002_1.JpG", "Im001_0.png", "deeper/Im003_1.PNG", "Im004_1.tga", "notes.txt", ".hidden.png"):
        path = tmp_path / "Model" / "Test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"anything")
    return tmp_path


def named(folder, *sources, settings=()):
    found = input_files.resolve_inputs(graphs.configuration(folder, *settings), sources)
    return [path.relative_to(folder / "Model" / "Test").as_posix() for path in found]


def test_endings_are_taken_in_either_case_at_any_depth(folder):
    assert named(folder) == ["Im001_0.png", "Im002_1.JpG", "deeper/Im003_1.PNG"]
    assert named(folder, settings=['ValidIType=[".TGA"]']) == ["Im004_1.tga"]


def test_both_public_sets_are_found_and_the_rest_is_counted_in_one_line(tmp_path, caplog):
    for name in (
        "Im001_1.tif",
        "Im001_1.xyc",
        "a/UID_1_1_1_all.bmp",
        "a/Thumbs.db",
        "__MACOSX/._Im001_1.tif",
        "c.webp",
    ):
        path = tmp_path / "Model/Test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert named(tmp_path) == ["Im001_1.tif", "c.webp", "a/UID_1_1_1_all.bmp"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert all(part in line for part in ("1 .xyc", "Im001_1.xyc"))


def test_a_file_that_is_named_itself_is_taken_once_and_in_its_place(folder):
    test = folder / "Model" / "Test"
    assert named(folder, test / "notes.txt", test, test / "notes.txt")[:2] == ["notes.txt", "Im001_0.png"]
    assert named(folder, test / "notes.txt", test).count("notes.txt") == 1


def test_what_is_not_there_is_named(folder):
    with pytest.raises(DataError, match=r"missing\.png") as caught:
        named(folder, folder / "missing.png")
    assert caught.value.code == "no_such_source"
    with pytest.raises(DataError, match=r"Im001_0\.png") as caught:
        named(folder, settings=['ValidIType=[".heic"]'])
    assert caught.value.code == "no_images"


def test_a_folder_that_does_not_exist_has_no_files(folder):
    images, skipped = input_files.walk(graphs.configuration(folder), folder / "nowhere")

    assert images == []
    assert len(skipped) == 0


def test_a_path_is_shown_as_seen_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert input_files.display_path(folder / "Model" / "a.png") == "Model/a.png"
    assert input_files.display_path("/elsewhere/a.png") == "/elsewhere/a.png"
    assert input_files.display_path(b"/elsewhere/\xff.png".decode("utf-8", "surrogateescape")) == "/elsewhere/?.png"
