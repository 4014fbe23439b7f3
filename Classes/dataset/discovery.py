"""Find the image files in the class folders, and name them."""

import collections
import logging
import os
import pathlib
from collections.abc import Mapping

from Classes.common import input_files, translation
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset import class_folders, folder_layout

# Prefix of the file names of synthetic images.
SYNTHETIC_PREFIX = "Synthetic_"

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")

# Configuration keys of folders that can be inside DatasetDir without being classes.
OUTPUTS = ("CaptureDir", "CacheDir", "LogDir", "LogDirEval", "ReportDir", "RunsDir")

log = logging.getLogger("Data")


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
    left_out = folders_left_out(configuration, folder)
    images, skipped = input_files.walk(configuration, folder, left_out)
    by_folder: dict[folder_layout.Parts, list[pathlib.Path]] = collections.defaultdict(list)
    for path in images:
        by_folder[path.parent.relative_to(folder).parts].append(path)
    if not images:
        raise DataError(_no_images_message(configuration, folder, skipped), "no_images")
    files = class_folders.name_classes(
        folder, {parts[0]: paths for parts, paths in sorted(by_folder.items()) if len(parts) == 1}
    )
    folder_layout.check_layout(configuration, folder, by_folder, files)
    # DatasetDir itself also contains the shards and groups.csv, so only images count as skipped there.
    skipped = _in_subfolders(skipped)
    for parts, paths in by_folder.items():
        if len(parts) != 1:
            for path in paths:
                name = input_files.readable(path.relative_to(folder).as_posix())
                skipped.add(input_files.NESTED if parts else input_files.LOOSE, name)
    skipped.report(log, folder)
    class_folders.check_classes(configuration, folder, files, skipped.names, left_out)
    return files, skipped.names


def folders_left_out(configuration: Configuration, folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the folders whose images are never training images, also if they are below the folder of the images."""
    outputs, tests = output_folders(configuration), test_folder_below(configuration, folder)
    return [*outputs, tests] if tests else outputs


def output_folders(configuration: Configuration) -> list[pathlib.Path]:
    """Return the folders of OUTPUTS."""
    # Captured images have no class yet, and reports contain images that are not data.
    return [configuration.path(key) for key in OUTPUTS]


def test_folder_below(configuration: Configuration, folder: pathlib.Path) -> pathlib.Path | None:
    """Return TestImagePath if it is a folder somewhere below `folder`, else None."""
    tests = configuration.path("TestImagePath")
    below = pathlib.Path(os.path.realpath(folder)) in pathlib.Path(os.path.realpath(tests)).parents
    return tests if below and tests.is_dir() else None


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
