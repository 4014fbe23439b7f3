"""Write what was found in each field to folders: the overlay, GeoJSON, and the cells sorted by type."""

import dataclasses
import io
import os
import pathlib

import numpy
import PIL.Image

from Classes.common import atomic_files, output_folders
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
          ConfigurationError: `not_writable`.
        """
        output_folders.prepare_folders((self.overlay, self.geojson, self.crops))

    def require_empty(self) -> None:
        """Raise ConfigurationError `folder_not_empty` if cells of another run would mix with these."""
        output_folders.prepare_folders((self.crops,), self.crops)

    def remove_leftovers(self, *files: str | os.PathLike[str] | None) -> None:
        """Remove what killed processes left in the folders and beside `files`; call it when all are written."""
        output_folders.remove_leftovers((self.overlay, self.geojson, self.crops), files)

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


def encode(image: numpy.ndarray, kind: str) -> bytes:
    """Return an image, uint8 [H, W, 3], as a file of this kind: PNG or JPEG."""
    content = io.BytesIO()
    PIL.Image.fromarray(image).save(content, kind, quality=95)
    return content.getvalue()
