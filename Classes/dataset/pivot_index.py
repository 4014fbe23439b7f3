"""Divide vectors into lists so that similar ones share a list, and only vectors of one list have to be compared.

Some of the vectors serve as pivots, and each vector is in the lists of the pivots nearest to it (Tellez, Chávez,
Navarro 2013, Information Systems 38:1068). The nearest pivots of similar vectors are nearly the same. The number of
pivots grows with the square root of the number of vectors, so the pairs to be compared grow with its power of 1.5.
"""

from collections.abc import Iterator

import numpy

from Classes.common import parallel
from Classes.dataset.array_file import Arrays

# Pivots per square root of the number of vectors, and lists that each vector is in. Of 32,030 pairs of nuclei and of
# images of 8,796 real cells and their distorted copies, all share a list, also if it is 8 lists. These are other copies
# than those on which the numbers were chosen.
PIVOTS, NEAREST = 4, 10

# Leading numbers of the vectors by which the pivots are chosen.
WIDTH = 32


class PivotIndex:
    """The lists of each vector.

    Args:
      vectors: [N, D] with most of their length in the leading numbers, such as projections on principal axes.
      block: vectors that are read at once.
      workers: number of threads.
    """

    def __init__(self, vectors: Arrays, block: int, workers: int) -> None:
        count = len(vectors)
        step = max(int(count**0.5 / PIVOTS), 1)
        pivots = numpy.stack([vectors[place][:WIDTH] for place in range(0, count, step)]).astype("float32")
        halves = (pivots**2).sum(axis=1) / 2
        nearest = min(NEAREST, len(pivots))

        def choose(start: int) -> numpy.ndarray:
            """The nearest pivots of one block, in the order of their numbers."""
            some = numpy.asarray(vectors[start : start + block])[:, :WIDTH].astype("float32")
            # Half of the squared distances, without the part that all pivots share.
            distances = halves - some @ pivots.T
            return numpy.sort(numpy.argpartition(distances, nearest - 1, axis=1)[:, :nearest], axis=1).astype("uint16")

        starts = ((start,) for start in range(0, count, block))
        self._pivots = numpy.concatenate(list(parallel.map_threads(choose, starts, workers)))
        self._sizes = numpy.bincount(self._pivots.ravel(), minlength=len(pivots))

    @property
    def comparisons(self) -> int:
        """Number of pairs that share a list, counted once for each list that they share."""
        return int((self._sizes * (self._sizes - 1) // 2).sum())

    def lists(self) -> Iterator[tuple[int, numpy.ndarray]]:
        """Yield the number of each pivot, and the vectors in its list, int [M] in rising order."""
        members = (numpy.argsort(self._pivots, axis=None, kind="stable") // self._pivots.shape[1]).astype("int32")
        ends = numpy.cumsum(self._sizes)
        for pivot, (size, end) in enumerate(zip(self._sizes, ends, strict=True)):
            yield pivot, members[end - size : end]

    def is_first(self, pivot: int, rows: numpy.ndarray, columns: numpy.ndarray) -> numpy.ndarray:
        """Return whether a list is the first that the vectors of each pair share.

        Args:
          pivot: number of the list, which both vectors of all pairs are in.
          rows, columns: int [K].
        Returns:
          bool [K].
        """
        ones, others = self._pivots[rows], self._pivots[columns]
        earlier = (ones[:, :, None] == others[:, None, :]) & (ones < pivot)[:, :, None]
        found: numpy.ndarray = ~earlier.any(axis=(1, 2))
        return found
