"""The tables of several classes fit a terminal and hide nothing."""

import numpy
import pytest

from Classes.evaluation import multiclass_metrics, multiclass_tables

NAMES = ["normal", "[Malignant] Early Pre-B lymphoblast of the marrow", "幼稚粒细胞"]


@pytest.fixture
def metrics():
    truths = numpy.repeat([0, 1, 2], [20, 10, 5])
    predicted = truths.copy()
    predicted[[20, 21, 22, 34]] = 0
    return multiclass_metrics.evaluate_multiclass(truths, numpy.eye(3)[predicted], NAMES, None)


def test_every_class_is_in_the_table_with_its_images(metrics):
    rows = multiclass_tables.class_rows(metrics)

    assert [row[:2] for row in rows] == [(NAMES[0], "20"), (NAMES[1], "10"), (NAMES[2], "5")]
    assert all(len(row) == len(multiclass_tables.class_head("class")) for row in rows)


def test_a_terminal_of_80_columns_is_enough(metrics):
    import rich.cells

    lines = multiclass_tables.format_table(metrics, "class", 80)
    table = lines[: lines.index("")]

    assert max(map(rich.cells.cell_len, table)) <= 80
    assert all(any(name in line for line in table) for name in NAMES)
    # The columns end at the same place, whatever the width of the characters in a name.
    assert len({rich.cells.cell_len(line) for line in table if "(" in line and "[" not in line}) == 1


def test_the_most_frequent_confusion_comes_first(metrics):
    assert multiclass_tables.confusions(metrics) == [(NAMES[1], NAMES[0], 3, 10), (NAMES[2], NAMES[0], 1, 5)]
    assert multiclass_tables.confusions(metrics, 1) == [(NAMES[1], NAMES[0], 3, 10)]


def test_an_unknown_metric_is_a_dash_and_is_explained():
    metrics = multiclass_metrics.evaluate_multiclass([0, 1], numpy.eye(3)[[0, 1]], NAMES, None)

    rows = multiclass_tables.class_rows(metrics)

    assert rows[2] == (NAMES[2], "0", "-", "-", "-", "-")
    assert any(NAMES[2] in note for note in multiclass_tables.notes(metrics))
