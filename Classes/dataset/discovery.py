"""Find the image files in the class folders, and check that the folders have the expected layout."""

import collections
import logging
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from Classes.common import class_scheme, errors, input_files, translation
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message

# Prefix of the file names of synthetic images.
SYNTHETIC_PREFIX = "Synthetic_"

# Names of the folders of an existing split: whole names (Validation, test_set), and parts of longer names
# (C-NMC_test_prelim_phase_data).
SPLIT = r"(train|training|val|valid|validation|test|testing|dev|eval|holdout)"
SPLIT_NAME = re.compile(rf"(?i)^{SPLIT}[-_ ]?(set|data|images|\d+)?$")
SPLIT_PART = re.compile(rf"(?i)(?<![a-z]){SPLIT}(?:set|data|images)?(?![a-z])")

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")

# Configuration keys of folders that can be inside DatasetDir without being classes.
OUTPUTS = ("CaptureDir", "CacheDir", "LogDir", "LogDirEval", "ReportDir", "RunsDir")

# Largest number of folders in a message.
MAX_LISTED = 8

log = logging.getLogger("Data")

# Path of a folder below DatasetDir, as its parts.
Parts = tuple[str, ...]


def find_class_images(
    configuration: Configuration, folder: pathlib.Path | None = None
) -> tuple[dict[str, list[pathlib.Path]], list[str]]:
    """Return the image files of every class folder.

    Args:
      configuration: Configuration.
      folder: contains the class folders; None is ImageDir or DatasetDir.
    Returns:
      ({class: [paths, ordered by name]} in the order of the labels, names of skipped files as class/file).
    Raises:
      DataError: the folder is missing or has another layout: `no_folder`, `no_images`, `split_folders`,
        `nested_folders`, `flat_folder`, `one_class`, `class_count`, `positive_class`,
        `class_name`.
      ConfigurationError: see class_scheme.find_error.
    """
    folder = folder or image_folder(configuration)
    if not folder.is_dir():
        raise DataError(
            Message("{folder}: no such folder. Create it with one folder of images per class", folder=folder),
            "no_folder",
        )
    # Captured images have no class yet, and reports contain images that are not data.
    images, skipped = input_files.walk(configuration, folder, [configuration.path(key) for key in OUTPUTS])
    by_folder: dict[Parts, list[pathlib.Path]] = collections.defaultdict(list)
    for path in images:
        by_folder[path.parent.relative_to(folder).parts].append(path)
    if not images:
        raise DataError(_no_images_message(configuration, folder, skipped), "no_images")
    files = _name_classes(folder, {parts[0]: paths for parts, paths in sorted(by_folder.items()) if len(parts) == 1})
    _check_layout(configuration, folder, by_folder, files)
    # DatasetDir itself also contains the shards and groups.csv, so only images count as skipped there.
    skipped = _in_subfolders(skipped)
    for parts, paths in by_folder.items():
        if len(parts) != 1:
            for path in paths:
                name = input_files.readable(path.relative_to(folder).as_posix())
                skipped.add(input_files.NESTED if parts else input_files.LOOSE, name)
    skipped.report(log, folder)
    _check_classes(configuration, folder, files, skipped.names)
    return files, skipped.names


def _name_classes(folder: pathlib.Path, files: Mapping[str, list[pathlib.Path]]) -> dict[str, list[pathlib.Path]]:
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


