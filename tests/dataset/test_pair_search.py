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


def test_descriptors_are_read_by_block_or_one_by_one_and_are_the_same(monkeypatch):
    monkeypatch.setattr(pair_search, "BLOCK", 8)
    rows = numpy.arange(60, dtype="float16").reshape(20, 3)
    file = array_file.ArrayFile((3,))
    file.append(rows[:12])
    reader = pair_search.Reader(file)
    assert reader.take(numpy.array([3, 1, 3])).tolist() == [[9, 10, 11], [3, 4, 5], [9, 10, 11]]
    file.append(rows[12:])
    # Enough for a copy of the block, first within the file and then at its end; a single one after each.
    for indices in ([9, 8, 15, 9, 10, 11, 12, 13], [14], [19, 16, 17, 19, 18], [16], [0], [17, 19]):
        assert reader.take(numpy.array(indices)).tolist() == [[3 * i, 3 * i + 1, 3 * i + 2] for i in indices]
