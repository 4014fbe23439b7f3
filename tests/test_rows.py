import csv
import json
import logging

from Classes import Rows

log = logging.getLogger("test")


def row(name, **known):
    return Rows.empty(name, None, ["0", "1"]) | known


def test_nobodys_spreadsheet_calculates_with_a_files_name(tmp_path):
    rows = [row(name, confidence=-0.5, verdict="ALL detected") for name in ("=1+1.png", "-a.png", "@b.png", "c=d.png")]

    Rows.write(rows, None, tmp_path / "rows.csv", tmp_path / "rows.json", log)

    with open(tmp_path / "rows.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [each["file"] for each in written] == ["'=1+1.png", "'-a.png", "'@b.png", "c=d.png"]
    assert {each["confidence"] for each in written} == {"-0.5"}
    assert json.loads((tmp_path / "rows.json").read_text())["images"][0]["file"] == "=1+1.png"


def test_a_table_without_rows_has_a_head(tmp_path):
    Rows.write([], None, tmp_path / "rows.csv", None, log)
    assert (tmp_path / "rows.csv").read_text() == "file\n"
