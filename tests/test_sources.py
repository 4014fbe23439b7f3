import pytest

from Classes import Sources
from Classes.Errors import DataError
from tests import graphs


@pytest.fixture
def folder(tmp_path):
    for name in ("Im002_1.JpG", "Im001_0.png", "deeper/Im003_1.PNG", "Im004_1.tif", "notes.txt", ".hidden.png"):
        path = tmp_path / "Model" / "Test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"anything")
    return tmp_path


def named(folder, *sources, settings=()):
    found = Sources.find(graphs.configuration(folder, *settings), sources)
    return [path.relative_to(folder / "Model" / "Test").as_posix() for path in found]


def test_endings_are_taken_in_either_case_at_any_depth(folder):
    assert named(folder) == ["Im001_0.png", "Im002_1.JpG", "deeper/Im003_1.PNG"]
    assert named(folder, settings=['ValidIType=[".TIF"]']) == ["Im004_1.tif"]


def test_a_file_that_is_named_itself_is_taken_once_and_in_its_place(folder):
    test = folder / "Model" / "Test"
    assert named(folder, test / "notes.txt", test, test / "notes.txt")[:2] == ["notes.txt", "Im001_0.png"]
    assert named(folder, test / "notes.txt", test).count("notes.txt") == 1


def test_what_is_not_there_is_named(folder):
    with pytest.raises(DataError, match=r"missing\.png: there is no such file or folder"):
        named(folder, folder / "missing.png")
    with pytest.raises(DataError, match=r"Test: no image; put images named like Im047_0\.jpg"):
        named(folder, settings=['ValidIType=[".heic"]'])


def test_a_path_is_shown_as_seen_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert Sources.shown(folder / "Model" / "a.png") == "Model/a.png"
    assert Sources.shown("/elsewhere/a.png") == "/elsewhere/a.png"
    assert Sources.shown(b"/elsewhere/\xff.png".decode("utf-8", "surrogateescape")) == "/elsewhere/?.png"
