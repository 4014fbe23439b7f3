"""Test the counts of a run."""

import pytest

from Classes.fields import blast_model, run_counts
from tests.support import fields

CELLS = [
    *[fields.typed(number, "lymphocyte") for number in range(6)],
    *[fields.typed(number, "lymphoblast", is_blast=True) for number in range(3)],
    *[fields.typed(number, "erythroblast") for number in range(2)],
]


def model(metrics=None):
    return blast_model.BlastModel(fields.card(("0", "1"), ("1",), metrics=metrics), fields.HandBackend((1, 0)), 0.7)


def test_erythroblasts_are_not_in_the_denominator():
    found = run_counts.count_cells(CELLS, model()).to_json()
    assert found["white_cells"] == 9
    assert found["not_counted"] == {"erythroblast": 2}
    assert [(row["group"], row["count"]) for row in found["differential"]] == [("lymphocyte", 6), ("lymphoblast", 3)]
    assert (found["blasts"]["blasts"], found["blasts"]["cells"], found["enough"]) == (3, 9, False)
    assert found["blasts"]["observed"] == pytest.approx(1 / 3)
    assert found["blasts"]["corrected"] is None


def test_without_a_model_of_blasts_nothing_is_said_about_them():
    found = run_counts.count_cells(CELLS[:6])
    assert found.to_json()["blasts"] is None
    assert found.fraction is None


def test_a_corrected_fraction_adds_a_sentence():
    metric = {"value": 0.9, "interval": [0.8, 0.95]}
    measured = run_counts.count_cells(CELLS, model({"sensitivity": metric, "specificity": metric}))
    assert measured.fraction.corrected == pytest.approx((1 / 3 - 0.1) / 0.8)
    assert len(measured.sentences()) == len(run_counts.count_cells(CELLS, model()).sentences())


def test_foreign_colors_are_counted_among_the_white_cells():
    foreign = [fields.typed(number, "lymphocyte", flags=("unlike_training",)) for number in range(2)]
    found = run_counts.count_cells(
        [*CELLS, *foreign, fields.typed(9, "erythroblast", flags=("unlike_training",))], model()
    )
    assert found.unlike == 2
    assert len(found.sentences()) == len(run_counts.count_cells(CELLS, model()).sentences()) + 1


def test_no_cells():
    found = run_counts.count_cells([], model())
    assert found.fraction is None
    assert found.to_json()["white_cells"] == 0
    assert len(found.lines()) == 1
