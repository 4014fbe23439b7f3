"""Analyze photographs as units of work: cells, files of the field, and what the tables and the report need."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from Classes.common import output_folders, translation
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.fields import field_records, field_texts, html_report, task_models
from Classes.fields.analyze import analyze_field
from Classes.fields.output_files import OutputFolders
from Classes.fields.scale import scale_from_file
from Classes.imaging import decode
from Classes.inference.model_card import ModelCard
from Classes.jobs.items import Item, file_item

TASK = "Classes.fields.field_task:FieldTask"

log = logging.getLogger("Classifier")


def make_settings(
    configuration: Configuration,
    types: ModelCard,
    blasts: ModelCard | None,
    finder_path: pathlib.Path,
    folders: OutputFolders,
    scale: float | None,
    draws_pictures: bool,
) -> dict[str, Any]:
    """Return the settings of a FieldTask.

    Args:
      types, blasts: the models; see cell_typing.CellTyper.
      finder_path: card of the cell finder.
      folders: what is written for each photograph.
      scale: micrometers per pixel; None: from the file or the image.
      draws_pictures: whether the results contain the pictures of the report.
    Raises:
      GraphError: there is no cell finder, or it is damaged.
    """
    return {
        **task_models.make_settings(configuration, types, blasts, finder_path),
        "folders": {
            name: None if path is None else str(pathlib.Path(path).absolute())
            for name, path in dataclasses.asdict(folders).items()
        },
        "scale": scale,
        "draws_pictures": draws_pictures,
        # Of the text below an overlay.
        "language": translation.current_language(),
    }


def make_items(files: Sequence[pathlib.Path]) -> list[Item]:
    """Return one item per photograph.

    Raises:
      OSError: a file is gone.
    """
    stems = output_folders.unique_stems(files)
    return [file_item(path.absolute(), stem=stem) for path, stem in zip(files, stems, strict=True)]


class FieldTask:
    """Finds and types the cells of photographs, and writes the files of each field.

    Args:
      settings: see make_settings.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._folders = OutputFolders(**settings["folders"])
        self._stack = contextlib.ExitStack()

    def open(self) -> None:
        """Open the models.

        Raises:
          ALLError: a model or a device is missing.
        """
        self._models = task_models.open_models(self._settings, self._stack)
        self._limits = decode.decode_limits(self._models.configuration)

    def run(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the result of each photograph, see field_records."""
        with translation.use_language(self._settings["language"]):
            return [self._analyze(item) for item in items]

    def close(self) -> None:
        """Release the models."""
        self._stack.close()

    def _analyze(self, item: Item) -> dict[str, Any]:
        path = item.data["path"]
        try:
            image = decode.decode_image(path, self._limits, name=item.name)
            scale = self._settings["scale"] or scale_from_file(path)
            field = analyze_field(image, item.name, self._models.finder, self._models.typer, scale)
        except ImageError as error:
            return field_records.error_to_json(error)
        log.info("%s took %.3f s", item.name, field.seconds)
        self._folders.write(image, field, item.data["stem"], field_texts.describe_caption(field))
        pictures = html_report.draw_pictures(image, field) if self._settings["draws_pictures"] else None
        return field_records.field_to_json(field, pictures)
