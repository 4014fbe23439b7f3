"""The search for pairs of vectors finds every pair that the comparison of all with all finds."""

import numpy
import pytest

from Classes.dataset import array_file, pair_search

LIMIT = 0.9


def vectors(count, seed):
    """float32 [count, 24] of length 1, of which the second half are copies of others with some noise."""
    generator = numpy.random.default_rng(seed)
    found = generator.standard_normal((count, 24)) * numpy.linspace(2, 0.3, 24)
    found[count // 2 :] = found[: count - count // 2] + generator.normal(0, 0.4, (count - count // 2, 24))
    return (found / numpy.linalg.norm(found, axis=1, keepdims=True)).astype("float32")


def halves(descriptors):
    """The first 16 numbers with their sign, the others without."""
    return descriptors[:, :16], descriptors[:, 16:]


def products(ones, others):
    return ones[:, :16] @ others[:, :16].T + numpy.abs(ones[:, 16:] @ others[:, 16:].T)


def search(*lists):
    ones, others = (*lists, None)[:2]
    return [
        pair
        for rows, columns in pair_search.candidates(ones, others, halves, LIMIT)
        for pair in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


@pytest.mark.parametrize("count", [3, 1500, pair_search.WORTH + 300])
def test_no_pair_is_missed(count):
    rows = vectors(count, 1)
    found = search(rows)
    assert len(set(found)) == len(found) and all(one < other for one, other in found)
    expected = {
        (top + int(one), int(other))
        for top in range(0, count, 1000)
        for one, other in numpy.argwhere(products(rows[top : top + 1000], rows) >= LIMIT)
        if top + one < other
    }
    assert expected and expected <= set(found)
    # The bounds are worth something: few pairs are left to compare in full.
    assert len(found) < 0.05 * count**2 / 2 or count == 3


def test_two_lists():
    ones, others = vectors(1100, 2), vectors(1300, 2)[::-1]
    expected = set(map(tuple, numpy.argwhere(products(ones, others) >= LIMIT).tolist()))
    found = search(ones, others)
    assert expected <= set(found) and len(set(found)) == len(found)
    assert search(ones, others[:0]) == search(ones[:0], others) == search(ones[:0]) == []


def test_an_index_finds_each_pair_of_similar_vectors_once(monkeypatch):
    monkeypatch.setattr(pair_search, "INDEXED", 1000)
    monkeypatch.setattr(pair_search, "LIST_BLOCK", 50)
    rows = vectors(3000, 3)
    # Of each of 20 vectors there are several copies, some of them exact.
    rows[100:200] = numpy.tile(rows[:20], (5, 1))

    found = search(rows)

    expected = {tuple(pair) for pair in numpy.argwhere(products(rows, rows) >= LIMIT).tolist() if pair[0] < pair[1]}
    assert len(set(found)) == len(found) and expected <= set(found)
    assert len(expected) > 1000


def test_many_copies_of_one_vector_are_all_found(monkeypatch):
    monkeypatch.setattr(pair_search, "INDEXED", 100)
    rows = numpy.repeat(vectors(2, 4)[:1], 300, axis=0)
    assert sorted(search(rows)) == [(one, other) for one in range(300) for other in range(one + 1, 300)]


def test_descriptors_are_taken_from_lists_and_files():
    rows = numpy.arange(60, dtype="float16").reshape(20, 3)
    file = array_file.ArrayFile((3,))
    file.append(rows[:12])
    assert pair_search.take(file, numpy.array([3, 1, 3])).tolist() == [[9, 10, 11], [3, 4, 5], [9, 10, 11]]
    file.append(rows[12:])
    for indices in ([9, 8, 15, 9], [19], [0, 17]):
        expected = [[3 * i, 3 * i + 1, 3 * i + 2] for i in indices]
        assert pair_search.take(file, numpy.array(indices)).tolist() == expected
        assert pair_search.take(list(rows), numpy.array(indices)).tolist() == expected
