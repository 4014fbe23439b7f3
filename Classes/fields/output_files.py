"""Write what was found in each field to folders: the overlay, GeoJSON, and the cells sorted by type."""

import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy
import PIL.Image

from Classes.common import atomic_files, file_system, input_files
from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.translation import Message
from Classes.fields import geojson, overlay
from Classes.fields.analyze import Field, FieldCrops


@dataclasses.dataclass(frozen=True)
class OutputFolders:
    """Folders to write to; None: not written.

    Attributes:
      overlay: the photographs with numbered boxes.
      geojson: what QuPath opens.
      crops: the cells, in a folder per type.
    """

    overlay: str | os.PathLike[str] | None = None
    geojson: str | os.PathLike[str] | None = None
    crops: str | os.PathLike[str] | None = None

    def prepare(self) -> None:
        """Make the folders, before anything is computed.

        Raises:
          ConfigurationError: `not_writable`; `folder_not_empty` if cells of another run would mix with these.
        """
        for folder in [each for each in (self.overlay, self.geojson, self.crops) if each is not None]:
            try:
                file_system.make_folder(pathlib.Path(folder))
            except OSError as error:
                raise _not_writable(folder, system_reason(error)) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise _not_writable(folder, Message("Permission denied"))
        if self.crops and any(pathlib.Path(self.crops).iterdir()):
            raise ConfigurationError(
                Message(
                    "{folder}: this folder is not empty, and cells of another run must not mix with these. Name a new "
                    "folder.",
                    folder=self.crops,
                ),
                "folder_not_empty",
            )

    def write(self, image: numpy.ndarray, field: Field, stem: str, caption: str) -> None:
        """Write the files of a field.

        Args:
          image: uint8 [H, W, 3], the photograph.
          field: what was found in it.
          stem: of the files' names.
          caption: line below the overlay.
        Raises:
          OSError: a file cannot be written.
        """
        if self.overlay:
            content = overlay.draw_overlay(image, field.cells, caption)
            atomic_files.write_atomic(pathlib.Path(self.overlay, f"{stem}.jpg"), content)
        if self.geojson:
            atomic_files.write_atomic(pathlib.Path(self.geojson, f"{stem}.geojson"), geojson.field_geojson(field))
        if self.crops:
            for cell, crop in zip(field.cells, FieldCrops(image, field.cells, field.scale), strict=True):
                path = pathlib.Path(self.crops, cell.group.replace(" ", "_"), f"{stem}_{cell.number:03d}.png")
                atomic_files.write_atomic(path, encode(crop, "PNG"))


def unique_stems(files: Sequence[pathlib.Path]) -> list[str]:
    """Return a name without extension for each file, so that no two are the same on any file system."""
    taken: set[str] = set()
    return [_unique(input_files.readable(input_files.stem(path)), taken) for path in files]


def _unique(stem: str, taken: set[str]) -> str:
    names: Iterable[str] = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    name = next(name for name in names if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def encode(image: numpy.ndarray, kind: str) -> bytes:
    """Return an image, uint8 [H, W, 3], as a file of this kind: PNG or JPEG."""
    content = io.BytesIO()
    PIL.Image.fromarray(image).save(content, kind, quality=95)
    return content.getvalue()


def _not_writable(folder: str | os.PathLike[str], reason: str) -> ConfigurationError:
    return ConfigurationError(
        Message("{folder}: {reason}. Name a folder that can be written.", folder=folder, reason=reason), "not_writable"
    )
