"""The images of a run: class folders, a data set as it was published, or an existing split."""

import dataclasses
import logging
import os
import pathlib
from typing import Any

from Classes.common import class_scheme, input_files, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import discovery
from Classes.dataset.presets import existing_split, munich_annotations, published, recognition, settings
from Classes.dataset.presets.existing_split import ExistingSplit
from Classes.dataset.presets.preset import folded
from Classes.dataset.presets.recognition import Recognized

log = logging.getLogger("Data")


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Where the images are and what is known of them.

    Attributes:
      folder: ImageDir, or DatasetDir if that is empty.
      files: {class: [paths, ordered by name]} in the order of the labels, without the test images of `split`.
      ignored: names of skipped files.
      recognized: the published data set; None if it is none that is known.
      split: the existing split, if it is kept.
      settings: {configuration key: value} that follow from the data set.
      tests: TestImagePath, if it is below `folder` and its images were left out for that reason.
    """

    folder: pathlib.Path
    files: dict[str, list[pathlib.Path]]
    ignored: list[str]
    recognized: Recognized | None = None
    split: ExistingSplit | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    tests: pathlib.Path | None = None

    def describe(self) -> dict[str, Any] | None:
        """Return what the manifest and the audit keep of the data set; None for plain class folders."""
        if not self.settings:
            return None
        preset = self.recognized.preset if self.recognized else None
        return {
            "folder": str(self.folder),
            "preset": preset.name if preset else "",
            "title": preset.title if preset else "",
            "source": preset.source if preset else "",
            "why": self.recognized.why if self.recognized else "",
            "limits": _limits(self),
            "split": {role: str(folder) for role, folder in self.split.folders.items()} if self.split else {},
            "settings": self.settings,
        }


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What the folders show: the published data set, the existing split, {image: class}, and the ignored files."""

    recognized: Recognized | None
    split: ExistingSplit | None
    classes: dict[pathlib.Path, str]
    ignored: list[str]


def find_images(configuration: Configuration) -> tuple[Configuration, ImageSource]:
    """Find the images, and adopt the settings of a data set that is recognized.

    Returns:
      (configuration for the rest of the run, the images).
    Raises:
      DataError: as discovery.find_class_images and recognition.recognize.
    """
    folder = discovery.image_folder(configuration)
    source = _recognized_source(configuration, folder) if folder.is_dir() else None
    if source is None:
        files, ignored = discovery.find_class_images(configuration, folder)
        tests = discovery.test_folder_below(configuration, folder)
        return configuration, ImageSource(folder, files, ignored, tests=tests)
    adopted = settings.adopt(configuration, source.settings)
    _check_classes(adopted, source)
    return adopted, source


def _recognized_source(configuration: Configuration, folder: pathlib.Path) -> ImageSource | None:
    """Return the images of a published data set or of an existing split; None for anything else."""
    if configuration["DatasetPreset"] == "none":
        return None
    tests = discovery.test_folder_below(configuration, folder)
    layout = _find_layout(configuration, folder, with_tests=True) if _may_be_of_split(tests) else None
    of_split = bool(tests and layout and layout.split and _is_same(layout.split.folders.get("test"), tests))
    if not of_split:
        layout = _find_layout(configuration, folder, with_tests=False)
    if layout is None:
        return None
    split, classes = layout.split, layout.classes
    kept = split if configuration["ExistingSplit"] == "keep" else None
    if split and not kept:
        log.info("The existing split (%s) is replaced by a new one.", split.text)
    held_out = {path for path, role in split.roles.items() if role == "test"} if split and (kept or of_split) else set()
    files: dict[str, list[pathlib.Path]] = {name: [] for name in _ordered(layout.recognized, set(classes.values()))}
    for path in sorted(classes.keys() - held_out):
        files[classes[path]].append(path)
    found = {name: paths for name, paths in files.items() if paths}
    chosen = _settings(configuration, folder, found, layout.recognized, kept)
    left_out = None if kept and of_split else tests
    return ImageSource(folder, found, layout.ignored, layout.recognized, kept, chosen, left_out)


def _may_be_of_split(tests: pathlib.Path | None) -> bool:
    """Return whether the folder of test images has the name of one that an existing split has for them."""
    return tests is not None and existing_split.role_of(tests.name) == "test"


def _is_same(folder: pathlib.Path | None, other: pathlib.Path) -> bool:
    return folder is not None and os.path.realpath(folder) == os.path.realpath(other)


