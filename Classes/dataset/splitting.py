"""On which side of the split a group falls, and the proof that none is on both."""

import hashlib
import itertools

from Classes.common.errors import DataError
from Classes.dataset import grouping

SPLITS = ("train", "validation")

# How far a class's share of validation images may lie from ValidationSize before groups change sides.
TOLERANCE = 0.05


def split_groups(groups, validation_size, seed):
    """Divide groups into training and validation.

    Each group has a number in [0, 1) that its name (see grouping.identity) and the seed alone decide, and lies in
    validation when that is below `validation_size`: so no group changes sides because others came or the folder moved.
    Only where a class would miss on a side, or be more than TOLERANCE off its share, do groups change sides, those
    whose numbers are nearest to the limit first and no more than it takes.

    Args:
      groups: {group: {class: number of images}}.
      validation_size: share of the images for validation, between 0 and 1.
      seed: configuration key `RandomSeed`.
    Returns:
      {group: "train" or "validation"}.
    Raises:
      DataError: a class cannot be on both sides.
    """
    numbers = {name: _hash_to_unit_interval(name, seed) for name in groups}
    shares = _SplitBalance(groups, [name for name in groups if numbers[name] < validation_size], validation_size)
    nearest = sorted(groups, key=lambda name: (abs(numbers[name] - validation_size), name))
    moved = True
    while moved:
        moved = False
        for name in nearest:
            before = shares.flaws()
            if not any(before):
                break
            shares.move(name)
            if shares.flaws() < before:
                moved = True
            else:
                shares.move(name)
    shares.check()
    return {name: SPLITS[name in shares.validation] for name in groups}


# What is compared between the splits, by attributes of Data.ImageRecord.
KINDS = ("group", "sha256", "picture")


def assert_disjoint(splits):
    """Count what the splits and the test images have in common.

    Args:
      splits: {"train", "validation" and, if they are to be compared, "test": [item with `group`, `sha256`, `picture`]}.
    Returns:
      {"group", "sha256" and "picture": {split: number of different ones, "in_both": []}}.
    Raises:
      DataError: `split_overlap`: two of them have anything in common.
    """
    counted = {}
    for kind in KINDS:
        found = {split: {getattr(item, kind) for item in items} for split, items in splits.items()}
        for one, other in itertools.combinations(found, 2):
            for each in sorted(found[one] & found[other], key=str)[:1]:
                raise DataError(
                    f"{kind} {each} would be in {one} and in {other}. This is a defect, report it", "split_overlap"
                )
        counted[kind] = {**{split: len(each) for split, each in found.items()}, "in_both": []}
    return counted


class _SplitBalance:
    """The classes' images on both sides while groups move.

    Attributes:
      validation: set of the groups there.
    """

    def __init__(self, groups, validation, wanted):
        self._groups = groups
        self._wanted = wanted
        self._all, self._there = {}, {}
        for counts in groups.values():
            for name, count in counts.items():
                self._all[name] = self._all.get(name, 0) + count
                self._there[name] = 0
        self.validation = set()
        for group in validation:
            self.move(group)

    def move(self, group):
        """Move a group to the other side."""
        sign = -1 if group in self.validation else 1
        self.validation ^= {group}
        for name, count in self._groups[group].items():
            self._there[name] += sign * count

    def flaws(self):
        """(classes that miss on a side, sum of what their shares are off beyond TOLERANCE)."""
        missing = sum(self._there[name] in (0, total) for name, total in self._all.items())
        # Rounded, so that an exact 0.05 is no flaw for its last bit.
        off = [abs(self._there[name] / total - self._wanted) - TOLERANCE for name, total in self._all.items()]
        return missing, sum(max(0, round(each, 9)) for each in off)

    def check(self):
        for name, total in sorted(self._all.items()):
            if self._there[name] not in (0, total):
                continue
            mine = [group for group, counts in self._groups.items() if name in counts]
            raise DataError(
                f"class {name}: its {total} images are of {len(mine)} original(s) or patient(s), {mine[0]} among them, "
                "which cannot be on both sides of the split; add images of others, or correct groups.csv, GroupPattern"
            )


def _hash_to_unit_interval(name, seed):
    digest = hashlib.sha256(f"{seed} {grouping.identity(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
