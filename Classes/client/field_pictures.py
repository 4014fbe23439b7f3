"""The pictures that the API returns for a field: the overlay, and the cells, written to folders."""

import base64
import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from Classes.common import atomic_files, output_folders

# Parts of an answer that are pictures.
NAMES = ("overlay", "crops", "photograph")

_PREFIX, _JPEG = "data:image/jpeg;base64,", b"\xff\xd8\xff"

# A type becomes the name of a folder, so a server must not choose just any text.
_TYPE = re.compile(r"[\w -]{1,60}")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures of a field, as JPEG files.

    Attributes:
      overlay: the photograph with numbered boxes; None if it was not requested.
      crops: the cells in the order of the answer; None if they were not requested.
    """

    overlay: bytes | None
    crops: list[bytes] | None


@dataclasses.dataclass(frozen=True)
class PictureFolders:
    """Folders to write to; None: the server is not asked for these pictures.

    Attributes:
      overlay: the photographs with numbered boxes.
      crops: the cells, in a folder per type.
    """

    overlay: str | os.PathLike[str] | None = None
    crops: str | os.PathLike[str] | None = None

    def prepare(self) -> None:
        """Make the folders; see output_folders.prepare_folders."""
        output_folders.prepare_folders((self.overlay, self.crops), self.crops)

    def query(self) -> dict[str, str]:
        """Return the parameters that ask for the pictures."""
        return {name: "1" for name in ("overlay", "crops") if getattr(self, name)}

    def write(self, pictures: Pictures | None, cells: Sequence[dict[str, Any]], stem: str) -> None:
        """Write the pictures of a field.

        Args:
          pictures: from parse_pictures; None: the field has no result.
          cells: in the order of the crops.
          stem: of the files' names.
        Raises:
          OSError: a file cannot be written.
        """
        if pictures is None:
            return
        if self.overlay and pictures.overlay is not None:
            atomic_files.write_atomic(pathlib.Path(self.overlay, f"{stem}.jpg"), pictures.overlay)
        if self.crops and pictures.crops is not None:
            for cell, crop in zip(cells, pictures.crops, strict=True):
                path = pathlib.Path(self.crops, cell["group"].replace(" ", "_"), f"{stem}_{cell['cell']:03d}.jpg")
                atomic_files.write_atomic(path, crop)


NONE = PictureFolders()


def parse_pictures(fields: dict[str, Any], cells: int) -> Pictures:
    """Return the pictures of an answer.

    Args:
      fields: the answer.
      cells: their number.
    Raises:
      ValueError, TypeError, KeyError: the pictures do not follow this API.
    """
    crops = fields.get("crops")
    if crops is not None:
        if not isinstance(crops, list) or len(crops) != cells:
            raise ValueError("crops")
        if not all(_TYPE.fullmatch(cell["group"]) for cell in fields["cells"]):
            raise ValueError("group")
        crops = [_jpeg(each) for each in crops]
    overlay = fields.get("overlay")
    return Pictures(None if overlay is None else _jpeg(overlay), crops)


def _jpeg(uri: Any) -> bytes:
    content = base64.b64decode(uri.removeprefix(_PREFIX), validate=True)
    if not uri.startswith(_PREFIX) or not content.startswith(_JPEG):
        raise ValueError("picture")
    return content
