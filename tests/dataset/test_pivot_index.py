"""Vectors are in the lists of their nearest pivots, and the pairs of all lists are counted once."""

import itertools

import numpy
import pytest

from Classes.dataset import pivot_index


@pytest.fixture
def points():
    """float32 [400, 40]: 100 points and three neighbors of each."""
    generator = numpy.random.default_rng(5)
    centers = generator.standard_normal((100, 40)) * numpy.linspace(2, 0.1, 40)
    return numpy.concatenate([centers + generator.normal(0, spread, centers.shape) for spread in (0, 0.1, 0.1, 0.1)])


def lists(index):
    return {pivot: members.tolist() for pivot, members in index.lists()}


def test_each_vector_is_in_the_lists_of_its_nearest_pivots(points):
    found = lists(pivot_index.PivotIndex(points, 64, 2))

    # 20 is the square root of 400: every fifth vector is a pivot.
    assert sorted(found) == list(range(80))
    pivots = points[::5, : pivot_index.WIDTH]
    for number, point in enumerate(points[:, : pivot_index.WIDTH]):
        expected = numpy.argsort(numpy.linalg.norm(pivots - point, axis=1))[: pivot_index.NEAREST]
        assert {pivot for pivot, members in found.items() if number in members} == set(expected)
    assert all(members == sorted(members) for members in found.values())


def test_neighbors_share_a_list_and_few_others_do(points):
    index = pivot_index.PivotIndex(points, 1000, 1)
    shared = {pair for members in lists(index).values() for pair in itertools.combinations(members, 2)}
    neighbors = {
        (number + 100 * i, number + 100 * j) for number in range(100) for i, j in itertools.combinations(range(4), 2)
    }
    assert neighbors <= shared
    assert len(shared) < 0.75 * 400 * 399 / 2
    assert index.comparisons == sum(len(members) * (len(members) - 1) // 2 for members in lists(index).values())


def test_a_pair_is_new_in_one_list_only(points):
    index = pivot_index.PivotIndex(points, 100, 1)
    new = []
    for pivot, members in index.lists():
        pairs = numpy.array(list(itertools.combinations(members, 2))).reshape(-1, 2)
        new += map(tuple, pairs[index.is_first(pivot, *pairs.T)].tolist())
    shared = {pair for members in lists(index).values() for pair in itertools.combinations(members, 2)}
    assert len(new) == len(set(new)) and set(new) == shared


def test_few_vectors_are_all_in_one_list():
    index = pivot_index.PivotIndex(numpy.eye(3), 8, 1)
    assert lists(index) == {0: [0, 1, 2], 1: [0, 1, 2], 2: [0, 1, 2]}
