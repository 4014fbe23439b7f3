"""Test the differential: order, whole per cent, intervals, and what is counted apart."""

import pytest

from Classes.common import differential


def test_rows_are_in_conventional_order_without_types_that_have_no_cell():
    types = ["basophil"] * 2 + ["lymphocyte"] * 30 + ["neutrophil"] * 60 + ["unknown"] + ["monocyte"] * 7
    found = differential.count_types(types)
    assert [(row.name, row.count) for row in found.rows] == [
        ("neutrophil", 60),
        ("lymphocyte", 30),
        ("monocyte", 7),
        ("basophil", 2),
        ("unknown", 1),
    ]
    assert found.cells == 100


def test_the_interval_is_wilsons():
    found = differential.count_types(["lymphocyte"] * 20 + ["neutrophil"] * 80)
    # 20 of 100, as published in tables of Wilson's interval: 13.3 to 28.9 %.
    assert found.rows[1].interval == pytest.approx((0.1334, 0.2888), abs=1e-4)
    assert found.table()[2] == ("lymphocyte", "20", "20", "13 to 29")


def test_erythroblasts_are_reported_per_hundred_white_cells():
    found = differential.count_types(["erythroblast"] * 10 + ["lymphocyte"] * 40, not_counted=["erythroblast"])
    assert found.cells == 40
    assert found.apart == {"erythroblast": 10}
    assert found.per_hundred("erythroblast") == 25
    assert [row.name for row in found.rows] == ["lymphocyte"]


def test_no_cells():
    found = differential.count_types([])
    assert (found.rows, found.cells, found.per_hundred("erythroblast")) == ((), 0, None)
    assert found.adequacy()


def test_a_rare_type_is_not_rounded_to_zero():
    assert differential.whole_percent(1, 300) == "<1"
    assert differential.whole_percent(2, 300) == "1"
    assert differential.whole_percent(0, 300) == "0"


def test_adequacy_changes_with_the_number_of_cells():
    texts = {differential.count_types(["lymphocyte"] * count).adequacy().split(" (")[0] for count in (1, 99, 100, 200)}
    assert len(texts) == 4
