"""From heat maps, made by hand, to cells."""

import numpy
import pytest

from Classes.fields import peaks

STRIDE, UNIT = 4, 24.0


def output(*centers, side=16, background=-8.0):
    """A network's output with centers (row, column, logit, kind)."""
    values = numpy.zeros((side, side, 6), "float32")
    values[..., :2] = background
    for row, column, logit, kind in centers:
        values[row, column, kind] = logit
    return values


def test_a_peak_is_a_cell_at_the_middle_of_its_pixel():
    found = peaks.find_peaks(output((3, 5, 2.0, peaks.WHITE)), peaks.WHITE, 0.3, STRIDE, UNIT)

    assert found.centers.tolist() == [[22, 14]]
    assert found.sizes.tolist() == [[24, 24]]
    assert found.scores == pytest.approx([1 / (1 + numpy.exp(-2.0))])


def test_size_and_offset_are_read_at_the_center():
    values = output((3, 5, 2.0, peaks.WHITE))
    values[3, 5, 2:] = numpy.log(2), numpy.log(0.5), 0.25, -0.5

    found = peaks.find_peaks(values, peaks.WHITE, 0.3, STRIDE, UNIT)

    assert found.sizes[0] == pytest.approx([48, 12])
    assert found.centers[0] == pytest.approx([23, 12])


def test_kinds_and_scores_below_the_threshold_are_kept_apart():
    values = output((3, 5, 2.0, peaks.WHITE), (10, 10, 2.0, peaks.RED), (12, 3, -2.0, peaks.WHITE))

    assert len(peaks.find_peaks(values, peaks.WHITE, 0.3, STRIDE, UNIT).scores) == 1
    assert len(peaks.find_peaks(values, peaks.RED, 0.3, STRIDE, UNIT).scores) == 1
    assert len(peaks.find_peaks(values, peaks.WHITE, 0.1, STRIDE, UNIT).scores) == 2


def test_touching_cells_stay_apart_and_two_peaks_of_one_cell_become_one():
    # 24 pixels wide: 6 pixels of the heat map. The third peak is 2 pixels from the first, a third of a diameter.
    values = output((8, 2, 3.0, peaks.WHITE), (8, 8, 2.0, peaks.WHITE), (8, 4, 1.0, peaks.WHITE))

    found = peaks.find_peaks(values, peaks.WHITE, 0.3, STRIDE, UNIT)

    assert found.centers.tolist() == [[10, 34], [34, 34]]


def test_a_plateau_is_one_cell():
    values = output((8, 8, 2.0, peaks.WHITE), (8, 9, 2.0, peaks.WHITE))
    assert len(peaks.find_peaks(values, peaks.WHITE, 0.3, STRIDE, UNIT).scores) == 1


def test_a_cell_that_was_merged_merges_no_other():
    # In a row at distances of a third of a diameter, the second belongs to the first; the third is too far away.
    values = output((8, 2, 3.0, peaks.WHITE), (8, 4, 2.0, peaks.WHITE), (8, 6, 1.0, peaks.WHITE))
    assert len(peaks.find_peaks(values, peaks.WHITE, 0.3, STRIDE, UNIT).scores) == 2


def test_no_cell():
    found = peaks.find_peaks(output(), peaks.WHITE, 0.3, STRIDE, UNIT)
    assert [values.shape for values in found] == [(0, 2), (0, 2), (0,)]


def test_extreme_values_give_finite_sizes():
    values = output((3, 5, 1e9, peaks.WHITE))
    values[3, 5, 2:] = 1e9
    found = peaks.find_peaks(values, peaks.WHITE, 0.3, STRIDE, UNIT)
    assert all(numpy.isfinite(part).all() for part in found)
