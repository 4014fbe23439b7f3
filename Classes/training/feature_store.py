"""The features of many images in one file, which grows at its end and is read a few rows at a time.

Nothing here maps the file into memory: pages of a mapping count as memory of the process, so a training would seem to
need as much as the file is long.
"""

import contextlib
import io
import logging
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy

from Classes.common import atomic_files, file_system, locks
from Classes.common.errors import error_reason
from Classes.dataset import shard_index

# Hashes of some images, bytes of 64 hexadecimal digits [N], and their features, float32 [N, F].
Block = tuple[numpy.ndarray, numpy.ndarray]

# Bytes of features that are in memory at a time.
BLOCK_BYTES = 16 << 20

log = logging.getLogger("Trainer")


class FeatureStore:
    """Features by the SHA-256 of the image.

    features.bin holds the rows, float32 [F] each, and index.npz their hashes and checksums. Rows that the index does
    not list do not exist yet: a run that is killed while it appends leaves some of them, and the next run overwrites
    them. A row that is listed is never changed, so reading needs no lock.

    Args:
      folder: created when something is appended.
    Attributes:
      folder: the same.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._rows, self._index = folder / "features.bin", folder / "index.npz"

    def find(self, hashes: numpy.ndarray) -> numpy.ndarray:
        """Return the rows of images, int64 [N]; -1 if the store lacks the image, or if its row is damaged."""
        known, checksums, width = self._read_index()
        rows = shard_index.find_rows(known, hashes)
        present = numpy.flatnonzero(rows >= 0)
        found = FeatureRows(self._rows, rows[present], width)
        damaged = [
            start + place
            for start, block in found.blocks()
            for place, row in enumerate(block)
            if zlib.crc32(row.data) != checksums[found.rows[start + place]]
        ]
        if damaged:
            log.warning("%s: damaged (%d images). Their features are computed again.", self._rows, len(damaged))
            rows[present[damaged]] = -1
        return rows

    def select(self, rows: numpy.ndarray) -> "FeatureRows":
        """Return the features in some rows, all of which exist."""
        return FeatureRows(self._rows, rows, self._read_index()[2])

    def append(self, blocks: Iterable[Block]) -> None:
        """Add the features of images, all of them or none; wait for another process that appends."""
        # `Validation.py Folds` may write to the same store.
        with locks.folder_lock(self.folder, wait=True):
            self._remove_former_files()
            known, checksums, width = self._read_index()
            with open(self._rows, "r+b" if len(known) else "wb") as file:
                file.seek(len(known) * 4 * width)
                hashes, sums = [known], [checksums]
                for names, features in blocks:
                    width = features.shape[1]
                    file.write(numpy.ascontiguousarray(features, "<f4").data)
                    hashes.append(names)
                    sums.append(numpy.array([zlib.crc32(row.data) for row in features], "uint32"))
                file.truncate()
            file_system.fsync_path(self._rows)
            content = io.BytesIO()
            numpy.savez(content, sha256=numpy.concatenate(hashes), crc32=numpy.concatenate(sums), width=width)
            with atomic_files.atomic_replace(self._index) as temporary:
                temporary.write_bytes(content.getvalue())

    def _read_index(self) -> tuple[numpy.ndarray, numpy.ndarray, int]:
        """Return (hashes [M], checksums uint32 [M], features per image) of the rows that exist."""
        empty = numpy.zeros(0, "S64"), numpy.zeros(0, "uint32"), 0
        try:
            with open(self._index, "rb") as file, numpy.load(file) as index:
                known, checksums, width = index["sha256"], index["crc32"], int(index["width"])
            if self._rows.stat().st_size < 4 * width * len(known):
                raise ValueError(f"{self._rows.name} is too short")
        except FileNotFoundError:
            return empty
        except Exception as error:  # a damaged archive can cause any exception
            log.warning("%s: damaged (%s). The features are computed again.", self._index, error_reason(error))
            # Another process may have deleted it already.
            self._index.unlink(missing_ok=True)
            return empty
        return known, checksums, width

    def _remove_former_files(self) -> None:
        """Remove what earlier versions wrote: archives of 500 images, each of which had to be read as a whole."""
        former = list(self.folder.glob("[0-9]" * 6 + ".npz"))
        if former:
            log.info("%s: removed %d files of an earlier version.", self.folder, len(former))
        for path in former:
            path.unlink(missing_ok=True)


class FeatureRows:
    """The features of some images, read from the file whenever they are indexed.

    Args:
      path: rows of float32.
      rows: numbers of the rows, int64 [N].
      width: features per image, F.
    """

    def __init__(self, path: pathlib.Path, rows: numpy.ndarray, width: int) -> None:
        self._path, self.rows, self.width = path, rows, width

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: numpy.ndarray) -> "FeatureRows":
        """Return the features of some of the images, still unread."""
        return FeatureRows(self._path, self.rows[rows], self.width)

    def __getitem__(self, place: slice | numpy.ndarray) -> numpy.ndarray:
        """Return the features of some images, float32 [n, F], in their order."""
        rows = self.rows[place]
        order = numpy.argsort(rows, kind="stable")
        found = numpy.empty((len(rows), self.width), "<f4")
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(self._path, "rb", buffering=0)) if len(rows) else None
            for run in _runs(rows[order]):
                assert file is not None, "there is a row"
                file.seek(int(rows[order[run.start]]) * 4 * self.width)
                buffer = numpy.empty((run.stop - run.start, self.width), "<f4")
                if file.readinto(buffer.data.cast("B")) != buffer.nbytes:
                    raise OSError(f"{self._path}: ends too early")
                found[order[run]] = buffer
        return found

    def blocks(self) -> Iterator[tuple[int, numpy.ndarray]]:
        """Yield (start, features float32 [n, F]) of all images in their order, at most BLOCK_BYTES at a time."""
        return blocks_of(self)


Features = FeatureRows | numpy.ndarray


def select(features: Features, rows: numpy.ndarray) -> Features:
    """Return the features of some images, still unread if they are in a file."""
    return features.select(rows) if isinstance(features, FeatureRows) else features[rows]


def blocks_of(features: Features) -> Iterator[tuple[int, numpy.ndarray]]:
    """Yield (start, float32 [n, F]) of all rows in their order, at most BLOCK_BYTES at a time."""
    size = rows_per_block(width_of(features))
    return ((start, features[start : start + size]) for start in range(0, len(features), size))


def rows_per_block(width: int) -> int:
    """Return how many rows of `width` features are in memory at a time."""
    return max(1, BLOCK_BYTES // (4 * max(1, width)))


def width_of(features: Features) -> int:
    """Return the number of features per image."""
    return features.width if isinstance(features, FeatureRows) else features.shape[1]


def moments(features: Features) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return mean and standard deviation of every feature, float32 [F] each.

    The sums equal numpy.mean and numpy.std over the rows of one array, which add one row after the other; the
    size of the blocks changes no bit.
    """
    mean = _sum_rows(block for _, block in blocks_of(features)) / numpy.float32(len(features))

    def squares() -> Iterator[numpy.ndarray]:
        for _, block in blocks_of(features):
            distance = block - mean
            yield distance * distance

    return mean, numpy.sqrt(_sum_rows(squares()) / numpy.float32(len(features)))


def _sum_rows(blocks: Iterable[numpy.ndarray]) -> numpy.ndarray:
    total: numpy.ndarray | None = None
    for block in blocks:
        total = numpy.add.reduce(block if total is None else numpy.concatenate([total[None], block]), axis=0)
    assert total is not None, "there is a training image"
    return total


def _runs(rows: Sequence[int] | numpy.ndarray) -> Iterator[slice]:
    """Yield the slices of ascending `rows` that are next to each other."""
    ends = [*(numpy.flatnonzero(numpy.diff(rows) != 1) + 1).tolist(), len(rows)]
    start = 0
    for end in ends:
        if end > start:
            yield slice(start, end)
        start = end
