"""The published images of white-cell types, from which the model that comes with the project is trained."""

import logging
import pathlib
import shutil
from collections.abc import Iterator

from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.evaluation import cell_types

# Folders of a published split: the first is for training, the second stays unseen.
TRAIN, HELD_OUT = "train", "val"

SOURCE = {
    "data": "Peripheral blood cells of healthy people, May-Grünwald-Giemsa stain, CellaVision DM96, Hospital Clínic of "
    "Barcelona",
    "attribution": "Acevedo A, Merino A, Alférez S, Molina Á, Boldú L, Rodellar J. A dataset of microscopic peripheral "
    "blood cell images for development of automatic recognition systems. Data in Brief 30 (2020) 105474",
    "doi": "10.17632/snkd93bnjr.1",
    "licence": "CC BY 4.0",
}

log = logging.getLogger("Trainer")


def require_images(configuration: Configuration) -> None:
    """Check that there are images of every fine type.

    Raises:
      DataError: `no_images`.
    """
    found = _find_images(configuration)
    if missing := [name for name, paths in found.items() if not paths]:
        raise DataError(
            Message(
                "{folder}: no images of {missing}. Download doi {doi}, and set WhiteCellsDir to its folder.",
                folder=configuration.path("WhiteCellsDir"),
                missing=", ".join(missing),
                doi=SOURCE["doi"],
            ),
            "no_images",
        )


def collect_images(configuration: Configuration) -> None:
    """Copy the images of the fine types to class folders in `DatasetDir`, and the unseen ones to `TestImagePath`.

    Raises:
      DataError: `no_images`.
    """
    require_images(configuration)
    found = _find_images(configuration)
    for name, paths in found.items():
        for path in paths:
            _copy(path, configuration.path("DatasetDir") / name)
    log.info("Images: %s.", ", ".join(f"{name} {len(paths)}" for name, paths in found.items()))
    source = configuration.path("WhiteCellsDir")
    if (source / TRAIN).is_dir():
        for _, path in _labeled_images(source / HELD_OUT):
            _copy(path, configuration.path("TestImagePath") / HELD_OUT)


def _find_images(configuration: Configuration) -> dict[str, list[pathlib.Path]]:
    """Return {fine type: images for training}."""
    source = configuration.path("WhiteCellsDir")
    found: dict[str, list[pathlib.Path]] = {name: [] for name in cell_types.NAMES}
    for label, path in _labeled_images(source / TRAIN if (source / TRAIN).is_dir() else source):
        # An image whose type is unknown, but not its group, cannot teach a fine type.
        if label in found:
            found[label].append(path)
    return found


def _labeled_images(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Yield (label, path) of the published images in a folder; their names begin with the label."""
    for path in sorted(folder.rglob("*.jpg")):
        label = cell_types.label_of(path.name)
        if label is not None:
            yield label, path


def _copy(path: pathlib.Path, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / path.name).exists():
        shutil.copyfile(path, folder / path.name)
