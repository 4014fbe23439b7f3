"""Workers with other code, packages or folders are refused, with what differs."""

import dataclasses

import pytest

from Classes.jobs import cluster_check
from Classes.jobs.executor import Work
from Classes.jobs.items import Item, file_item


@pytest.fixture
def expected(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_check, "PATIENCE", 0)
    folder = tmp_path / "job"
    folder.mkdir()
    (tmp_path / "model.xml").write_text("model")
    (tmp_path / "image.png").write_text("pixels")
    (tmp_path / "overlays").mkdir()
    settings = {"models": [{"path": str(tmp_path / "model.xml")}], "other": "/no/such/file", "number": 1}
    settings["output"] = str(tmp_path / "overlays")
    items = [file_item(tmp_path / "image.png"), Item("band", {"top": 0})]
    return cluster_check.expect(Work("a:B", settings, str(folder)), items)


def test_the_same_machine_is_accepted(expected, tmp_path):
    names = {"model.xml": 5, "image.png": 6, "overlays": None}
    assert expected.files == {str(tmp_path / name): size for name, size in names.items()}
    assert cluster_check.check(expected) is None
    assert [path.name for path in (tmp_path / "job").iterdir()] == [expected.probe]


@pytest.mark.parametrize("name", ["toolkit", "source code", "Python", "numpy", "openvino", "pillow", "distributed"])
def test_other_software_is_named(expected, name):
    other = dataclasses.replace(expected, software={**expected.software, name: "0.0.1"})
    error = cluster_check.check(other)
    assert error.code == "cluster_versions"
    assert name in str(error) and "0.0.1" in str(error) and expected.software[name] in str(error)


def test_a_folder_without_the_file_of_this_run_is_another_one(expected, tmp_path):
    (tmp_path / "job" / expected.probe).unlink()
    error = cluster_check.check(expected)
    assert error.code == "cluster_folder" and str(tmp_path / "job") in str(error)


def test_a_missing_folder_of_outputs_is_named(expected, tmp_path):
    (tmp_path / "overlays").rmdir()
    error = cluster_check.check(expected)
    assert error.code == "cluster_folder" and str(tmp_path / "overlays") in str(error)


@pytest.mark.parametrize("change", ["remove", "other content"])
@pytest.mark.parametrize("name", ["model.xml", "image.png"])
def test_a_missing_or_other_file_is_named(expected, tmp_path, name, change):
    if change == "remove":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text("something else")
    error = cluster_check.check(expected)
    assert error.code == "cluster_folder" and str(tmp_path / name) in str(error)
