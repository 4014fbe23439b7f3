"""The class folders: which image files there are, and whether the folder has the layout that is expected."""

import collections
import logging
import re

from Classes.common import input_files
from Classes.common.errors import DataError

# Prefix of the file names of synthetic images.
SYNTHETIC_PREFIX = "Synthetic_"

log = logging.getLogger("Data")

# Names of folders of a split that somebody has already made: whole names (Validation, test_set), and parts of longer
# names (C-NMC_test_prelim_phase_data).
SPLIT = r"(train|training|val|valid|validation|test|testing|dev|eval|holdout)"
SPLIT_NAME = re.compile(rf"(?i)^{SPLIT}[-_ ]?(set|data|images|\d+)?$")
SPLIT_PART = re.compile(rf"(?i)(?<![a-z]){SPLIT}(?:set|data|images)?(?![a-z])")

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")

# Folders that may lie below DatasetDir and hold no class.
OUTPUTS = ("CaptureDir", "CacheDir", "LogDir", "LogDirEval", "ReportDir")

# Folders that one message names.
MOST = 8


def find_class_images(configuration, folder=None):
    """The image files of every class folder.

    Args:
      configuration: Configuration.
      folder: where the class folders are; None is DatasetDir.
    Returns:
      ({class: [paths, by name]}, classes in the order of their labels; [class/file that is skipped]).
    Raises:
      DataError: no such folder, or its layout is not the expected one; the code says which: `no_folder`, `no_images`,
        `split_folders`, `nested_folders`, `flat_folder`, `one_class`, `class_count`, `positive_class`.
    """
    folder = folder or configuration.path("DatasetDir")
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; make it, with one folder of images a class", "no_folder")
    # Captured images have no class yet, and the pictures of a validation never have one.
    images, skipped = input_files.walk(configuration, folder, [configuration.path(key) for key in OUTPUTS])
    by_folder = collections.defaultdict(list)
    for path in images:
        by_folder[path.parent.relative_to(folder).parts].append(path)
    if not images:
        raise DataError(_nothing(configuration, folder, skipped), "no_images")
    files = {parts[0]: paths for parts, paths in sorted(by_folder.items()) if len(parts) == 1}
    _check_layout(configuration, folder, by_folder, files)
    # The folder itself also holds the shards and groups.csv, so only its images count as skipped.
    skipped = _below(skipped)
    for parts, paths in by_folder.items():
        if len(parts) != 1:
            for path in paths:
                name = input_files.readable(path.relative_to(folder).as_posix())
                skipped.add(input_files.NESTED if parts else input_files.LOOSE, name)
    skipped.report(log, folder)
    _check_classes(configuration, folder, files, skipped.names)
    return files, skipped.names


def list_visible(folder):
    """The entries of a folder by name, without hidden ones and those that operating systems create."""
    return sorted(path for path in folder.iterdir() if not input_files.is_system(path.name))


def _below(skipped):
    """Of what is skipped only that in sub-folders."""
    chosen = input_files.Skipped()
    for reason, name in skipped.items():
        if "/" in name:
            chosen.add(reason, name)
    return chosen


def _nothing(configuration, folder, skipped):
    """The message about a folder without images: what is there instead, and what to do."""
    there = f", only skipped files: {skipped}" if len(skipped) else ""
    packed = [name for name in skipped.names if name.lower().endswith(ARCHIVES)]
    unpack = f"Unpack {packed[0]} first. " if packed else ""
    return (
        f"{folder}: holds no images{there}. {unpack}Put images ({input_files.accepted(configuration)}) into {folder / '0'} "
        f"(healthy) and {folder / '1'} (leukemic), or draw synthetic ones with python3 Data.py Demo"
    )


def _check_layout(configuration, folder, by_folder, files):
    """Refuse trees whose classes cannot be told, saying what lies where.

    Args:
      by_folder: {path parts below `folder`: [image paths]}.
      files: {class folder: [image paths]}.
    """
    nested = [parts for parts in by_folder if len(parts) > 1 and parts[0] not in files]
    split = [(name,) for name in files if SPLIT_NAME.search(name)]
    split += [parts for parts in nested if any(map(SPLIT_PART.search, parts))]
    if split:
        split += [(name,) for name in files if SPLIT_PART.search(name)]
        raise DataError(
            f"{folder}: holds images that are split already: {_listed(by_folder)}. Data.py makes its own split and "
            f"would mix yours; {_split_advice(configuration, folder, split)}",
            "split_folders",
        )
    flat = {parts: paths for parts, paths in by_folder.items() if _tells_classes(configuration, paths)}
    if flat and (nested or len(files) != configuration["NumClasses"]):
        advice = _flat_advice(configuration, folder, next(iter(flat)))
        raise DataError(
            f"{folder}: holds images whose names, not folders, give the class: {_listed(flat)}. {advice}, which sorts "
            "its images into class folders",
            "flat_folder",
        )
    if nested:
        there = _listed(by_folder)
        advice = _nested_advice(configuration, folder, nested)
        raise DataError(f"{folder}: holds images in nested folders: {there}. {advice}", "nested_folders")
    if not files:
        raise DataError(
            f"{folder}: holds images, but none in a class folder: {_listed(by_folder)}. Move them into {folder / '0'} "
            f"(healthy) and {folder / '1'} (leukemic)",
            "flat_folder",
        )


def _listed(by_folder):
    """Folders and their images, for a message."""
    found = ", ".join(_described(parts, by_folder[parts]) for parts in sorted(by_folder)[:MOST])
    return found + ", …" * (len(by_folder) > MOST)


