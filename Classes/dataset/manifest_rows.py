"""The images that a manifest lists, in a quarter of the memory of a list of dicts."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy

# A row has these keys; the rows of other lists in a manifest, such as "tests", have no label.
_KEYS = {"file", "label", "sha256"}


class ManifestRows(Sequence[dict[str, Any]]):
    """Rows of a split, each kept as JSON text and parsed when it is read.

    A training on 100,000 images needs 24 MB for them, instead of 90 MB.

    Args:
      rows: a dict of each image, or the text that `pack_row` made of it.
    """

    def __init__(self, rows: Iterable[bytes | Mapping[str, Any]]) -> None:
        packed: Iterable[bytes | Mapping[str, Any]] = rows.packed if isinstance(rows, ManifestRows) else rows
        self.packed: list[bytes] = [row if isinstance(row, bytes) else _pack(row) for row in packed]

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.packed)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.packed)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> "ManifestRows": ...

    def __getitem__(self, place: int | slice) -> "dict[str, Any] | ManifestRows":
        if isinstance(place, slice):
            return ManifestRows(self.packed[place])
        row: dict[str, Any] = json.loads(self.packed[place])
        return row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def labels(self) -> numpy.ndarray:
        """Return the labels, int64 [N]."""
        return numpy.fromiter((row["label"] for row in self), "int64", len(self))

    def hashes(self) -> numpy.ndarray:
        """Return the SHA-256 of the image files, bytes of 64 hexadecimal digits [N]."""
        return numpy.fromiter((row["sha256"].encode() for row in self), "S64", len(self))


class RecordRows(list[dict[str, Any]]):
    """Rows of a split that is being written, each made when it is read; a list, because only lists become JSON.

    Args:
      records: image_records.ImageRecords.
    """

    def __init__(self, records: Sequence[Any]) -> None:
        super().__init__()
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (record.to_manifest() for record in self._records)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return RecordRows(self._records[place])
        return self._records[place].to_manifest()


def pack_row(values: dict[str, Any]) -> Any:
    """Return a row of a split as text, and any other dict unchanged; for json.loads(object_hook=…)."""
    return _pack(values) if values.keys() >= _KEYS else values


def _pack(row: Mapping[str, Any]) -> bytes:
    # The form that the hash of a manifest is made of.
    text = json.dumps(row, sort_keys=True)
    if "\\ud" in text:
        # As in json_files.parse_json: a file name cannot contain a lone surrogate.
        json.dumps(row, ensure_ascii=False).encode()
    return text.encode()
