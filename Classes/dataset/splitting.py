"""Assign groups to training or validation, and check that the splits have nothing in common."""

import collections
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset import grouping
from Classes.dataset.image_records import ImageRecord

SPLITS = ("train", "validation")

# Largest difference between ValidationSize and a class's fraction of validation images without moving groups.
TOLERANCE = 0.05

# Attributes of ImageRecord of which no value may be in two splits.
KINDS = ("group", "sha256", "picture")


def split_records(
    records: Sequence[ImageRecord], validation_size: float, seed: int
) -> tuple[dict[str, list[ImageRecord]], list[ImageRecord]]:
    """Split records by group.

    Only source images decide. A view of Data.py Augment is used if its source image is in training; in validation it
    would be an image that no microscope has taken.

    Args:
      records: source images and views.
      validation_size, seed: as for split_groups.
    Returns:
      ({split: records}, views that are not used).
    Raises:
      DataError: as split_groups.
    """
    groups: dict[str, collections.Counter[str]] = {}
    for record in records:
        if not grouping.is_augmented_view(record.file):
            groups.setdefault(record.group, collections.Counter())[record.class_name] += 1
    sides = split_groups(groups, validation_size, seed)
    splits: dict[str, list[ImageRecord]] = {split: [] for split in SPLITS}
    unused = []
    for record in records:
        # The group has no split if the source images of a view were left out.
        split = sides.get(record.group)
        if split is None or (split != "train" and grouping.is_augmented_view(record.file)):
            unused.append(record)
        else:
            splits[split].append(record)
    return splits, unused


def split_groups(groups: Mapping[str, Mapping[str, int]], validation_size: float, seed: int) -> dict[str, str]:
    """Assign groups to training and validation.

    Each group has a number in [0, 1) that only its name (see grouping.identity) and the seed decide. It is in
    validation if the number is below `validation_size`, so added images or a moved folder never change the split of a
    group. Groups change sides only if a class would be missing on a side or differ by more than TOLERANCE from its
    fraction: as few as possible, those with numbers next to `validation_size` first.

    Args:
      groups: {group: {class: number of images}}.
      validation_size: fraction of the images for validation, between 0 and 1.
      seed: configuration key `RandomSeed`.
    Returns:
      {group: "train" or "validation"}.
    Raises:
      DataError: `class_in_one_split`: a class cannot be in both splits.
    """
    numbers = {name: hash_to_unit_interval(name, seed) for name in groups}
    balance = _SplitBalance(groups, [name for name in groups if numbers[name] < validation_size], validation_size)
    nearest = sorted(groups, key=lambda name: (abs(numbers[name] - validation_size), name))
    moved = True
    while moved:
        moved = False
        for name in nearest:
            before = balance.violations()
            if not any(before):
                break
            balance.move(name)
            if balance.violations() < before:
                moved = True
            else:
                balance.move(name)
    balance.check()
    return {name: SPLITS[name in balance.validation] for name in groups}


def assert_disjoint(splits: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Check that splits and test images have no group, content or picture in common, and count these.

    Args:
      splits: {"train", "validation" and optionally "test": ImageRecords}.
    Returns:
      {"group", "sha256" and "picture": {split: number of distinct values, "in_both": []}}.
    Raises:
      DataError: `split_overlap`: two splits have a value in common.
    """
    counted = {}
    for kind in KINDS:
        found = {split: {getattr(record, kind) for record in records} for split, records in splits.items()}
        for one, other in itertools.combinations(found, 2):
            for value in sorted(found[one] & found[other], key=str)[:1]:
                raise DataError(
                    Message(
                        "{kind} {value} would be in {one} and in {other}. This is a bug in the toolkit, please "
                        "report it",
                        kind=kind,
                        value=value,
                        one=one,
                        other=other,
                    ),
                    "split_overlap",
                )
        counted[kind] = {**{split: len(values) for split, values in found.items()}, "in_both": []}
    return counted


class _SplitBalance:
    """Counts the images of each class per split while groups move.

    Attributes:
      validation: set of the groups in validation.
    """

    def __init__(
        self, groups: Mapping[str, Mapping[str, int]], validation: Sequence[str], validation_size: float
    ) -> None:
        self._groups = groups
        self._validation_size = validation_size
        self._images: collections.Counter[str] = collections.Counter()
        for counts in groups.values():
            self._images.update(counts)
        self._in_validation = dict.fromkeys(self._images, 0)
        self.validation: set[str] = set()
        for group in validation:
            self.move(group)

    def move(self, group: str) -> None:
        """Move a group to the other split."""
        sign = -1 if group in self.validation else 1
        self.validation ^= {group}
        for name, count in self._groups[group].items():
            self._in_validation[name] += sign * count

    def violations(self) -> tuple[int, float]:
        """Return (classes that are missing in a split, sum of the differences beyond TOLERANCE)."""
        missing = sum(self._in_validation[name] in (0, total) for name, total in self._images.items())
        fractions = (self._in_validation[name] / total for name, total in self._images.items())
        # Rounded, so that a difference of exactly 0.05 is not a violation.
        return missing, sum(max(0.0, round(abs(each - self._validation_size) - TOLERANCE, 9)) for each in fractions)

    def check(self) -> None:
        """Raise DataError `class_in_one_split` if all images of a class are in one split."""
        for name, total in sorted(self._images.items()):
            if self._in_validation[name] not in (0, total):
                continue
            groups = [group for group, counts in self._groups.items() if name in counts]
            raise DataError(
                Message(
                    "class {name}: its {total} images are of {count} source image(s) or patient(s) such as "
                    "{groups}, too few for training and validation. Add images of others, or correct groups.csv "
                    "or GroupPattern",
                    name=name,
                    total=total,
                    count=len(groups),
                    groups=groups[0],
                ),
                "class_in_one_split",
            )


def hash_to_unit_interval(name: str, seed: int) -> float:
    """Return a number from 0 to 1 that depends on nothing but the group's name and the seed."""
    digest = hashlib.sha256(f"{seed} {grouping.identity(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
