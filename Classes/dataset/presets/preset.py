"""What is known of a published data set."""

import dataclasses
import pathlib
import re
import unicodedata
from collections.abc import Mapping

from Classes.common.translation import Message

# Path of a folder below the folder of the images, as its parts.
Parts = tuple[str, ...]

# {folder: images directly in it}
Tree = Mapping[Parts, list[pathlib.Path]]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published data set. Names of folders are compared in the form of `folded`.

    Attributes:
      name: value of the configuration key `DatasetPreset`.
      title: name of the data set.
      source: publication, with DOI.
      layouts: sets of class folders; one of them must be there completely. Empty: the class is in the file name.
      optional: class folders that can be missing.
      file_name: regular expression that the stems of the images match. Without class folders, its group `type` is the
        class.
      extension: of the images, in lower case; empty: any.
      positive: classes that mean the condition, folded; empty: none does.
      classes: classes that are used, in this order, if they are not just the folders; images of others are left out.
      groups: {coarse class: fine classes}.
      condition: key `Condition`.
      twins: folders above the class folders that hold the same pictures in several forms; the first one is used.
      limits: known problems.
      automatic: whether it is recognized without being named.
    """

    name: str
    title: str
    source: str
    limits: tuple[Message, ...]
    layouts: tuple[frozenset[str], ...] = ()
    optional: frozenset[str] = frozenset()
    file_name: str = ""
    extension: str = ""
    positive: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    condition: str = "ALL"
    twins: tuple[str, ...] = ()
    automatic: bool = True

    def class_of(self, folder: Parts, path: pathlib.Path) -> str | None:
        """Return the class of an image, as its folder is written; None if it has none."""
        if self.layouts:
            names = frozenset().union(*self.layouts) | self.optional
            return folder[-1] if folder and folded(folder[-1]) in names else None
        match = re.search(self.file_name, path.stem)
        found = match["type"] if match else None
        return found if found and (not self.classes or found in self.classes) else None

    def fits_name(self, path: pathlib.Path) -> bool:
        """Return whether a file is named as the images of this data set."""
        return (not self.extension or path.suffix.lower() == self.extension) and bool(
            not self.file_name or re.search(self.file_name, path.stem)
        )


def folded(name: str) -> str:
    """Return the name of a folder without case and Unicode form, with single spaces: "[malignant] pre-b"."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())
