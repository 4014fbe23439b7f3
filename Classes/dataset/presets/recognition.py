"""Recognize a published data set by its folders and file names."""

import dataclasses
import pathlib
from collections.abc import Iterable

from Classes.common import input_files
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset.presets import published
from Classes.dataset.presets.preset import Preset, Tree, folded

# Fraction of the images in class folders that must be named as in the data set.
NAMED = 0.9

# Folders in a message.
MOST = 8


@dataclasses.dataclass(frozen=True)
class Recognized:
    """A data set that was recognized.

    Attributes:
      preset: the data set.
      why: what it was recognized by.
      classes: {image: class}; images that are not in it are not used.
    """

    preset: Preset
    why: Message
    classes: dict[pathlib.Path, str]


def recognize(folder: pathlib.Path, tree: Tree, wanted: str) -> Recognized | None:
    """Return which published data set a folder holds.

    Args:
      folder: the folder, for messages.
      tree: its images.
      wanted: configuration key `DatasetPreset`: a name, or "auto".
    Returns:
      None if it is none of them.
    Raises:
      DataError: `preset_mismatch`: the folder does not look like the data set that is wanted; `several_data_sets`: it
        holds several, so it is unclear which to use.
    """
    presets = [each for each in published.PRESETS if each.name == wanted or (wanted == "auto" and each.automatic)]
    found = [each for each in (_match(preset, tree) for preset in presets) if each]
    if len(found) > 1:
        raise DataError(
            Message(
                "{folder}: contains several data sets: {titles}. Set DatasetDir or ImageDir to the folder of "
                "one of them",
                folder=folder,
                titles=", ".join(each.preset.title for each in found),
            ),
            "several_data_sets",
        )
    if wanted != "auto" and not found:
        raise DataError(
            Message(
                "{folder}: does not look like {title}, which has {expected}; it has {found}. Set DatasetPreset to "
                "auto, or DatasetDir or ImageDir to the unpacked data set",
                folder=folder,
                title=presets[0].title,
                expected=_expected(presets[0]),
                found=_listed("/".join(parts) or "." for parts in sorted(tree)),
            ),
            "preset_mismatch",
        )
    return found[0] if found else None


def _match(preset: Preset, tree: Tree) -> Recognized | None:
    if not preset.layouts:
        return _match_names(preset, tree)
    tree = _one_twin(preset, tree)
    there = {folded(parts[-1]) for parts in tree if parts}
    if not any(layout <= there for layout in preset.layouts):
        return None
    classes = {
        path: found for parts, paths in tree.items() for path in paths if (found := preset.class_of(parts, path))
    }
    if sum(map(preset.fits_name, classes)) < NAMED * len(classes):
        return None
    names = Message("folders {names}", names=_listed(sorted(set(classes.values()))))
    if not preset.file_name:
        return Recognized(preset, names, classes)
    example = input_files.readable(min(path.name for path in classes if preset.fits_name(path)))
    return Recognized(preset, Message("{names}, files such as {example}", names=names, example=example), classes)


def _match_names(preset: Preset, tree: Tree) -> Recognized | None:
    """Recognize a data set that has the class in the file names."""
    images = [(parts, path) for parts, paths in tree.items() for path in paths]
    if any(folded(part) in ("0", "1") for parts in tree for part in parts):
        # Somebody has sorted the images into class folders already.
        return None
    named = [(parts, path) for parts, path in images if preset.fits_name(path)]
    classes = {path: found for parts, path in named if (found := preset.class_of(parts, path))}
    if len(named) < (NAMED * len(images) if preset.automatic else 1) or len(set(classes.values())) < 2:
        return None
    example = input_files.readable(min(path.name for path in classes))
    return Recognized(preset, Message("files such as {example}", example=example), classes)


def _one_twin(preset: Preset, tree: Tree) -> Tree:
    """Leave out all but the first of the folders that hold the same pictures in several forms."""
    for twin in preset.twins:
        chosen = {parts: paths for parts, paths in tree.items() if twin in map(folded, parts)}
        if chosen:
            return chosen
    return tree


def _expected(preset: Preset) -> str:
    if preset.layouts:
        return Message("the folders {names}", names=_listed(sorted(preset.layouts[0])))
    return Message("file names like {pattern}", pattern=preset.file_name)


def _listed(names: Iterable[str]) -> str:
    names = [input_files.readable(name) for name in names]
    return ", ".join(names[:MOST]) + ", …" * (len(names) > MOST)
