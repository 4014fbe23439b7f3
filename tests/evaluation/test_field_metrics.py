import pytest

from Classes.common import wilson
from Classes.evaluation import field_metrics
from Classes.evaluation.field_metrics import MeasuredField
from Classes.imaging.annotations.record import AnnotatedCell


def cell(x, y=50.0, size=20.0, label="LY"):
    return AnnotatedCell(float(x), float(y), float(size), float(size), label)


def point(x, y=50.0):
    return AnnotatedCell(float(x), float(y), 0.0, 0.0, "blast")


def field(name, annotated, found, **more):
    return MeasuredField(name, more.pop("group", name), tuple(annotated), tuple(found), **more)


def test_the_center_decides_not_the_overlap():
    # Boxes of 20 pixels reach 10 pixels to each side.
    assert field_metrics.match_cells([cell(100)], [cell(110)]) == [(0, 0)]
    assert field_metrics.match_cells([cell(100)], [cell(111)]) == []
    assert field_metrics.match_cells([cell(100)], [cell(100, 61)]) == []
    assert field_metrics.match_cells([cell(100)], [cell(109, 59, size=200)]) == [(0, 0)]


def test_a_point_is_met_within_half_of_the_found_width():
    assert field_metrics.match_cells([point(100)], [cell(106, 58, size=20)]) == [(0, 0)]
    # Within a square of 20 pixels, but 11.3 pixels away.
    assert field_metrics.match_cells([point(100)], [cell(108, 58, size=20)]) == []


def test_each_cell_is_matched_once_and_as_many_as_possible():
    # The first found cell lies in both boxes and is nearer to the second, which has another partner.
    annotated = [cell(100), cell(112)]
    assert field_metrics.match_cells(annotated, [cell(108), cell(118)]) == [(0, 0), (1, 1)]
    assert field_metrics.match_cells(annotated, [cell(112), cell(113), cell(114)]) == [(1, 0)]
    assert field_metrics.match_cells([], [cell(1)]) == field_metrics.match_cells([cell(1)], []) == []


def test_counts_recall_precision_and_f1():
    fields = [
        # Both found.
        field("a", [cell(50), cell(100)], [cell(50), cell(100)]),
        # One of two found, and one false.
        field("b", [cell(50), cell(100)], [cell(50), cell(200)]),
        # Nothing there, two false.
        field("c", [], [cell(50), cell(100)]),
        field("d", [cell(50)], []),
    ]
    metrics = field_metrics.evaluate_fields(fields)
    assert (metrics["photographs"], metrics["annotated"], metrics["found"], metrics["matched"]) == (4, 5, 6, 3)
    assert metrics["recall"]["of"] == [3, 5] and metrics["precision"]["of"] == [3, 6]
    assert metrics["f1"]["value"] == pytest.approx(6 / 11)
    # Errors 0, 0, 2, -1.
    assert metrics["count_error"]["value"] == pytest.approx(0.25)
    assert metrics["absolute_count_error"]["value"] == pytest.approx(0.75)
    assert metrics["exact_count"]["of"] == [2, 4]
    low, high = metrics["f1"]["interval"]
    assert 0 <= low < 6 / 11 < high <= 1
    assert metrics["types"] is None
    assert metrics["fields"][1] == {
        "photograph": "b",
        "group": "b",
        "annotated": 2,
        "complete": True,
        "found": 2,
        "matched": 1,
        "missed": [[100, 50, 20, 20]],
        "not_annotated": [[200, 50, 20, 20]],
        "refused": None,
        "seconds": 0,
    }


def test_photographs_not_cells_are_independent():
    # Ten cells in each of four photographs, all found in two and none in the others, against one cell in each of 40.
    few = [
        field(str(n), [cell(50 * k) for k in range(10)], [cell(50 * k) for k in range(10 * (n % 2))]) for n in range(4)
    ]
    many = [field(str(n), [cell(50)], [cell(50)] * (n % 2)) for n in range(40)]
    wide, narrow = (field_metrics.evaluate_fields(fields)["recall"] for fields in (few, many))
    assert wide["value"] == narrow["value"] == 0.5
    assert narrow["interval"] == pytest.approx(wilson.wilson_interval(0.5, 40))
    assert wide["interval"][1] - wide["interval"][0] > 2 * (narrow["interval"][1] - narrow["interval"][0])


def test_photographs_of_a_patient_are_one_group():
    fields = [field(str(n), [cell(50)], [cell(50)] * (n % 3 > 0), group=str(n // 3)) for n in range(12)]
    metrics = field_metrics.evaluate_fields(fields)
    assert metrics["groups"] == 4 and metrics["recall"]["value"] == pytest.approx(2 / 3)


def test_where_only_some_cells_are_marked_only_recall_is_known():
    fields = [field("a", [point(50)], [cell(52), cell(100)], complete=False), field("b", [], [cell(9)], complete=False)]
    metrics = field_metrics.evaluate_fields(fields)
    assert metrics["recall"]["of"] == [1, 1]
    for name in ("precision", "f1", "count_error", "exact_count"):
        assert metrics[name]["value"] is None and metrics[name]["note"]
    mixed = field_metrics.evaluate_fields([*fields, field("c", [cell(50)], [cell(50), cell(200)])])
    assert mixed["recall"]["of"] == [2, 2] and mixed["precision"]["of"] == [1, 2]


def test_without_cells_nothing_is_known():
    metrics = field_metrics.evaluate_fields([field("a", [], []), field("b", [], [])])
    assert metrics["recall"]["value"] is metrics["precision"]["value"] is metrics["f1"]["value"] is None
    assert metrics["exact_count"]["of"] == [2, 2]


def test_confusion_of_types():
    fields = [
        field(
            "a",
            [cell(50), cell(100), cell(150, label="WBC")],
            [cell(50), cell(100), cell(150)],
            types=("lym", "mono", "lym"),
        ),
        field("b", [cell(50, label="MO"), cell(100, label="MO")], [cell(50), cell(200)], types=("mono", "mono")),
        field("c", [], [cell(50)], types=("lym",), complete=False),
    ]
    types = field_metrics.evaluate_fields(fields, {"ly": "lym", "mo": "mono"})["types"]
    assert types["annotated"] == ["LY", "MO", "WBC", "not annotated"] and types["types"] == ["lym", "mono", "not found"]
    assert types["confusion"] == [[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0]]
    # Of the three found cells with a known type, one is wrong; nobody knows which type a WBC is.
    assert types["accuracy"]["of"] == [2, 3]
