"""Test the fraction of blasts and its intervals."""

import pytest

from Classes.common import blast_fraction
from Classes.common.blast_fraction import MeasuredRate


def test_the_correction_is_that_of_rogan_and_gladen():
    found = blast_fraction.estimate_blast_fraction(23, 150, MeasuredRate(0.96, 1e9), MeasuredRate(0.89, 1e9))
    # The example of epiR's epi.prev: 5.1 of 100.
    assert found.corrected == pytest.approx(0.051, abs=5e-4)
    assert found.observed == pytest.approx(23 / 150)


def test_the_interval_is_that_of_lang_and_reiczigel():
    # Worked out step by step from equations 6, 7, 16 and 17 of the paper with decimal arithmetic of 30 digits.
    low, high = blast_fraction.lang_reiczigel_interval(0.2, 60, MeasuredRate(0.95, 80), MeasuredRate(0.96, 100))
    assert (low, high) == pytest.approx((0.0676, 0.3086), abs=1e-4)


def test_errors_of_the_classifier_widen_the_interval():
    sure = blast_fraction.lang_reiczigel_interval(0.2, 100, MeasuredRate(0.95, 1e6), MeasuredRate(0.97, 1e6))
    unsure = blast_fraction.lang_reiczigel_interval(0.2, 100, MeasuredRate(0.95, 20), MeasuredRate(0.97, 20))
    assert unsure[0] < sure[0] < sure[1] < unsure[1]


def test_a_film_without_blasts_stays_within_zero_and_one():
    found = blast_fraction.estimate_blast_fraction(0, 100, MeasuredRate(0.9, 50), MeasuredRate(0.95, 50))
    assert found.corrected == 0
    assert found.corrected_interval is not None
    low, high = found.corrected_interval
    assert low == 0
    assert 0 < high < 0.2


@pytest.mark.parametrize(
    "rates", [(None, MeasuredRate(0.9, 50)), (MeasuredRate(0.9, 50), None), (MeasuredRate(0.5, 50),) * 2]
)
def test_without_known_errors_there_is_no_correction(rates):
    found = blast_fraction.estimate_blast_fraction(5, 100, *rates)
    assert found.corrected is None
    assert found.corrected_interval is None
    assert found.observed_interval == pytest.approx((0.0215, 0.1118), abs=1e-4)


@pytest.mark.parametrize(("blasts", "cells"), [(0, 0), (2, 1), (-1, 4)])
def test_impossible_counts(blasts, cells):
    with pytest.raises(ValueError, match="blasts"):
        blast_fraction.estimate_blast_fraction(blasts, cells)
