"""An existing split, as folders such as train, val and test: which images it puts where, and whether it can be kept."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from Classes.common import translation
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset import folder_layout, grouping, splitting
from Classes.dataset.image_records import ImageRecord
from Classes.dataset.presets.preset import Parts, Tree, folded

# Beginnings of the names of split folders, see folder_layout.SPLIT.
ROLES = {"train": "train", "val": "validation", "dev": "validation", "test": "test", "eval": "test", "holdout": "test"}

# Examples in a message.
MOST = 3


@dataclasses.dataclass(frozen=True)
class ExistingSplit:
    """Folders of an existing split.

    Attributes:
      folders: {"train", "validation" or "test": folder}; "train" is always there.
      roles: {image: its key in `folders`}.
    """

    folders: dict[str, pathlib.Path]
    roles: dict[pathlib.Path, str]

    @property
    def text(self) -> str:
        """The folders, such as "train (30), val (10)"."""
        counts = collections.Counter(self.roles.values())
        return ", ".join(f"{folder.name or '.'} ({counts[role]})" for role, folder in self.folders.items())


def role_of(name: str) -> str | None:
    """Return what the images in a folder are for, by its name; None if it is not the folder of a split."""
    match = folder_layout.SPLIT_NAME.search(name)
    return next((role for start, role in ROLES.items() if match and match[1].lower().startswith(start)), None)


def find_split(folder: pathlib.Path, tree: Tree, used: Iterable[pathlib.Path]) -> ExistingSplit | None:
    """Return the split that the folders above the class folders make.

    Args:
      folder: contains the folders of the split, at any depth.
      tree: its images.
      used: the images that count.
    Returns:
      None if there is no split, or several folders have one role.
    """
    used, folders = set(used), collections.defaultdict(set)
    roles: dict[pathlib.Path, str] = {}
    for parts, paths in tree.items():
        # The last part is the class.
        depth = next((depth for depth, name in enumerate(parts[:-1]) if role_of(name)), None)
        role = "" if depth is None else role_of(parts[depth]) or ""
        kept = [path for path in paths if path in used]
        roles.update(dict.fromkeys(kept, role))
        if kept:
            folders[role].add(folder if depth is None else folder.joinpath(*parts[: depth + 1]))
    if "" in folders and "train" not in folders:
        # Class folders beside a folder of test images.
        folders["train"] = folders.pop("")
        roles = {path: role or "train" for path, role in roles.items()}
    if "" in folders or "train" not in folders or len(folders) < 2 or any(len(each) > 1 for each in folders.values()):
        return None
    order = [role for role in ("train", "validation", "test") if role in folders]
    return ExistingSplit({role: folders[role].pop() for role in order}, roles)


def class_folders(tree: Tree) -> dict[pathlib.Path, str] | None:
    """Return {image: class} of folders like train/1 and val/1; None if a split has images outside of class folders."""
    classes: dict[pathlib.Path, str] = {}
    depths: dict[str, set[int]] = collections.defaultdict(set)
    for parts, paths in tree.items():
        places = [depth for depth, name in enumerate(parts) if role_of(name)]
        if len(places) > 1 or (places and places[0] == len(parts) - 1) or not parts:
            return None
        depths[role_of(parts[places[0]]) or "" if places else ""].add(len(parts) - (places[0] + 1 if places else 0))
        classes.update(dict.fromkeys(paths, parts[-1]))
    return classes if all(each == {1} for each in depths.values()) else None


def separate_names(assignment: grouping.Assignment, roles: Mapping[str, str]) -> grouping.Assignment:
    """Return groups in which images of two splits do not belong together because of equal file names alone.

    Names such as 1.jpg are in every folder. Patients and pixels are compared across the splits.

    Args:
      assignment: from grouping.assign_groups.
      roles: {name: split}.
    """
    groups = {
        name: group if name in assignment.patients or name not in roles else f"{group} ({roles[name]})"
        for name, group in assignment.groups.items()
    }
    return dataclasses.replace(assignment, groups=groups)


def require_apart(
    records: Sequence[ImageRecord], tests: Sequence[ImageRecord], roles: Mapping[pathlib.Path, str]
) -> None:
    """Check that no patient and no picture is in two splits.

    Args:
      records: training and validation images, after near_duplicates.relate and relate_crops.
      tests: test images, also after them.
      roles: {image: split} of `records`.
    Raises:
      DataError: `split_leak`, with the number of patients and near duplicates on both sides and the first of them.
    """
    members: dict[str, list[tuple[str, ImageRecord]]] = collections.defaultdict(list)
    for record in records:
        members[record.group].append((roles[record.path], record))
    for record in tests:
        members[record.group].append(("test", record))
    leaks = [found for _, found in sorted(members.items()) if len({split for split, _ in found}) > 1]
    if not leaks:
        return
    message = Message(
        "The existing split cannot be kept, because images that belong together are on both sides of it: {leaks}. "
        "Make a new split, which keeps them together, with --set ExistingSplit=replace; python3 Data.py Check "
        "shows the images",
        leaks=_describe_leaks(leaks),
    )
    raise DataError(message, "split_leak")


def _describe_leaks(leaks: Sequence[list[tuple[str, ImageRecord]]]) -> Message:
    """Count the patients and pictures in several splits, with examples."""
    patients: dict[str, str] = {}
    pictures: list[str] = []
    for found in leaks:
        shared = _shared_patients(found)
        patients.update(shared)
        if not shared:
            pictures.append(_pair(found))
    parts = []
    if patients:
        parts.append(
            Message(
                "{count} patients (for example {names})",
                count=len(patients),
                names=", ".join(sorted(patients.values(), key=_natural)[:MOST]),
            )
        )
    if pictures:
        parts.append(
            Message(
                "{count} pictures, as copies or near duplicates (for example {names})",
                count=len(pictures),
                names="; ".join(pictures[:MOST]),
            )
        )
    return translation.join(", ", parts)


def _shared_patients(found: Iterable[tuple[str, ImageRecord]]) -> dict[str, str]:
    """Return {form of the patient: description} of the patients in several splits."""
    splits: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for split, record in found:
        patient = record.patient or grouping.patient_of(record.group)
        if patient:
            splits[patient][split] = record.filename
    return {patient: f"{patient}: {_examples(by_split)}" for patient, by_split in splits.items() if len(by_split) > 1}


def _examples(by_split: Mapping[str, str]) -> str:
    return " / ".join(by_split[split].removeprefix("/") for split in sorted(by_split, key=_order))


def _pair(found: Iterable[tuple[str, ImageRecord]]) -> str:
    first: dict[str, str] = {}
    for split, record in sorted(found, key=lambda each: (each[1].picture, each[1].filename)):
        first.setdefault(split, record.filename)
    return _examples(first)


def _order(split: str) -> int:
    return ("train", "validation", "test").index(split)


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(number or 0), word) for word, number in re.findall(r"(\D*)(\d*)", folded(text))]


def split_records(
    records: Sequence[ImageRecord], existing: ExistingSplit, classes: Iterable[str]
) -> tuple[dict[str, list[ImageRecord]], list[ImageRecord]]:
    """Split records as an existing split does.

    Args:
      records: source images and views.
      existing: has a folder for validation.
      classes: must be in both splits.
    Returns:
      as splitting.split_records.
    Raises:
      DataError: `class_in_one_split`.
    """
    splits: dict[str, list[ImageRecord]] = {split: [] for split in splitting.SPLITS}
    unused: list[ImageRecord] = []
    for record in records:
        split = existing.roles[record.path]
        # In validation, a view would be an image that no microscope has taken.
        unwanted = split == "validation" and grouping.is_augmented_view(record.file)
        (unused if unwanted else splits[split]).append(record)
    for name in classes:
        for split, chosen in splits.items():
            if not any(record.class_name == name for record in chosen):
                raise DataError(
                    Message(
                        "class {name}: the existing split has no image of it in {folder}. Make a new split with --set "
                        "ExistingSplit=replace, or add images",
                        name=name,
                        folder=existing.folders[split],
                    ),
                    "class_in_one_split",
                )
    return splits, unused


def parts_of(folder: pathlib.Path, path: pathlib.Path) -> Parts:
    """Return the folders of an image below `folder`."""
    return path.parent.relative_to(folder).parts
