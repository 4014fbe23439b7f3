"""Test the search for neighbors against SciPy, and by hand."""

import numpy
import pytest
import scipy.spatial

from Classes.fields import peaks


@pytest.mark.parametrize("count", [1, 2, 400])
def test_the_pairs_are_those_of_scipy(count):
    points = numpy.random.default_rng(count).uniform(0, 300, (count, 2))
    expected = scipy.spatial.cKDTree(points).query_pairs(40.0)
    assert set(map(tuple, peaks.near_pairs(points, 40.0).tolist())) == expected


def test_points_at_the_radius_are_near_and_no_points_have_no_pairs():
    assert peaks.near_pairs(numpy.array([[9.0, 0.0], [6.0, 4.0], [20.0, 0.0]]), 5.0).tolist() == [[0, 1]]
    assert peaks.near_pairs(numpy.empty((0, 2)), 5.0).shape == (0, 2)
