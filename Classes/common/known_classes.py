"""The true classes of images, from file names or folders, for the accuracy of a run (`--labels`)."""

import dataclasses
import pathlib
import unicodedata
from collections.abc import Sequence

from Classes.common import input_files
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.translation import Message

AUTO, NAMES, FOLDERS, NONE = "auto", "names", "folders", "none"
SOURCES = (AUTO, NAMES, FOLDERS, NONE)

# Folder of the other class of a model with two classes, whatever the classes are called.
NEGATIVE_FOLDER = "healthy"


@dataclasses.dataclass(frozen=True)
class KnownClasses:
    """The true classes of the images of a run.

    Attributes:
      classes: a class name per image, or None if it is not known.
      source: "names", "folders" or "none".
      note: a sentence that says what the results are compared with, or why they are not.
    """

    classes: list[str | None]
    source: str
    note: Message

    def __len__(self) -> int:
        return sum(name is not None for name in self.classes)


def find_known_classes(
    files: Sequence[pathlib.Path],
    scheme: ClassScheme,
    condition: Condition,
    source: str = AUTO,
) -> KnownClasses:
    """Return the true classes of images.

    Args:
      files: the images.
      scheme: the classes of the model and their groups; a group is a known class too.
      condition: what is detected.
      source: "names": the file name ends in `_` and a class. "folders": the folder of the file is named like a class,
        or, if there are two classes, `healthy` or the short name of the condition. "auto": as "names" if all names end
        in a class, otherwise "none", because a few names of photographs end in _0 or _1 by chance.
    """
    classes = tuple(dict.fromkeys([*scheme.names, *scheme.group_names]))
    endings = ", ".join(f"_{name}" for name in classes)
    if source == FOLDERS:
        found = [_class_of_folder(path.absolute().parent.name, scheme, condition) for path in files]
        count = sum(name is not None for name in found)
        return KnownClasses(found, FOLDERS, _note_on_folders(count, len(files), classes, condition))
    named = [input_files.label_from_filename(path, classes) for path in files]
    count = sum(name is not None for name in named)
    if source == NAMES or (source == AUTO and files and count == len(files)):
        note = Message(
            "The classes in the file names ({endings}) are known for {count} of {total} images.",
            endings=endings, count=count, total=len(files),
        )  # fmt: skip
        return KnownClasses(named, NAMES, note)
    if source == AUTO and count:
        note = Message(
            "The accuracy is not measured, because only {count} of {total} file names end in a class ({endings}). "
            "To use these names, add --labels names.",
            endings=endings, count=count, total=len(files),
        )  # fmt: skip
    else:
        note = Message("The accuracy is not measured, because the true classes are not known.")
    return KnownClasses([None] * len(files), NONE, note)


def _class_of_folder(folder: str, scheme: ClassScheme, condition: Condition) -> str | None:
    name = unicodedata.normalize("NFC", folder)
    for known in (*scheme.names, *scheme.group_names):
        if unicodedata.normalize("NFC", known) == name:
            return known
    if len(scheme.names) == 2 and len(scheme.positive) == 1:
        if folder.lower() == condition.short.lower():
            return scheme.positive[0]
        if folder.lower() == NEGATIVE_FOLDER:
            return next(each for each in scheme.names if each not in scheme.positive)
    return None


def _note_on_folders(count: int, total: int, classes: Sequence[str], condition: Condition) -> Message:
    if count:
        return Message(
            "The classes in the folder names are known for {count} of {total} images.", count=count, total=total
        )
    if tuple(classes) != ("0", "1"):
        return Message(
            "The accuracy is not measured, because no image is in a folder named like a class: {classes}.",
            classes=", ".join(classes),
        )
    return Message(
        "The accuracy is not measured, because no image is in a folder named like a class. Name the folders 0 and 1, "
        "or healthy and {condition}.",
        condition=condition.short,
    )