def list_visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the entries of a folder ordered by name, without hidden ones and files of the operating system."""
    return sorted(path for path in folder.iterdir() if not input_files.is_system(path.name))


def _in_subfolders(skipped: input_files.Skipped) -> input_files.Skipped:
    chosen = input_files.Skipped()
    for reason, name in skipped.items():
        if "/" in name:
            chosen.add(reason, name)
    return chosen


def _no_images_message(
    configuration: Configuration, folder: pathlib.Path, skipped: input_files.Skipped
) -> translation.Message:
    found = Message("contains no images")
    if len(skipped):
        found = Message("contains no images, only other files: {files}", files=skipped.describe(input_files.REASONS))
    archives = [name for name in skipped.names if name.lower().endswith(ARCHIVES)]
    put = Message(
        "Put images ({accepted}) into {healthy} (healthy) and {leukemic} (leukemic), or create synthetic ones with "
        "python3 Data.py Demo",
        accepted=input_files.accepted(configuration),
        healthy=folder / "0",
        leukemic=folder / "1",
    )
    if archives:
        put = Message("{archive} must be unpacked first. {put}", archive=archives[0], put=put)
    return Message("{folder}: {found}. {put}", folder=folder, found=found, put=put)


def _check_layout(
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
    """
    nested = [parts for parts in by_folder if len(parts) > 1 and parts[0] not in files]
    split: list[Parts] = [(name,) for name in files if SPLIT_NAME.search(name)]
    split += [parts for parts in nested if any(map(SPLIT_PART.search, parts))]
    if split:
        split += [(name,) for name in files if SPLIT_PART.search(name)]
        raise DataError(
            Message(
                "{folder}: the images are already split: {listed}. Data.py makes its own split and would mix "
                "them; {advice}",
                folder=folder,
                listed=_listed(by_folder),
                advice=_split_advice(configuration, folder, split),
            ),
            "split_folders",
        )
    flat = {parts: paths for parts, paths in by_folder.items() if _classes_in_names(configuration, paths)}
    # Class folders may hold such names too, so several folders are classes unless another number is expected.
    only = len(flat) == len(by_folder) and len(files) != configuration["NumClasses"]
    if flat and (nested or only or len(files) < 2 or not configuration.accepts_class_count(len(files))):
        advice = _flat_advice(configuration, folder, next(iter(flat)))
        raise DataError(
            Message(
                "{folder}: the class is in the names of the images, not in folders: {listed}. {advice}, "
                "which sorts the images into class folders",
                folder=folder,
                listed=_listed(flat),
                advice=advice,
            ),
            "flat_folder",
        )
    if nested:
        found = _listed(by_folder)
        advice = _nested_advice(configuration, folder, nested)
        raise DataError(
            Message(
                "{folder}: the images are in nested folders: {found}. {advice}",
                folder=folder,
                found=found,
                advice=advice,
            ),
            "nested_folders",
        )
    if not files:
        raise DataError(
            Message(
                "{folder}: no image is in a class folder: {listed}. Move the images into {healthy} "
                "(healthy) and {leukemic} (leukemic)",
                folder=folder,
                listed=_listed(by_folder),
                healthy=folder / "0",
                leukemic=folder / "1",
            ),
            "flat_folder",
        )


def _listed(by_folder: Mapping[Parts, Sequence[pathlib.Path]]) -> str:
    """Describe folders and their images for a message."""
    found = ", ".join(_described(parts, by_folder[parts]) for parts in sorted(by_folder)[:MAX_LISTED])
    return found + ", …" * (len(by_folder) > MAX_LISTED)


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
            "set DatasetDir to {tr}, from which validation images are taken too, and TestImagePath to {test}",
            tr=places["tr"],
            test=test,
        )
    return Message(
        "move {test} out of {folder} and set TestImagePath to it",
        test=test if "te" in places else next(iter(places.values())),
        folder=folder,
    )


def _described(parts: Parts, paths: Iterable[pathlib.Path]) -> str:
    """Describe a folder and its images, such as "fold_0/all (30 .bmp)"."""
    extensions = collections.Counter(path.suffix.lower() for path in paths)
    counts = ", ".join(f"{count} {extension}" for extension, count in extensions.most_common(3))
    return f"{input_files.readable('/'.join(parts)) or 'the folder itself'} ({counts})"


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
            "Set DatasetDir to {which} (class folders {classes}), or move the images of each class into one folder "
            "directly in {folder}",
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


def _classes_in_names(configuration: Configuration, paths: Iterable[pathlib.Path]) -> bool:
    """Return whether the names of images give their classes (Im001_0.tif, Im002_1.tif), and different ones."""
    classes = [str(number) for number in range(configuration["NumClasses"])]
    found = {input_files.label_from_filename(path, classes) for path in paths}
    return None not in found and len(found) > 1


