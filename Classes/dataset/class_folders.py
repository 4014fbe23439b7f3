"""Check the classes that the class folders make: their names, their number, and which of them are positive."""

import logging
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from Classes.common import class_scheme, errors, input_files
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset.folder_layout import MAX_LISTED

log = logging.getLogger("Data")


def name_classes(folder: pathlib.Path, files: Mapping[str, list[pathlib.Path]]) -> dict[str, list[pathlib.Path]]:
    """Return {class: [images]} of {folder name: [images]}, ordered by class.

    Raises:
      DataError: `class_name`: a name cannot be written, or people or other systems could not tell two names apart.
    """
    first: dict[str, str] = {}
    for name in files:
        if errors.escape_control_chars(name) != name or "\t" in name:
            raise DataError(
                Message(
                    "{folder}: the name of the class folder {name} has characters that cannot be shown. Rename it.",
                    folder=folder, name=input_files.readable(name),
                ),
                "class_name",
            )  # fmt: skip
        other = first.setdefault(class_scheme.class_name(name).casefold(), name)
        if other != name:
            raise DataError(
                Message(
                    "{folder}: the class folders {other} and {name} have the same name, except for upper and lower "
                    "case or the form of accented letters. Move their images into one folder, or rename one.",
                    folder=folder, other=other, name=name,
                ),
                "class_name",
            )  # fmt: skip
    return {class_scheme.class_name(name): files[name] for name in sorted(files, key=class_scheme.class_name)}


def check_classes(
    configuration: Configuration,
    folder: pathlib.Path,
    files: Mapping[str, list[pathlib.Path]],
    skipped: Sequence[str],
    left_out: Iterable[pathlib.Path] = (),
) -> None:
    """Check the number of classes and PositiveClass, and warn about folders that may be classes.

    Args:
      configuration: Configuration.
      folder: contains the class folders.
      files: {class: [images]}.
      skipped: names of skipped files, class/file.
      left_out: folders that are known not to be classes.
    Raises:
      DataError: `one_class`, `class_count` or `positive_class`.
      ConfigurationError: see class_scheme.find_error.
    """
    known = {os.path.realpath(path) for path in left_out}
    empty = _describe_empty(configuration, folder, files, skipped, known)
    _check_count(configuration, folder, list(files), empty)
    _check_positive(configuration, folder, list(files))
    class_scheme.from_configuration(configuration, list(files))
    if empty:
        log.warning("Folders without images are not used as classes: %s.", ", ".join(empty[:MAX_LISTED]))
    _log_positive(configuration, list(files))


def _check_count(
    configuration: Configuration, folder: pathlib.Path, names: Sequence[str], empty: Sequence[str]
) -> None:
    listed = ", ".join(map(input_files.readable, names))
    without = Message("; without images: {names}", names=", ".join(empty[:MAX_LISTED])) if empty else ""
    if len(names) == 1:
        message = Message(
            "{folder}: contains only the class {listed}{without}. Add a folder for the other class "
            "({accepted} are images)",
            folder=folder,
            listed=listed,
            without=without,
            accepted=input_files.accepted(configuration),
        )
        raise DataError(message, "one_class")
    if not configuration.accepts_class_count(len(names)):
        message = Message(
            "{folder}: contains {count} class folders ({listed}){without}, but NumClasses is {number}. "
            "Set NumClasses to {count}, or remove folders that are not classes",
            folder=folder,
            count=len(names),
            listed=listed,
            without=without,
            number=configuration["NumClasses"],
        )
        raise DataError(message, "class_count")


def _check_positive(configuration: Configuration, folder: pathlib.Path, names: Sequence[str]) -> None:
    unknown = [name for name in class_scheme.configured_positive(configuration) if name not in names]
    if not unknown:
        return
    condition = configuration.condition
    merge = Message("; if several of them show {condition}, list them all", condition=condition.name)
    message = Message(
        "{folder}: there is no class {positive} (PositiveClass). Set PositiveClass to the folder "
        "that means {condition}: {listed}{merge}",
        folder=folder,
        positive=unknown[0],
        listed=", ".join(map(input_files.readable, names)),
        condition=condition.name,
        merge=merge if len(names) > 2 else "",
    )
    raise DataError(message, "positive_class")


def _log_positive(configuration: Configuration, names: Sequence[str]) -> None:
    """Log which of more than two classes count as positive, because the others may be positive too."""
    positive, short = class_scheme.configured_positive(configuration), configuration.condition.short
    if len(names) <= 2 or not positive:
        return
    counted, other = (
        " and ".join(input_files.readable(name) for name in names if (name in positive) == side)
        for side in (True, False)
    )
    log.warning(
        "These classes count as %s: %s. These do not: %s. If one of them shows %s too, add it to PositiveClass.",
        short,
        counted,
        other,
        short,
    )


def _describe_empty(
    configuration: Configuration,
    folder: pathlib.Path,
    files: Iterable[str],
    skipped: Sequence[str],
    known: Collection[str],
) -> list[str]:
    """Describe the folders without images and their content, such as "xyc (108 .xyc)"; `known`: paths to leave out."""
    found = []
    for path in input_files.list_visible(folder):
        if (
            path.is_dir()
            and class_scheme.class_name(path.name) not in files
            and not input_files.is_captured(configuration, path)
            and os.path.realpath(path) not in known
        ):
            name = input_files.readable(path.name)
            extensions = input_files.extensions(each for each in skipped if each.startswith(f"{name}/"))
            found.append(f"{name} ({extensions})" if extensions else name)
    return found
