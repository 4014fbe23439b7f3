import csv
import datetime
import io
import json
import logging
import os

import openpyxl
import pytest
from babel import numbers
from pyarrow import parquet

from Classes.common import conditions, result_table, summary, table_files, translation
from Classes.common.errors import ConfigurationError

log = logging.getLogger("test")


def row(name="a.png", **known):
    found = result_table.new_row(name, "1", ["0", "1"])
    found |= {"class": "1", "verdict": "ALL detected", "confidence": 0.9717, "outcome": "positive", "correct": True}
    found |= {"probability_0": 0.02829, "probability_1": 0.97171, "all_probability": 0.97171, "low": False}
    found |= {"uncertain": False, "model": "InceptionV3 0123456789ab", "software_version": "2.0.0", "seconds": 0.25}
    return found | known


FAILED = dict.fromkeys(
    ("class", "verdict", "confidence", "outcome", "correct", "probability_0", "probability_1", "all_probability")
)
REVIEW = row("b.png", outcome="review", reasons=["out_of_focus", "low_confidence"])


def write(rows, folder, **files):
    paths = {kind: folder / name for kind, name in files.items()}
    files = table_files.TableFiles(**paths).prepared(conditions.ALL)
    found = summary.summarize(rows, len(rows), condition=conditions.ALL)
    table_files.write_tables(files, rows, {"graph_sha256": "f" * 64}, found, log)


def read_csv(text, **options):
    return list(csv.DictReader(io.StringIO(text), **options))


def test_columns_for_people_come_first_and_those_for_programs_keep_their_names():
    names = table_files.csv_text([row()], conditions.ALL).splitlines()[0].split(",")

    assert names[:11] == [
        "file", "result", "ALL probability (%)", "needs review", "reasons", "class", "known class", "correct", "date",
        "model", "software version",
    ]  # fmt: skip
    historic = ["file", "class", "verdict", "confidence", "low", "uncertain", "probability_0", "probability_1", "truth"]
    historic += ["correct", "seconds", "engine", "precision", "remark", "error"]
    assert set(historic) <= set(names)
    assert len(set(names)) == len(names)


def test_cells_for_people_and_for_programs():
    first, second, third = read_csv(
        table_files.csv_text([row(), REVIEW, row("c.png", error="c.png: damaged", **FAILED)], conditions.ALL)
    )

    assert (first["result"], first["ALL probability (%)"], first["needs review"]) == ("Signs of ALL", "97.17", "no")
    assert (first["class"], first["known class"], first["correct"]) == ("1", "1", "True")
    assert (first["probability_1"], first["confidence"], first["outcome"]) == ("0.97171", "0.9717", "positive")
    assert (second["result"], second["needs review"]) == ("Needs review", "yes")
    assert second["reasons"] == "The image is out of focus. The confidence is low."
    assert second["reason_codes"] == "out_of_focus low_confidence"
    assert (third["result"], third["needs review"], third["reasons"]) == ("No result", "", "c.png: damaged")


def test_a_table_in_another_locale():
    text = table_files.csv_text([REVIEW], conditions.ALL, "es")

    [found] = read_csv(text.removeprefix("\ufeff"), delimiter=";")
    assert text.startswith("\ufeff")
    assert found["resultado"] == "Requiere revisión"
    assert found["probabilidad de LLA (%)"] == "97,17"
    assert found["correcto"] == "sí"
    assert found["probability_1"] == "0,97171"


def test_the_columns_name_the_condition():
    [found] = read_csv(table_files.csv_text([row(verdict="AML detected")], conditions.AML))

    assert (found["result"], found["AML probability (%)"], found["verdict"]) == (
        "Signs of AML",
        "97.17",
        "AML detected",
    )
    assert "ALL" not in "".join([*found, *found.values()])
    [spanish] = read_csv(table_files.csv_text([row()], conditions.AML, "es").removeprefix("\ufeff"), delimiter=";")
    assert spanish["resultado"] == "Signos de LMA"


def test_the_byte_order_mark_is_written_if_a_spreadsheet_needs_it():
    assert table_files.csv_text([row("a.png")], conditions.ALL).startswith("file,")
    assert table_files.csv_text([row("á.png")], conditions.ALL).startswith("\ufefffile,")


