"""Find every pair of vectors whose product can reach a limit, without computing all products in full.

The vectors are kept as their projections on the directions in which they differ most, and the length of what is left.
By the Cauchy-Schwarz inequality, the product of the projections plus the product of those lengths is never below the
product of the vectors, so no pair is missed. The number of directions is chosen by a sample of the vectors.

Up to INDEXED vectors, each is compared with each. The time of that grows with the square of their number, so of more
vectors only those are compared that share one of the lists of pivot_index, which can miss a pair. Unrelated images are
all nearly equally far apart, so a tree would not prune.
"""

import os
from collections.abc import Callable, Iterator

import numpy
import threadpoolctl

from Classes.common import parallel
from Classes.dataset.array_file import ArrayFile, Arrays
from Classes.dataset.pivot_index import PivotIndex

# Vectors of one block of the comparison: 1,024 x 1,024 products take 4 MiB.
BLOCK = 1024

# Vectors of one block of a list: fewer pairs are compared twice, because both halves of a square are computed.
LIST_BLOCK = 256

# Largest number of vectors of which each is compared with each.
INDEXED = 32768

# Blocks that are compared with another one before their candidates are returned, which limits the memory of these.
BLOCKS_AT_ONCE = 4

# Vectors that the directions are computed from, and of these, by which their number is chosen.
SAMPLE, TRIED = 4096, 512

# Descriptors from which the search of directions takes less time than it saves.
WORTH = 8192

# Largest error of a bound because projections are kept in half precision: twice 2^-11 of vectors of length 1.
ROUNDING = 0.001

# Multiplications that take as long as comparing one pair of candidates in full.
PER_CANDIDATE = 100_000

# Of N descriptors: float32 [N, D] whose products count, and float32 [N, E] of whose products the absolute values are
# added; E can be 0. Together, the vectors have a length of at most 1.
Vectors = Callable[[numpy.ndarray], tuple[numpy.ndarray, numpy.ndarray]]


class _Directions:
    """Orthonormal directions for the two kinds of vectors.

    Args:
      plain: float32 [D, K]; signless: float32 [E, J].
    """

    def __init__(self, plain: numpy.ndarray, signless: numpy.ndarray) -> None:
        self.plain, self.signless = plain, signless

    @property
    def width(self) -> int:
        """Numbers that are kept of a pair of vectors."""
        return self.plain.shape[1] + 2 + self.signless.shape[1]

    def project(self, plain: numpy.ndarray, signless: numpy.ndarray) -> numpy.ndarray:
        """float32 [N, width]: projections of plain vectors, both lengths that are left, projections of the others."""
        ones, others = plain @ self.plain, signless @ self.signless
        rests = [
            # Rounding may not make a length shorter than it is.
            numpy.sqrt(numpy.maximum((whole**2).sum(axis=1) - (part**2).sum(axis=1), 0) + 1e-6)
            for whole, part in ((plain, ones), (signless, others))
        ]
        return numpy.concatenate([ones, numpy.stack(rests, axis=1), others], axis=1)

    def bounds(self, ones: numpy.ndarray, twos: numpy.ndarray, room: "_Room | None" = None) -> numpy.ndarray:
        """float32 [N, M]: what the products of two lists of projections cannot exceed; valid until `room` is reused."""
        split = self.plain.shape[1] + 2
        room = room or _Room(len(ones), len(twos))
        found, more = (each[: len(ones), : len(twos)] for each in (room.bounds, room.more))
        numpy.matmul(ones[:, :split], twos[:, :split].T, out=found)
        if self.signless.shape[1]:
            numpy.matmul(ones[:, split:], twos[:, split:].T, out=more)
            found += numpy.abs(more, out=more)
        return found