def _flat_advice(configuration, folder, parts):
    """How to bring in a folder of images whose names give their classes."""
    data = configuration.path("DatasetDir")
    if not folder.is_relative_to(data):
        return f"Run python3 Data.py Augment {folder.joinpath(*parts)}"
    if parts:
        return f"Move {data / parts[0]} out of {data} and run python3 Data.py Augment {'/'.join(parts)}"
    return f"Move them into a folder outside {data} and run python3 Data.py Augment on it"


def _split_advice(configuration, folder, split):
    """Which folders to set if the split stands above the classes; else where to move the images."""
    places, above = {}, True
    for parts in split:
        depth = next(depth for depth, name in enumerate(parts) if SPLIT_PART.search(name) or SPLIT_NAME.search(name))
        kind = (SPLIT_PART.search(parts[depth]) or SPLIT_NAME.search(parts[depth]))[1].lower()[:2]
        places.setdefault(kind, folder.joinpath(*parts[: depth + 1]))
        above = above and (depth == 0 or len(parts) > depth + 1)
    tests = configuration.path("TestImagePath")
    if not above:
        example = places.get("tr", next(iter(places.values()))).relative_to(folder)
        return (
            f"move the images of the training folders ({example}) directly into their class folders and the test "
            f"images into {tests}"
        )
    test = places.get("te", tests)
    if "tr" in places:
        train = f"set DatasetDir to {places['tr']}, from which it takes the validation images too,"
        return f"{train} and TestImagePath to {test}"
    return f"move {test if 'te' in places else next(iter(places.values()))} out of {folder} and set TestImagePath to it"


def _described(parts, paths):
    """A folder and its images, such as "fold_0/all (30 .bmp)"."""
    kinds = collections.Counter(path.suffix.lower() for path in paths)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"{input_files.readable('/'.join(parts)) or 'the folder itself'} ({counts})"


def _nested_advice(configuration, folder, nested):
    """What to do about class folders that lie too deep, or images that lie too deep in class folders."""
    positive = configuration["PositiveClass"]
    if positive in {parts[0] for parts in nested} or folder.joinpath(positive).is_dir():
        return (
            f"Move the images of each class directly into its folder, such as {folder / nested[0][0]}; list patients "
            "in groups.csv if the sub-folders are patients"
        )
    parents = collections.Counter(parts[:-1] for parts in nested)
    parents = [
        input_files.readable(str(folder.joinpath(*parts))) for parts, count in sorted(parents.items()) if count > 1
    ]
    classes = {parts[-1] for parts in nested}
    advice = f"move the images of each class into one folder directly in {folder}"
    if parents:
        which = parents[0] if len(parents) == 1 else f"one of {', '.join(parents[:MOST])}"
        listed = input_files.readable(", ".join(sorted(classes)[:MOST]))
        advice = f"set DatasetDir to {which} (class folders {listed}), or {advice}"
    if positive not in classes:
        advice += f"; set PositiveClass, now {positive}, to the folder that means ALL"
    return advice[0].upper() + advice[1:]


def _tells_classes(configuration, paths):
    """Whether the names of images give their classes (Im001_0.tif, Im002_1.tif), and different ones."""
    classes = [str(number) for number in range(configuration["NumClasses"])]
    truths = {input_files.label_from_filename(path, classes) for path in paths}
    return None not in truths and len(truths) > 1


def _check_classes(configuration, folder, files, skipped):
    names, listed = list(files), ", ".join(map(input_files.readable, files))
    empty = _empty(configuration, folder, files, skipped)
    without = f"; without images: {', '.join(empty[:MOST])}" if empty else ""
    if len(names) == 1:
        raise DataError(
            f"{folder}: holds the one class {listed}{without}. A classifier needs two, one folder each "
            f"({input_files.accepted(configuration)} are images)",
            "one_class",
        )
    positive = configuration["PositiveClass"]
    merge = "; if several of them show ALL, move their images into one folder" if len(names) > 2 else ""
    if len(names) != configuration["NumClasses"]:
        raise DataError(
            f"{folder}: holds {len(names)} class folders ({listed}){without}; NumClasses is "
            f"{configuration['NumClasses']}. Set NumClasses to {len(names)} or move away what is no class{merge}",
            "class_count",
        )
    if positive not in names:
        raise DataError(
            f"{folder}: has no class {positive} (PositiveClass). Set PositiveClass to the folder that means ALL: "
            f"{listed}{merge}",
            "positive_class",
        )
    if empty:
        log.warning("Folders without images are not used as classes: %s.", ", ".join(empty[:MOST]))
    if len(names) > 2:
        log.warning(
            "Only the class %s counts as ALL; %s count as not ALL. If one of these shows ALL too, merge their folders.",
            positive,
            " and ".join(input_files.readable(name) for name in names if name != positive),
        )


def _empty(configuration, folder, files, skipped):
    """The folders without images and what they hold instead, such as "xyc (108 .xyc)"."""
    found = []
    for path in list_visible(folder):
        if path.is_dir() and path.name not in files and path != configuration.path("CaptureDir"):
            name = input_files.readable(path.name)
            kinds = input_files.extensions(each for each in skipped if each.startswith(f"{name}/"))
            found.append(f"{name} ({kinds})" if kinds else name)
    return found


def is_synthetic(folder, files):
    """Whether the images are drawn ones; drawn and real ones together would be a data set of nothing."""
    drawn = [path.name.startswith(SYNTHETIC_PREFIX) for paths in files.values() for path in paths]
    if any(drawn) and not all(drawn):
        raise DataError(
            f"{folder}: synthetic smears ({SYNTHETIC_PREFIX}…) lie among other images; remove them with "
            "python3 Data.py Demo --remove",
            "synthetic_and_real",
        )
    return any(drawn)


def relative_name(class_name, path):
    # A name that is no UTF-8 could neither be logged nor written.
    return input_files.readable(f"{class_name}/{path.name}")
