"""JSON files: read strictly, written atomically, with a checksum."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from Classes.common.atomic_files import atomic_replace

_ENCODER = json.JSONEncoder(indent=2, allow_nan=False, ensure_ascii=False)


def write_json(path: str | os.PathLike[str], content: Any, into: bool = False) -> None:
    """Write indented JSON atomically; ValueError for NaN and infinity, which JSON does not have."""
    with atomic_replace(path, into) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        # In pieces, because the text of a long list needs several times the memory of the list.
        file.writelines(_ENCODER.iterencode(content))
        file.write("\n")


def write_json_lists(path: str | os.PathLike[str], head: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write what `write_json` writes for {**head, **lists} with `into`, one entry of the lists at a time.

    Args:
      head: the first entries, at least one.
      lists: the other entries; each is iterated once, in this order.
    """
    with atomic_replace(path, into=True) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(_indented(head).removesuffix("\n}"))
        for name, entries in lists.items():
            file.write(f",\n  {json.dumps(name, ensure_ascii=False)}: [")
            separator = "\n    "
            for entry in entries:
                # JSON has no line breaks inside of texts.
                file.write(separator + _indented(entry).replace("\n", "\n    "))
                separator = ",\n    "
            file.write("]" if separator.startswith("\n") else "\n  ]")
        file.write("\n}\n")


def _indented(content: Any) -> str:
    return _ENCODER.encode(content)


def read_json(path: str | os.PathLike[str], convert: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file strictly.

    Args:
      path: the file.
      convert: called for each object as soon as it is read, inner objects first; its result replaces the object, so
        that a large file is never in memory as dicts. If it returns anything but a dict, it must check the text itself.
    Raises:
      OSError: the file cannot be read.
      ValueError: it is not JSON in UTF-8, or it has NaN, infinity, an overflowing number, a lone surrogate or too deep
        nesting.
    """
    return parse_json(pathlib.Path(path).read_text(encoding="utf-8-sig"), convert)


def read_verified(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object that was written `with_checksum`.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged or was changed.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    if not checksum_ok(content):
        raise ValueError("changed after it was written")
    return content


def parse_json(text: str, convert: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse JSON text as strictly as `read_json`, which explains `convert`."""
    try:
        values = json.loads(text, object_hook=convert, parse_constant=_reject_constant, parse_float=_parse_finite_float)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():
        # A lone surrogate can be escaped in JSON, but can neither be printed nor written nor be part of a file name.
        json.dumps(values, ensure_ascii=False, default=str if convert else None).encode()
    return values


def _parse_finite_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _reject_constant(text)


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with the SHA-256 of all other entries as `content_sha256`."""
    rest = {key: value for key, value in content.items() if key != "content_sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return {**rest, "content_sha256": digest}


def checksum_ok(content: Mapping[str, Any]) -> bool:
    """Return whether the checksum matches; a dict without one is older or was changed on purpose, and passes."""
    return "content_sha256" not in content or bool(
        content["content_sha256"] == with_checksum(content)["content_sha256"]
    )
