"""Test what the model card says about the errors of a model of blasts."""

import pytest

from Classes.common import blast_fraction, wilson
from Classes.fields import blast_model
from tests.support import fields


@pytest.mark.parametrize(("value", "size"), [(0.9, 40), (0.5, 12.5), (1.0, 20), (0.0, 300), (0.97, 1000)])
def test_the_effective_size_is_that_of_the_interval(value, size):
    interval = wilson.wilson_interval(value, size)
    assert blast_fraction.effective_size(value, interval) == pytest.approx(size)


def test_a_metric_without_value_or_interval_says_nothing():
    assert blast_fraction.measured_rate(None) is None
    assert blast_fraction.measured_rate({"value": None, "interval": None}) is None
    assert blast_fraction.measured_rate({"value": 0.9, "interval": None}) is None


def test_the_fraction_is_corrected_with_the_metrics_of_the_card():
    metrics = {
        "sensitivity": {"value": 0.9, "interval": list(wilson.wilson_interval(0.9, 1e6))},
        "specificity": {"value": 0.8, "interval": list(wilson.wilson_interval(0.8, 1e6))},
    }
    model = blast_model.BlastModel(fields.card(("0", "1"), ("1",), metrics=metrics), fields.HandBackend((1, 0)), 0.7)
    found = blast_fraction.estimate_blast_fraction(30, 100, *model.rates)
    # Rogan-Gladen: (0.3 + 0.8 - 1) / (0.9 + 0.8 - 1)
    assert found.corrected == pytest.approx(1 / 7)


def test_a_model_that_was_never_measured_gives_no_correction():
    model = blast_model.BlastModel(fields.card(("0", "1"), ("1",)), fields.HandBackend((1, 0)), 0.7)
    assert model.rates == (None, None)
    assert blast_fraction.estimate_blast_fraction(30, 100, *model.rates).corrected is None


def test_a_model_of_several_kinds_of_blasts_names_them():
    card = fields.card(("healthy", "L1", "M2"), ("L1", "M2"))
    model = blast_model.BlastModel(card, fields.HandBackend((0.1, 0.6, 0.3), (0.1, 0.2, 0.7), (0.9, 0.1, 0)), 0.7)
    crops = [fields.draw(width=80, height=80)] * 3
    assert [(each.detected, each.name) for each in model.classify(crops)][:2] == [(True, "L1"), (True, "M2")]
    assert [each.probability for each in model.classify(crops)] == pytest.approx([0.9, 0.9, 0.1])
