"""Folders that a run fills with pictures: made before anything is computed, with one name per photograph."""

import os
import pathlib
from collections.abc import Iterable, Sequence

from Classes.common import file_system, input_files, temp_files
from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.translation import Message

Folder = str | os.PathLike[str]


def prepare_folders(folders: Iterable[Folder | None], must_be_empty: Folder | None = None) -> None:
    """Make the folders, before anything is computed.

    Args:
      folders: those to write to; None: nothing is written.
      must_be_empty: one of them in which files of another run would mix with these.
    Raises:
      ConfigurationError: `not_writable` or `folder_not_empty`.
    """
    for folder in [each for each in folders if each is not None]:
        try:
            file_system.make_folder(pathlib.Path(folder))
        except OSError as error:
            raise _not_writable(folder, system_reason(error)) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _not_writable(folder, Message("Permission denied"))
    if must_be_empty and any(pathlib.Path(must_be_empty).iterdir()):
        raise ConfigurationError(
            Message(
                "{folder}: this folder is not empty, and cells of another run must not mix with these. Name a new "
                "folder.",
                folder=must_be_empty,
            ),
            "folder_not_empty",
        )


def remove_leftovers(folders: Iterable[Folder | None], files: Iterable[Folder | None] = ()) -> None:
    """Remove what processes that were killed left beside the outputs of a run; call it when all are written.

    Args:
      folders: that were written to, with their subfolders; None is skipped.
      files: that were written.
    """
    for folder in [pathlib.Path(each) for each in folders if each is not None]:
        for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            temp_files.remove_stale_temp_files(each)
    for parent in {pathlib.Path(file).parent for file in files if file is not None}:
        temp_files.remove_stale_temp_files(parent)


def unique_stems(files: Sequence[pathlib.Path]) -> list[str]:
    """Return a name without extension for each file, so that no two are the same on any file system."""
    taken: set[str] = set()
    return [_unique(input_files.readable(input_files.stem(path)), taken) for path in files]


def _unique(stem: str, taken: set[str]) -> str:
    names: Iterable[str] = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    name = next(name for name in names if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def _not_writable(folder: Folder, reason: str) -> ConfigurationError:
    return ConfigurationError(
        Message("{folder}: {reason}. Name a folder that can be written.", folder=folder, reason=reason), "not_writable"
    )