class _Room:
    """Memory for the bounds of a block: fresh memory for each block takes as long as computing its bounds."""

    def __init__(self, rows: int = BLOCK, columns: int = BLOCK) -> None:
        self.bounds, self.more = (numpy.empty((rows, columns), "float32") for _ in range(2))
        self.reached = numpy.empty((rows, columns), bool)

    def reaching(
        self, directions: _Directions, ones: numpy.ndarray, twos: numpy.ndarray, limit: float
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the places in two lists of projections of all pairs whose bounds reach `limit`, int [K] twice."""
        bounds = directions.bounds(ones, twos, self)
        reached = numpy.greater_equal(bounds, limit, out=self.reached[: len(ones), : len(twos)])
        rows, columns = numpy.divmod(_places(numpy.ascontiguousarray(reached)), len(twos))
        return rows, columns


def candidates(
    ones: Arrays, twos: Arrays | None, vectors: Vectors, limit: float
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Yield up to BLOCK pairs of indices: those whose products reach `limit`, and some more.

    All of them if there are at most INDEXED vectors or if there are `twos`; otherwise those that pivot_index finds.

    Args:
      ones, twos: N and M descriptors, lists or ArrayFiles; None for `twos` compares every two of `ones`, each pair
        once, with the first index below the second.
      vectors: makes the vectors of some descriptors.
      limit: of the sum of both products.
    """
    limit -= ROUNDING
    if not len(ones) or (twos is not None and not len(twos)):
        return
    # One thread per product: two that share it wait for each other, for long if the computer does other work too.
    with threadpoolctl.threadpool_limits(1, "blas"):
        directions = _choose(ones, vectors, limit)
        first = _sketch(ones, vectors, directions)
        second = None if twos is None else _sketch(twos, vectors, directions)
        workers = len(os.sched_getaffinity(0))
        index = PivotIndex(first, LIST_BLOCK, workers) if second is None and len(first) > INDEXED else None
        # Many copies of one image are in the same lists.
        if index and index.comparisons < len(first) ** 2 // 2:
            found = _in_lists(first, index, directions, limit, workers)
        else:
            found = _in_blocks(first, second, directions, limit, workers)
        for rows, columns in found:
            for start in range(0, len(rows), BLOCK):
                yield rows[start : start + BLOCK], columns[start : start + BLOCK]


def _in_lists(
    sketches: ArrayFile, index: PivotIndex, directions: "_Directions", limit: float, workers: int
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Yield the pairs of sketches in one list whose bounds reach `limit`."""

    def reaching(pivot: int, members: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The pairs of one list that share no earlier one."""
        values, room = sketches.take(members), _Room(LIST_BLOCK, LIST_BLOCK)
        rows, columns = [members[:0]], [members[:0]]
        for top in range(0, len(members), LIST_BLOCK):
            ones = values[top : top + LIST_BLOCK].astype("float32")
            for left in range(top, len(members), LIST_BLOCK):
                twos = values[left : left + LIST_BLOCK].astype("float32")
                some, others = room.reaching(directions, ones, twos, limit)
                below = some + top < others + left
                first, second = members[some[below] + top], members[others[below] + left]
                new = index.is_first(pivot, first, second)
                rows.append(first[new])
                columns.append(second[new])
        return numpy.concatenate(rows), numpy.concatenate(columns)

    yield from parallel.map_threads(reaching, index.lists(), workers)


def _in_blocks(
    first: ArrayFile, second: ArrayFile | None, directions: "_Directions", limit: float, workers: int
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Yield the pairs of all sketches whose bounds reach `limit`, ordered by blocks."""
    others = first if second is None else second

    def reaching(top: int, start: int) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
        """The pairs of one block of rows with some blocks of columns."""
        ones, room, found = first[top : top + BLOCK].astype("float32"), _Room(), []
        for left in range(start, min(start + BLOCKS_AT_ONCE * BLOCK, len(others)), BLOCK):
            twos = others[left : left + BLOCK].astype("float32")
            rows, columns = room.reaching(directions, ones, twos, limit)
            below = rows < columns if top == left and second is None else slice(None)
            found.append(((rows[below] + top).astype("int32"), (columns[below] + left).astype("int32")))
        return found

    work = (
        (top, start)
        for top in range(0, len(first), BLOCK)
        for start in range(top if second is None else 0, len(others), BLOCKS_AT_ONCE * BLOCK)
    )
    for blocks in parallel.map_threads(reaching, work, workers):
        yield from blocks


def take(descriptors: Arrays, indices: numpy.ndarray) -> numpy.ndarray:
    """Return some descriptors as one array, [N, ...].

    Args:
      descriptors: list or ArrayFile.
      indices: int [N], at least one; each descriptor is read once.
    """
    needed, places = numpy.unique(indices, return_inverse=True)
    if isinstance(descriptors, ArrayFile):
        return descriptors.take(needed)[places]
    return numpy.stack([descriptors[index] for index in needed.tolist()])[places]


def _choose(descriptors: Arrays, vectors: Vectors, limit: float) -> _Directions:
    """Return the directions with which the search of a sample takes the least time."""
    if len(descriptors) < WORTH:
        example = vectors(numpy.asarray(descriptors[:1]))
        return _Directions(*(numpy.eye(each.shape[1], dtype="float32") for each in example))
    step = -(-len(descriptors) // SAMPLE)
    plain, signless = vectors(numpy.stack([descriptors[index] for index in range(0, len(descriptors), step)]))
    axes = [_axes(plain), _axes(signless)]
    whole = _Directions(*axes)
    tried = slice(None, None, -(-len(plain) // TRIED))
    best, least = whole, float("inf")
    for part in range(16, 1, -1):
        some = _Directions(*(each[:, : -(-each.shape[1] * part // 16)] for each in axes))
        kept = some.project(plain[tried], signless[tried])
        left = (some.bounds(kept, kept) >= limit)[numpy.triu_indices(len(kept), 1)].mean()
        cost = some.width + left * PER_CANDIDATE
        if cost < least:
            best, least = some, cost
    return best


def _axes(rows: numpy.ndarray) -> numpy.ndarray:
    """float32 [D, D]: orthonormal, those first on which the rows have most of their length."""
    _, axes = numpy.linalg.eigh(rows.T.astype("float64") @ rows)
    return axes[:, ::-1].astype("float32")


def _sketch(descriptors: Arrays, vectors: Vectors, directions: _Directions) -> ArrayFile:
    sketches = ArrayFile((directions.width,))
    for start in range(0, len(descriptors), BLOCK):
        part = descriptors[start : start + BLOCK]
        sketches.append(directions.project(*vectors(numpy.asarray(part))))
    return sketches


def _places(mask: numpy.ndarray) -> numpy.ndarray:
    """Where a mask is set, in its flat order; eight values at once, because nearly none is."""
    flat = mask.ravel()
    whole = len(flat) // 8 * 8
    words = numpy.flatnonzero(flat[:whole].view("uint64"))
    near = (words[:, None] * 8 + numpy.arange(8)).ravel()
    return numpy.concatenate([near[flat[near]], numpy.flatnonzero(flat[whole:]) + whole])