def _find_layout(configuration: Configuration, folder: pathlib.Path, with_tests: bool) -> _Layout | None:
    """Return the classes and the split that the folders below `folder` show; None if they are plain class folders.

    Args:
      configuration: Configuration.
      folder: contains the images.
      with_tests: look into TestImagePath too, because an existing split may have it as the folder of its test images.
    """
    outputs = discovery.output_folders(configuration)
    left_out = outputs if with_tests else discovery.folders_left_out(configuration, folder)
    images, skipped = input_files.walk(configuration, folder, left_out)
    tree: dict[tuple[str, ...], list[pathlib.Path]] = {}
    for path in images:
        tree.setdefault(existing_split.parts_of(folder, path), []).append(path)
    recognized = recognition.recognize(folder, tree, configuration["DatasetPreset"])
    classes = recognized.classes if recognized else existing_split.class_folders(tree)
    split = existing_split.find_split(folder, tree, classes) if classes else None
    if not classes or not (recognized or split):
        return None
    ignored = [name for reason, name in skipped.items() if "/" in name or reason != input_files.EXTENSION]
    ignored += [input_files.readable(path.relative_to(folder).as_posix()) for path in images if path not in classes]
    return _Layout(recognized, split, classes, sorted(ignored))


def _ordered(recognized: Recognized | None, names: set[str]) -> list[str]:
    preferred = recognized.preset.classes if recognized else ()
    return [name for name in preferred if name in names] or sorted(names)


def _settings(
    configuration: Configuration,
    folder: pathlib.Path,
    files: dict[str, list[pathlib.Path]],
    recognized: Recognized | None,
    split: ExistingSplit | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"NumClasses": len(files)}
    if recognized:
        preset = recognized.preset
        positive = [name for name in files if folded(name) in preset.positive]
        groups = {name: [fine for fine in group if fine in files] for name, group in preset.groups.items()}
        found["PositiveClass"] = positive[0] if len(positive) == 1 else positive or ""
        found["ClassGroups"] = {name: group for name, group in groups.items() if len(group) > 1}
        found["Condition"] = preset.condition
    if configuration["ImageDir"]:
        found["ImageDir"] = str(folder)
    if split and "test" in split.folders:
        found["TestImagePath"] = str(split.folders["test"])
    return found


def _check_classes(configuration: Configuration, source: ImageSource) -> None:
    names = class_scheme.configured_positive(configuration)
    if missing := [name for name in names if name not in source.files]:
        raise DataError(
            Message(
                "{folder}: there is no class {positive} (PositiveClass). Set PositiveClass to the folder that means "
                "disease: {listed}",
                folder=source.folder,
                positive=", ".join(missing),
                listed=", ".join(map(input_files.readable, source.files)),
            ),
            "positive_class",
        )
    class_scheme.from_configuration(configuration, list(source.files))


def announce(source: ImageSource) -> None:
    """Say which data set was recognized, by what, and what is known to be wrong with it."""
    if source.recognized:
        preset = source.recognized.preset
        log.info("Data set: %s, recognized by %s (DatasetPreset=%s).", preset.title, source.recognized.why, preset.name)
        terminal.say(
            _("Data set: {title}, recognized by {why}.").format(title=preset.title, why=_(source.recognized.why))
        )
        log.info("Source: %s", preset.source)
        log.info("Classes: %s.", ", ".join(f"{name} ({len(paths)})" for name, paths in source.files.items()))
        for limit in _limits(source):
            log.warning("%s: %s", preset.title, limit)
    if source.split:
        log.info("The existing split is kept: %s. ExistingSplit=replace makes a new one.", source.split.text)
        terminal.say(_("The existing split is kept: {folders}.").format(folders=source.split.text))
    if source.tests:
        shown = input_files.display_path(source.tests)
        log.info("The images in %s (TestImagePath) are not used for training or validation.", shown)
        line = _("The images in {folder} (TestImagePath) are not used for training or validation.")
        terminal.say(line.format(folder=shown))


def _limits(source: ImageSource) -> list[Message]:
    """Return the known problems of a data set."""
    if not source.recognized:
        return []
    preset = source.recognized.preset
    found = list(preset.limits)
    path = munich_annotations.find(source.folder) if preset is published.MUNICH else None
    if path:
        again, other = munich_annotations.count_disagreements(path)
        if again:
            found.append(
                Message(
                    "{file}: experts looked at {again} images again and gave {other} of them another class.",
                    file=path.name,
                    again=again,
                    other=other,
                )
            )
    return found


def require_writable(configuration: Configuration) -> None:
    """Check before long work that DatasetDir can be written.

    Raises:
      DataError: `read_only_folder`.
    """
    folder = configuration.path("DatasetDir")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise DataError(
            Message(
                "{folder}: permission denied, so the shards cannot be stored in it. Set ImageDir to this folder and "
                "DatasetDir to another one: --set ImageDir={folder} --set DatasetDir=Model/Data",
                folder=folder,
            ),
            "read_only_folder",
        )
