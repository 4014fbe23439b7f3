"""Test the folders that are written."""

import os
import pathlib

import PIL.Image

from Classes.common import temp_files
from Classes.common.errors import ConfigurationError
from Classes.common.output_folders import unique_stems
from Classes.fields.output_files import OutputFolders
from tests.support import fields
from tests.support.errors import raises


def test_each_cell_is_in_the_folder_of_its_type(tmp_path):
    folders = OutputFolders(tmp_path / "o", tmp_path / "g", tmp_path / "c")
    folders.prepare()
    field = fields.field(fields.typed(2, "immature granulocyte"), fields.typed(3, "lymphocyte"))
    folders.write(fields.draw(), field, "a", "caption")
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert names == ["c/immature_granulocyte/a_002.png", "c/lymphocyte/a_003.png", "g/a.geojson", "o/a.jpg"]
    # 37 µm / 0.25 µm per pixel
    with PIL.Image.open(tmp_path / "c/lymphocyte/a_003.png") as crop:
        assert crop.size == (148, 148)


def test_what_killed_processes_left_is_removed(tmp_path):
    folders = OutputFolders(tmp_path / "o", None, tmp_path / "c")
    folders.prepare()
    places = [tmp_path / "o" / "a.jpg", tmp_path / "c" / "lymphocyte" / "a_001.png", tmp_path / "rows.csv"]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        place.touch()
        # Of this process, which is still at work, and of one whose number no process can have.
        temporary = temp_files.temp_path_for(place)
        temporary.touch()
        temporary.with_name(temporary.name.replace(f".{os.getpid()}-", ".99999999-")).touch()
    folders.remove_leftovers(tmp_path / "rows.csv", None)
    for place in places:
        assert len(list(place.parent.glob("*.*"))) == 2
        assert not list(place.parent.glob("*.99999999-*"))


def test_names_are_unique_on_file_systems_that_ignore_case():
    files = [pathlib.Path(name) for name in ("x/Im1.jpg", "y/im1.png", "x/Im1.tif", "x/Im1-2.tif")]
    assert unique_stems(files) == ["Im1", "im1-2", "Im1-3", "Im1-2-2"]


def test_cells_of_two_runs_do_not_mix(tmp_path):
    (tmp_path / "old.png").touch()
    with raises(ConfigurationError, "folder_not_empty"):
        OutputFolders(crops=tmp_path).require_empty()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("overlay", "geojson", "crops"):
        with raises(ConfigurationError, "not_writable"):
            OutputFolders(**{name: tmp_path / "file"}).prepare()