@pytest.mark.parametrize(
    "locale", [*table_files.COMMA_LANGUAGES.split(), *table_files.POINT_REGIONS.split(), "en", "ja"]
)
def test_decimal_marks_are_those_of_the_unicode_locale_data(locale):
    assert table_files.has_decimal_comma(locale) == (numbers.get_decimal_symbol(locale) == ",")
    assert table_files.has_decimal_comma(locale.replace("_", "-") + ".UTF-8") == table_files.has_decimal_comma(locale)


@pytest.mark.parametrize("name", ["=1+1.png", "+a.png", "-a.png", "@b.png", "\t=1.png"])
def test_nobodys_spreadsheet_calculates_with_a_files_name(tmp_path, name):
    write([row(name)], tmp_path, csv="a.csv", xlsx="a.xlsx", json="a.json")

    [found] = read_csv((tmp_path / "a.csv").read_text())
    assert found["file"] == f"'{name}"
    cell = openpyxl.load_workbook(tmp_path / "a.xlsx")["Results"]["A2"]
    assert cell.data_type == "s"
    assert json.loads((tmp_path / "a.json").read_text())["images"][0]["file"] == name


def test_a_workbook_has_numbers_colors_and_three_sheets(tmp_path):
    write([row(), REVIEW, row("c.png", error="damaged", **FAILED)], tmp_path, xlsx="a.xlsx")

    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    results = book["Results"]
    assert [cell.value for cell in results[1]][:3] == ["file", "result", "ALL probability (%)"]
    assert results["C2"].value == 97.17
    assert [results.cell(place, 2).value for place in (2, 3, 4)] == ["Signs of ALL", "Needs review", "No result"]
    colors = [results.cell(place, 2).fill.fgColor.rgb for place in (2, 3, 4)]
    assert len(set(colors)) == 3
    technical = {cell.value: book["Technical"].cell(2, cell.column).value for cell in book["Technical"][1]}
    assert technical["probability_1"] == 0.97171
    texts = [str(cell.value) for line in book["Summary"] for cell in line]
    assert any("Research use only" in text for text in texts)


def test_a_workbook_is_in_the_language_of_the_reader(tmp_path):
    with translation.use_language("es"):
        write([row()], tmp_path, xlsx="a.xlsx")

    assert openpyxl.load_workbook(tmp_path / "a.xlsx").active["B2"].value == "Signos de LLA"


def test_parquet_has_the_columns_and_types_of_the_rows(tmp_path):
    write([row(), REVIEW], tmp_path, parquet="a.parquet")

    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.to_pylist() == [row(date=table["date"][0].as_py()), REVIEW | {"date": table["date"][1].as_py()}]
    assert b"notice" in table.schema.metadata


def test_tables_without_rows(tmp_path):
    write([], tmp_path, csv="a.csv", json="a.json", xlsx="a.xlsx", parquet="a.parquet")

    assert (tmp_path / "a.csv").read_text().startswith("file,result,")
    assert openpyxl.load_workbook(tmp_path / "a.xlsx")["Results"]["A1"].value == "file"
    assert parquet.read_table(tmp_path / "a.parquet").num_rows == 0


def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(table_files.sys.modules, "openpyxl", None)

    with pytest.raises(ConfigurationError) as error:
        table_files.TableFiles(xlsx=tmp_path / "a.xlsx").prepared(conditions.ALL)

    assert error.value.code == "package_missing"


def test_a_table_without_a_name_is_named_by_the_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime.datetime(2026, 11, 26, 18, 3)

    first = table_files.TableFiles(csv="auto").prepared(conditions.ALL, now).csv
    (tmp_path / first).touch()

    assert first == "ALL-results-2026-11-26-1803.csv"
    assert table_files.TableFiles(csv="auto").prepared(conditions.ALL, now).csv == "ALL-results-2026-11-26-1803-2.csv"


def test_devices_pipes_and_the_output_are_places_for_rows(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "rows.csv")
    table_files.TableFiles(csv=tmp_path / "pipe", json=tmp_path / "link.csv").prepared(conditions.ALL)
    # In a container the output is often a pipe of another user's, open for writing all the same.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    table_files.TableFiles(csv="/dev/stdout", json="/dev/fd/1").prepared(conditions.ALL)


@pytest.mark.parametrize("name", ["folder", "loop", "into-nowhere", "nowhere/rows.csv", "file/rows.csv"])
def test_places_where_no_rows_can_be_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "into-nowhere").symlink_to(tmp_path / "not-mounted" / "rows.csv")
    (tmp_path / "nowhere").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(ConfigurationError):
        table_files.TableFiles(csv=tmp_path / name).prepared(conditions.ALL)