def _check_classes(
    configuration: Configuration,
    folder: pathlib.Path,
    files: Mapping[str, list[pathlib.Path]],
    skipped: Sequence[str],
) -> None:
    names, listed = list(files), ", ".join(map(input_files.readable, files))
    empty = _describe_empty(configuration, folder, files, skipped)
    without = Message("; without images: {names}", names=", ".join(empty[:MAX_LISTED])) if empty else ""
    if len(names) == 1:
        raise DataError(
            Message(
                "{folder}: contains only the class {listed}{without}. Add a folder for the other class "
                "({accepted} are images)",
                folder=folder,
                listed=listed,
                without=without,
                accepted=input_files.accepted(configuration),
            ),
            "one_class",
        )
    positive = class_scheme.configured_positive(configuration)
    condition = configuration.condition
    merge = Message("; if several of them show {condition}, list them all", condition=condition.name)
    if not configuration.accepts_class_count(len(names)):
        raise DataError(
            Message(
                "{folder}: contains {count} class folders ({listed}){without}, but NumClasses is {number}. "
                "Set NumClasses to {count}, or remove folders that are not classes",
                folder=folder,
                count=len(names),
                listed=listed,
                without=without,
                number=configuration["NumClasses"],
            ),
            "class_count",
        )
    unknown = [name for name in positive if name not in names]
    if unknown:
        raise DataError(
            Message(
                "{folder}: there is no class {positive} (PositiveClass). Set PositiveClass to the folder "
                "that means {condition}: {listed}{merge}",
                folder=folder,
                positive=unknown[0],
                listed=listed,
                condition=condition.name,
                merge=merge if len(names) > 2 else "",
            ),
            "positive_class",
        )
    class_scheme.from_configuration(configuration, names)
    if empty:
        log.warning("Folders without images are not used as classes: %s.", ", ".join(empty[:MAX_LISTED]))
    if len(names) > 2 and positive:
        counted, other = (
            " and ".join(input_files.readable(name) for name in names if (name in positive) == side)
            for side in (True, False)
        )
        log.warning(
            "These classes count as %s: %s. These do not: %s. If one of them shows %s too, add it to PositiveClass.",
            condition.short,
            counted,
            other,
            condition.short,
        )


def _describe_empty(
    configuration: Configuration, folder: pathlib.Path, files: Iterable[str], skipped: Sequence[str]
) -> list[str]:
    """Describe the folders without images and their content, such as "xyc (108 .xyc)"."""
    found = []
    for path in list_visible(folder):
        if (
            path.is_dir()
            and class_scheme.class_name(path.name) not in files
            and not input_files.is_captured(configuration, path)
        ):
            name = input_files.readable(path.name)
            extensions = input_files.extensions(each for each in skipped if each.startswith(f"{name}/"))
            found.append(f"{name} ({extensions})" if extensions else name)
    return found


def is_synthetic(folder: pathlib.Path, files: Mapping[str, list[pathlib.Path]]) -> bool:
    """Return whether the images are synthetic.

    Raises:
      DataError: `synthetic_and_real`: some of them are.
    """
    synthetic = [path.name.startswith(SYNTHETIC_PREFIX) for paths in files.values() for path in paths]
    if any(synthetic) and not all(synthetic):
        raise DataError(
            Message(
                "{folder}: contains both synthetic ({prefix}…) and other images. Remove the synthetic smears "
                "with python3 Data.py Demo --remove",
                folder=folder,
                prefix=SYNTHETIC_PREFIX,
            ),
            "synthetic_and_real",
        )
    return any(synthetic)


def relative_name(class_name: str, path: pathlib.Path) -> str:
    """Return "class/file"; bytes that are not UTF-8 are replaced, because they can be neither logged nor written."""
    return input_files.readable(f"{class_name}/{path.name}")


def image_folder(configuration: Configuration) -> pathlib.Path:
    """Return the folder that contains the images: ImageDir, or DatasetDir if that is empty."""
    return configuration.path("ImageDir" if configuration["ImageDir"] else "DatasetDir")


def image_name(configuration: Configuration, class_name: str, path: pathlib.Path, test: bool = False) -> str:
    """Return the name of an image: its path below the folder of the images, such as "1/Im001_1.jpg".

    Args:
      configuration: Configuration.
      class_name: begins the name of a test image, and of an image that is elsewhere ("class/file").
      path: the file.
      test: whether it is a test image, "class/path below TestImagePath".
    """
    folder = configuration.path("TestImagePath") if test else image_folder(configuration)
    if not path.is_relative_to(folder):
        return relative_name(class_name, path)
    inside = path.relative_to(folder).as_posix()
    return input_files.readable(f"{class_name}/{inside}" if test else inside)
