"""The rows of a run are read from its part files again for each table, and its summary needs only some columns."""

import types

import pytest

from Classes.inference import classify_task, result_rows
from Classes.jobs.items import Item
from Classes.jobs.job_folder import KILLED
from tests.support import fields

CARD = fields.card()


def run(*results):
    """A run with these results."""
    items = [Item(f"{number}.png", {"truth": None}) for number in range(len(results))]
    return types.SimpleNamespace(results=lambda: iter(zip(items, results, strict=True)))


def result(**values):
    row = classify_task.new_row(Item("a.png", {"truth": None}), CARD)
    return {"row": {**row, "confidence": 0.9, **values}}


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_every_table_gets_all_rows_and_the_summary_their_main_columns(monkeypatch, kept):
    monkeypatch.setattr(result_rows, "KEPT", kept)
    rows = result_rows.ResultRows(run(result(), result(outcome="review")), CARD)
    assert len(rows) == 2
    assert [[row["outcome"] for row in rows] for _ in "ab"] == 2 * [[None, "review"]]
    assert rows[0]["confidence"] == rows[1]["confidence"] == 0.9
    assert [row["outcome"] for row in rows.brief] == [None, "review"]
    assert "confidence" not in rows.brief[0]
    assert rows.killed == []


def test_an_image_that_ended_its_process_has_an_error():
    rows = result_rows.ResultRows(run(result(), KILLED), CARD)
    assert rows.killed == ["1.png"]
    assert "1.png" in rows.brief[1]["error"] and rows[1]["file"] == "1.png"
