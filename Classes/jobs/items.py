"""What a job consists of: items, and units of consecutive items."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from Classes.common import input_files


class Item(NamedTuple):
    """One input of a job, such as a file or a band of a slide.

    Attributes:
      name: for people.
      data: JSON that identifies the input; the part file of an input that has changed is not used.
    """

    name: str
    data: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Unit:
    """Consecutive items that are computed together; what a run has not finished of a unit, it starts over.

    Attributes:
      items: at least one.
      key: of the part file, 32 hexadecimal digits; equal items have the same key in every run and on every machine.
    """

    items: tuple[Item, ...]
    key: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps([[item.name, item.data] for item in self.items], sort_keys=True)
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:32])

    def split(self) -> list["Unit"]:
        """Return one unit per item."""
        return [Unit((item,)) for item in self.items]


def file_item(path: str | os.PathLike[str], **data: Any) -> Item:
    """Return the item of a file.

    Args:
      path: the file; a worker on another machine must find it under the same path.
      data: more JSON that identifies the input.
    Raises:
      OSError: the file is missing.
    """
    path = pathlib.Path(path)
    status = path.stat()
    identity = {"path": str(path), "size": status.st_size, "modified": status.st_mtime_ns}
    return Item(input_files.display_path(path), {**identity, **data})


def make_units(items: Sequence[Item], items_per_unit: int) -> list[Unit]:
    """Cut items into units of consecutive items."""
    starts = range(0, len(items), items_per_unit)
    return [Unit(tuple(items[start : start + items_per_unit])) for start in starts]
