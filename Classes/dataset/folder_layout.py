"""Check that class folders have the expected layout; if not, say what was found and what to do."""

import collections
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from Classes.common import class_scheme, input_files
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message

# Names of the folders of an existing split: whole names (Validation, test_set), and parts of longer names
# (C-NMC_test_prelim_phase_data).
SPLIT = r"(train|training|val|valid|validation|test|testing|dev|eval|holdout)"
SPLIT_NAME = re.compile(rf"(?i)^{SPLIT}[-_ ]?(set|data|images|\d+)?$")
SPLIT_PART = re.compile(rf"(?i)(?<![a-z]){SPLIT}(?:set|data|images)?(?![a-z])")

# Largest number of folders in a message.
MAX_LISTED = 8

# Path of a folder below DatasetDir, as its parts.
Parts = tuple[str, ...]


def check_layout(
    configuration: Configuration,
    folder: pathlib.Path,
    by_folder: Mapping[Parts, list[pathlib.Path]],
    files: Mapping[str, list[pathlib.Path]],
) -> None:
    """Reject folders from which the classes are unclear.

    Args:
      configuration: Configuration.
      folder: contains the class folders.
      by_folder: {path below `folder`: [images]}.
      files: {class: [images]}.
    Raises:
      DataError: `split_folders`, `flat_folder` or `nested_folders`.
    """
    nested = [parts for parts in by_folder if len(parts) > 1 and parts[0] not in files]
    _reject_existing_split(configuration, folder, by_folder, files, nested)
    flat = {parts: paths for parts, paths in by_folder.items() if _classes_in_names(configuration, paths)}
    # Class folders may hold such names too, so several folders are classes unless another number is expected.
    only = len(flat) == len(by_folder) and len(files) != configuration["NumClasses"]
    if flat and (nested or only or len(files) < 2 or not configuration.accepts_class_count(len(files))):
        message = Message(
            "{folder}: the class is in the names of the images, not in folders: {listed}. {advice}, "
            "which sorts the images into class folders",
            folder=folder,
            listed=_listed(flat),
            advice=_flat_advice(configuration, folder, next(iter(flat))),
        )
        raise DataError(message, "flat_folder")
    if nested:
        message = Message(
            "{folder}: the images are in nested folders: {found}. {advice}",
            folder=folder,
            found=_listed(by_folder),
            advice=_nested_advice(configuration, folder, nested),
        )
        raise DataError(message, "nested_folders")
    if not files:
        message = Message(
            "{folder}: no image is in a class folder: {listed}. Move the images into {healthy} "
            "(healthy) and {leukemic} (leukemic)",
            folder=folder,
            listed=_listed(by_folder),
            healthy=folder / "0",
            leukemic=folder / "1",
        )
        raise DataError(message, "flat_folder")


def _reject_existing_split(
    configuration: Configuration,
    folder: pathlib.Path,
    by_folder: Mapping[Parts, list[pathlib.Path]],
    files: Mapping[str, list[pathlib.Path]],
    nested: Sequence[Parts],
) -> None:
    """Raise DataError `split_folders` if folders are named after a split, such as train and test."""
    split: list[Parts] = [(name,) for name in files if SPLIT_NAME.search(name)]
    split += [parts for parts in nested if any(map(SPLIT_PART.search, parts))]
    if not split:
        return
    split += [(name,) for name in files if SPLIT_PART.search(name)]
    message = Message(
        "{folder}: the images are already split: {listed}. Data.py makes its own split and would mix them; {advice}",
        folder=folder,
        listed=_listed(by_folder),
        advice=_split_advice(configuration, folder, split),
    )
    raise DataError(message, "split_folders")


def _listed(by_folder: Mapping[Parts, Sequence[pathlib.Path]]) -> str:
    """Describe folders and their images for a message."""
    found = ", ".join(_described(parts, by_folder[parts]) for parts in sorted(by_folder)[:MAX_LISTED])
    return found + ", …" * (len(by_folder) > MAX_LISTED)


def _described(parts: Parts, paths: Iterable[pathlib.Path]) -> str:
    """Describe a folder and its images, such as "fold_0/all (30 .bmp)"."""
    extensions = collections.Counter(path.suffix.lower() for path in paths)
    counts = ", ".join(f"{count} {extension}" for extension, count in extensions.most_common(3))
    return f"{input_files.readable('/'.join(parts)) or 'the folder itself'} ({counts})"


