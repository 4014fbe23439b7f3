"""Test the run over several photographs, with drawn fields and a finder that knows their cells."""

import csv
import json
import shutil

import pytest

from Classes.common.errors import ConfigurationError, DataError
from Classes.fields import classify_fields, field_outputs, field_task, finder
from Classes.fields.output_files import OutputFolders
from Classes.jobs.items import Unit
from Classes.jobs.job_folder import KILLED, JobFolder
from Classes.jobs.shards import Shard
from tests.support import fields, graphs
from tests.support.errors import raises

CELLS = (fields.Cell(150, 200), fields.Cell(400, 300), fields.Cell(560, 120, flags=("cut",)))
LYMPHOCYTE = (0.9, 0.02, 0.06, 0.02)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two fields of three cells, a file that is no image, and a gray photograph."""
    fields.photographs(tmp_path / "photographs", CELLS, "d.png")
    (tmp_path / "photographs" / "c.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    fields.install(monkeypatch, fields.HandFinder(CELLS))
    return tmp_path


def run(folder, *sources, scale=None, shard=None, **outputs):
    return classify_fields.classify_fields(
        graphs.configuration(folder),
        fields.card(),
        fields.FINDER,
        [str(folder / source) for source in sources],
        field_outputs.FieldOutputs(**outputs),
        scale,
        shard,
    )


def test_there_is_one_row_per_cell(folder):
    assert run(folder, "photographs/a.png", "photographs/b.png", csv="o.csv", json="o.json") == 0
    rows = list(csv.DictReader((folder / "o.csv").read_text().splitlines()))
    assert [(row["field"], row["cell"], row["group"], row["cut_by_border"]) for row in rows[:2]] == [
        ("photographs/a.png", "1", "lymphocyte", "True"),
        ("photographs/a.png", "2", "lymphocyte", "False"),
    ]
    found = json.loads((folder / "o.json").read_text())
    assert len(found["cells"]) == 6
    assert found["counts"]["white_cells"] == 6
    assert found["counts"]["differential"][0]["count"] == 6
    assert found["suggested"] is True
    assert [field["searched"] for field in found["fields"]] == [[0, 0, 640, 480]] * 2
    assert found["models"]["blasts"] is None


def test_a_photograph_without_a_result_is_named_with_its_code_and_the_others_are_counted(folder, capsys):
    assert run(folder, "photographs", json="o.json", html="o.html") == 1
    found = json.loads((folder / "o.json").read_text())
    assert [field["code"] for field in found["fields"]] == [None, None, "not_an_image", "not_a_smear"]
    assert [field["white_cells"] for field in found["fields"]] == [3, 3, None, None]
    assert (folder / "o.html").is_file()


def test_all_outputs_are_written(folder):
    folders = OutputFolders("over", "geo", "cells")
    assert run(folder, "photographs/a.png", folders=folders) == 0
    names = sorted(path.as_posix() for name in ("over", "geo", "cells") for path in (folder / name).rglob("*.*"))
    assert [name.removeprefix(f"{folder}/") for name in names] == [
        "cells/lymphocyte/a_001.png",
        "cells/lymphocyte/a_002.png",
        "cells/lymphocyte/a_003.png",
        "geo/a.geojson",
        "over/a.jpg",
    ]


def test_a_given_scale_is_used(folder):
    assert run(folder, "photographs/a.png", scale=0.1, json="o.json") == 0
    assert json.loads((folder / "o.json").read_text())["fields"][0]["um_per_pixel"] == 0.1


class Stopping(fields.HandFinder):
    """Stops at the second photograph, as Ctrl-C does."""

    def find(self, image, scale=None):
        if self.scale == "used":
            raise KeyboardInterrupt
        found = super().find(image, scale)
        self.scale = "used"
        return found


def outputs_of(folder):
    """What all outputs of ALL contain, by path."""
    files = [folder / name for name in ("o.csv", "o.json", "o.html")]
    files += [path for name in ("over", "geo", "cells") for path in (folder / name).rglob("*.*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


ALL = {
    "csv": "o.csv",
    "json": "o.json",
    "html": "o.html",
    "folders": OutputFolders("over", "geo", "cells"),
}


def test_a_stopped_run_keeps_what_is_done_and_is_continued(folder, monkeypatch):
    assert run(folder, "photographs", **ALL) == 1
    expected = outputs_of(folder)
    assert len(expected) == 3 + 2 + 2 + 6
    shutil.rmtree(folder / "cells")
    monkeypatch.setattr(finder, "CellFinder", lambda card, **options: Stopping(CELLS))
    with pytest.raises(KeyboardInterrupt):
        run(folder, "photographs", **ALL)
    assert len((folder / "o.csv").read_text().splitlines()) == 4
    assert json.loads((folder / "o.json").read_text())["counts"]["white_cells"] == 3
    assert (folder / "o.html").is_file()
    last = fields.HandFinder(CELLS, source="white_cells")
    monkeypatch.setattr(finder, "CellFinder", lambda card, **options: last)
    assert run(folder, "photographs", **ALL) == 1
    # What was finished is not analyzed again: the other finder has seen the second photograph only.
    found = json.loads((folder / "o.json").read_text())["fields"]
    assert [field.get("scale_source") for field in found] == ["red_cells", "white_cells", None, None]
    # The folder of the cells belongs to the run until it has ended.
    with raises(ConfigurationError, "folder_not_empty"):
        run(folder, "photographs", **ALL)


def test_shares_in_any_order_write_the_same(folder):
    assert run(folder, "photographs", **ALL) == 1
    expected = outputs_of(folder)
    for name in ("over", "geo", "cells"):
        shutil.rmtree(folder / name)
    for name in ("o.csv", "o.json", "o.html"):
        (folder / name).unlink()
    assert run(folder, "photographs", shard=Shard(2, 3), **ALL) == 0
    assert run(folder, "photographs", shard=Shard(3, 3), **ALL) == 1
    assert not (folder / "o.json").exists()
    assert run(folder, "photographs", shard=Shard(1, 3), **ALL) == 1
    assert outputs_of(folder) == expected


def test_a_photograph_that_ended_its_process_is_named_with_its_code(folder, monkeypatch, caplog):
    monkeypatch.setattr(finder, "CellFinder", lambda card, **options: Stopping(CELLS))
    with pytest.raises(KeyboardInterrupt):
        run(folder, "photographs/a.png", "photographs/b.png", json="o.json", html="o.html")
    [job] = (folder / "Model" / "Jobs").iterdir()
    _, second = field_task.make_items([folder / "photographs/a.png", folder / "photographs/b.png"])
    JobFolder(job).write(Unit((second,)), [KILLED])
    assert run(folder, "photographs/a.png", "photographs/b.png", json="o.json", html="o.html") == 1
    rows = json.loads((folder / "o.json").read_text())["fields"]
    assert [(row["code"], row["white_cells"]) for row in rows] == [(None, 3), ("killed_process", None)]
    assert any("photographs/b.png" in record.getMessage() for record in caplog.records if record.levelname == "ERROR")


def test_what_cannot_work_is_refused_before_anything_is_computed(folder):
    with raises(DataError, "no_such_source"):
        run(folder, "missing")
    with raises(ConfigurationError, "not_writable"):
        run(folder, "photographs", csv=str(folder))
    card = fields.card(("0", "1"), ("1",))
    with raises(ConfigurationError, "not_a_cell_type_model"):
        classify_fields.classify_fields(
            graphs.configuration(folder), card, fields.FINDER, ["x"], field_outputs.FieldOutputs()
        )


def test_a_model_of_synthetic_smears_does_not_count_blasts(folder):
    graphs.write(folder / "Model", synthetic=True)
    assert run(folder, "photographs/a.png", json="o.json") == 0
    assert json.loads((folder / "o.json").read_text())["models"]["blasts"] is None


def test_the_model_of_the_user_counts_blasts(folder, monkeypatch):
    graphs.write(folder / "Model")
    rows = {"Hand.pb": LYMPHOCYTE, "ALLGraph.pb": (0.1, 0.9)}
    fields.install(monkeypatch, fields.HandFinder(CELLS), rows)
    assert run(folder, "photographs/a.png", json="o.json") == 0
    blasts = json.loads((folder / "o.json").read_text())["counts"]["blasts"]
    assert (blasts["blasts"], blasts["cells"], blasts["type"]) == (3, 3, "lymphoblast")
