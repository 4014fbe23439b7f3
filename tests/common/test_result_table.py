import csv
import json
import logging
import os

import pytest

from Classes.common import result_table
from Classes.common.errors import ConfigurationError

log = logging.getLogger("test")


def row(name, **known):
    return result_table.new_row(name, None, ["0", "1"]) | known


def test_nobodys_spreadsheet_calculates_with_a_files_name(tmp_path):
    rows = [row(name, confidence=-0.5, verdict="ALL detected") for name in ("=1+1.png", "-a.png", "@b.png", "c=d.png")]

    result_table.write_tables(rows, None, tmp_path / "rows.csv", tmp_path / "rows.json", log)

    with open(tmp_path / "rows.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [each["file"] for each in written] == ["'=1+1.png", "'-a.png", "'@b.png", "c=d.png"]
    assert {each["confidence"] for each in written} == {"-0.5"}
    assert json.loads((tmp_path / "rows.json").read_text())["images"][0]["file"] == "=1+1.png"


def test_a_table_without_rows_has_a_head(tmp_path):
    result_table.write_tables([], None, tmp_path / "rows.csv", None, log)
    assert (tmp_path / "rows.csv").read_text() == "file\n"


def test_devices_pipes_and_the_output_are_places_for_rows(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "rows.csv")
    result_table.check_writable(tmp_path / "pipe", tmp_path / "link.csv", "/dev/stdout")
    # In a container the output is often a pipe of another user's, open for writing all the same.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    result_table.check_writable("/dev/stdout", "/dev/fd/1")


@pytest.mark.parametrize("name", ["folder", "loop", "into-nowhere", "nowhere/rows.csv", "file/rows.csv"])
def test_places_where_no_rows_can_be_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "into-nowhere").symlink_to(tmp_path / "not-mounted" / "rows.csv")
    (tmp_path / "nowhere").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(ConfigurationError):
        result_table.check_writable(tmp_path / name)