def _classes_in_names(configuration: Configuration, paths: Iterable[pathlib.Path]) -> bool:
    """Return whether the names of images give their classes (Im001_0.tif, Im002_1.tif), and different ones."""
    classes = [str(number) for number in range(configuration["NumClasses"])]
    found = {input_files.label_from_filename(path, classes) for path in paths}
    return None not in found and len(found) > 1


def _flat_advice(configuration: Configuration, folder: pathlib.Path, parts: Parts) -> str:
    dataset = configuration.path("DatasetDir")
    if not folder.is_relative_to(dataset):
        return Message("Run python3 Data.py Augment {joinpath}", joinpath=folder.joinpath(*parts))
    if parts:
        return Message(
            "Move {images} out of {dataset} and run python3 Data.py Augment {parts}",
            images=dataset / parts[0],
            dataset=dataset,
            parts="/".join(parts),
        )
    return Message("Move them into a folder outside {dataset} and run python3 Data.py Augment on it", dataset=dataset)


def _split_advice(configuration: Configuration, folder: pathlib.Path, split: Sequence[Parts]) -> str:
    """Name the folders to configure if the split is above the classes, else say where to move the images."""
    places: dict[str, pathlib.Path] = {}
    above = True
    for parts in split:
        matches = ((depth, SPLIT_PART.search(name) or SPLIT_NAME.search(name)) for depth, name in enumerate(parts))
        depth, kind = next((depth, match[1].lower()[:2]) for depth, match in matches if match)
        places.setdefault(kind, folder.joinpath(*parts[: depth + 1]))
        above = above and (depth == 0 or len(parts) > depth + 1)
    tests = configuration.path("TestImagePath")
    if not above:
        example = places.get("tr", next(iter(places.values()))).relative_to(folder)
        return Message(
            "move the images of the training folders ({example}) directly into their class folders and "
            "the test images into {tests}",
            example=example,
            tests=tests,
        )
    test = places.get("te", tests)
    if "tr" in places:
        return Message(
            "set {key} to {tr}, from which validation images are taken too, and TestImagePath to {test}",
            key=_folder_key(configuration),
            tr=places["tr"],
            test=test,
        )
    return Message(
        "set TestImagePath to {test}, whose images are then not used for training",
        test=test if "te" in places else next(iter(places.values())),
    )


def _folder_key(configuration: Configuration) -> str:
    """Return the configuration key of the folder of the images."""
    return "ImageDir" if configuration["ImageDir"] else "DatasetDir"


def _nested_advice(configuration: Configuration, folder: pathlib.Path, nested: Sequence[Parts]) -> str:
    """Say what to do if class folders, or images in class folders, are nested too deeply."""
    positive = class_scheme.configured_positive(configuration)
    tops = {parts[0] for parts in nested}
    if any(name in tops or folder.joinpath(name).is_dir() for name in positive):
        return Message(
            "Move the images of each class directly into its folder, such as {folder}; list patients in groups.csv if "
            "the sub-folders are patients",
            folder=folder / nested[0][0],
        )
    counts = collections.Counter(parts[:-1] for parts in nested)
    parents = [
        input_files.readable(str(folder.joinpath(*parts))) for parts, count in sorted(counts.items()) if count > 1
    ]
    classes = {parts[-1] for parts in nested}
    advice = Message("Move the images of each class into one folder directly in {folder}", folder=folder)
    if parents:
        which = parents[0]
        if len(parents) > 1:
            which = Message("one of {folders}", folders=", ".join(parents[:MAX_LISTED]))
        advice = Message(
            "Set {key} to {which} (class folders {classes}), or move the images of each class into one folder "
            "directly in {folder}",
            key=_folder_key(configuration),
            which=which,
            classes=input_files.readable(", ".join(sorted(classes)[:MAX_LISTED])),
            folder=folder,
        )
    if not set(positive) <= classes:
        advice = Message(
            "{advice}; set PositiveClass, now {positive}, to the folder that means {condition}",
            advice=advice,
            condition=configuration.condition.name,
            positive=class_scheme.format_names(positive),
        )
    return advice
