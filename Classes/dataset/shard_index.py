"""Where in the shards the images lie, so that any process can read any of them without reading the others.

A shard is a TFRecord file: of each record the length (8 bytes), its checksum (4), the record, and its checksum (4).
The encoded image is a part of its record in one piece, because an Example is a protocol buffer.
"""

import dataclasses
import hashlib
import io
import pathlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy

from Classes.common import atomic_files
from Classes.common.errors import DataError, error_reason
from Classes.common.translation import Message
from Classes.dataset import tfrecords

HEADER, FOOTER = struct.Struct("<QI"), 4

_ENTRY = numpy.dtype([("file", "u4"), ("offset", "u8"), ("length", "u4"), ("sha256", "S64"), ("label", "i8")])


class Place(NamedTuple):
    """Where an encoded image lies.

    Attributes:
      path: the file.
      offset, length: of the image in it, in bytes.
      sha256: of the image, 64 hexadecimal digits.
    """

    path: str
    offset: int
    length: int
    sha256: str

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
          DataError: `damaged_shards`: the file cannot be read, or holds something else there.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                encoded = file.read(self.length)
        except OSError as error:
            raise _damaged(self.path, error_reason(error)) from error
        if hashlib.sha256(encoded).hexdigest() != self.sha256:
            raise _damaged(self.path, f"byte {self.offset}")
        return encoded


@dataclasses.dataclass(frozen=True)
class ImageIndex(Sequence[Place]):
    """The places of many images, in 88 bytes each.

    Attributes:
      files: the files that hold the images.
      entries: [N] of (number of the file, offset, length, sha256, label).
    """

    files: tuple[str, ...]
    entries: numpy.ndarray

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, row: int) -> Place:  # type: ignore[override]
        entry = self.entries[row]
        sha256 = entry["sha256"].decode()
        return Place(self.files[entry["file"]], int(entry["offset"]), int(entry["length"]), sha256)

    def select(self, rows: numpy.ndarray) -> "ImageIndex":
        """Return the images of some rows, in the order of `rows`."""
        return ImageIndex(self.files, self.entries[rows])

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        """Write the places to a file in a folder, and return its path; its name depends only on its content."""
        content = io.BytesIO()
        numpy.savez(content, files=numpy.array(self.files), entries=self.entries)
        path = folder / f"images-{hashlib.sha256(content.getvalue()).hexdigest()[:32]}.npz"
        with atomic_files.atomic_replace(path) as temporary:
            temporary.write_bytes(content.getvalue())
        return path

    @property
    def hashes(self) -> numpy.ndarray:
        """SHA-256 of the images, bytes of 64 hexadecimal digits [N]."""
        return self.entries["sha256"]

    @property
    def labels(self) -> numpy.ndarray:
        """Labels, int64 [N]."""
        return self.entries["label"].astype("int64")


def load_index(path: str | pathlib.Path) -> ImageIndex:
    """Return what `ImageIndex.save` has written.

    Raises:
      OSError: the file is missing.
    """
    with open(path, "rb") as file, numpy.load(file) as saved:
        return ImageIndex(tuple(saved["files"].tolist()), saved["entries"])


def index_shards(manifest: tfrecords.Manifest, splits: Iterable[str]) -> ImageIndex:
    """Return the places of all images of some splits, in the order of the shards.

    Raises:
      DataError: `damaged_shards`: a shard can no longer be read.
    """
    files = [path for split in splits for path in manifest.paths(split)]
    found = [numpy.fromiter(_entries(number, path), _ENTRY) for number, path in enumerate(files)]
    return ImageIndex(tuple(map(str, files)), numpy.concatenate([numpy.zeros(0, _ENTRY), *found]))


def index_files(paths: Sequence[pathlib.Path], labels: Sequence[int] | None = None) -> ImageIndex:
    """Return the places of images that are files of their own; the hashes are those of the files."""
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest().encode() for path in paths]
    known = labels if labels is not None else [0] * len(paths)
    rows = [
        (number, 0, path.stat().st_size, digest, label)
        for number, (path, digest, label) in enumerate(zip(paths, hashes, known, strict=True))
    ]
    return ImageIndex(tuple(map(str, paths)), numpy.array(rows, _ENTRY))


def find_rows(known: numpy.ndarray, wanted: numpy.ndarray) -> numpy.ndarray:
    """Return the last row of `known` with each of the `wanted` hashes, int64 [N]; -1 if there is none."""
    if not len(known):
        return numpy.full(len(wanted), -1)
    order = numpy.argsort(known, kind="stable")
    last = numpy.searchsorted(known, wanted, "right", sorter=order) - 1
    rows = order[numpy.maximum(last, 0)]
    return numpy.where((last >= 0) & (known[rows] == wanted), rows, -1)


def _entries(number: int, path: pathlib.Path) -> Iterator[tuple[int, int, int, bytes, int]]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        for start, record in _frames(path):
            feature = tf.train.Example.FromString(record).features.feature
            encoded = feature["image/encoded"].bytes_list.value[0]
            sha256 = feature["image/sha256"].bytes_list.value[0]
            label = feature["image/class/label"].int64_list.value[0]
            yield number, start + record.index(encoded), len(encoded), sha256, label
    except (OSError, DecodeError, ValueError, LookupError, struct.error) as error:
        # load_manifest has checked the hash of every shard, so the file was damaged after that.
        raise _damaged(path, error_reason(error)) from error


def _frames(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, content) of each record of a TFRecord file."""
    with open(path, "rb") as file:
        offset = 0
        while header := file.read(HEADER.size):
            length, _ = HEADER.unpack(header)
            record = file.read(length)
            if len(record) < length:
                raise ValueError(f"ends after {offset} bytes")
            file.read(FOOTER)
            yield offset + HEADER.size, record
            offset += HEADER.size + length + FOOTER


def _damaged(path: str | pathlib.Path, reason: str) -> DataError:
    return DataError(
        Message(
            "{folder}: a shard cannot be read ({reason}). Run python3 Data.py",
            folder=pathlib.Path(path).parent,
            reason=": ".join([pathlib.Path(path).name, reason]),
        ),
        "damaged_shards",
    )
