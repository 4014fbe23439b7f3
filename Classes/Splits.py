"""Which images belong together, and on which side of the split they fall."""

import csv
import hashlib
import re

from Classes.Errors import DataError

GROUPS_FILE = "groups.csv"

# How far the share of validation images may lie from ValidationSize before groups change sides.
TOLERANCE = 0.05


def patients(folder):
    """The file `groups.csv` of a data folder.

    Args:
      folder: DatasetDir.
    Returns:
      {file name, or class/file name: patient}, empty where there is no such file.
    Raises:
      DataError: the file is not of the form file,patient.
    """
    path = folder / GROUPS_FILE
    if not path.exists():
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: not readable ({error}); save it as UTF-8 CSV with the columns file,patient"
        ) from error
    if not rows or [cell.strip().lower() for cell in rows[0]] != ["file", "patient"]:
        raise DataError(f"{path}: the first line has to be file,patient")
    found = {}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        cells = [cell.strip() for cell in row]
        if len(cells) != 2 or not all(cells):
            raise DataError(f"{path}: line {number} is {','.join(row)!r}; a file and its patient are expected")
        if found.setdefault(cells[0], cells[1]) != cells[1]:
            raise DataError(f"{path}: line {number} gives {cells[0]} a second patient")
    return found


def group(name, folder, pattern, patient):
    """What an image belongs to: its patient where that is known, else the original it is a view of.

    Args:
      name: file name.
      folder: name of its class folder.
      pattern: configuration key `GroupPattern`.
      patient: `patients`' answer.
    Returns:
      text such as "patient 17" or "original im006_1".
    """
    known = patient.get(f"{folder}/{name}", patient.get(name))
    if known is not None:
        return f"patient {known}"
    stem = name.rpartition(".")[0] or name
    match = re.search(pattern, stem)
    brackets = [bracket for bracket in match.groups() if bracket] if match else []
    return f"original {(brackets[0] if brackets else stem).lower()}"


def joined(groups_of_content):
    """Groups that hold one and the same image are one group.

    Args:
      groups_of_content: iterable of sets of groups, one set for each content.
    Returns:
      {group: the name it goes by}, the first of its company in the alphabet.
    """
    parent = {}

    def root(name):
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for company in groups_of_content:
        first, *others = sorted(root(name) for name in company)
        for other in others:
            parent[other] = first
    return {name: root(name) for name in list(parent)}


def split(groups, validation_size, seed):
    """Divide groups into training and validation.

    Each group has a number in [0, 1) that its name and the seed alone decide, and lies in validation when that is
    below `validation_size`: so no group changes sides because others came or the folder moved. Only where the share
    of images would then be more than TOLERANCE off, or a class would miss in a split, the groups whose numbers are
    nearest to the limit change sides.

    Args:
      groups: {group: {class label: number of images}}.
      validation_size: share of the images for validation, between 0 and 1.
      seed: configuration key `RandomSeed`.
    Returns:
      {group: "train" or "validation"}.
    Raises:
      DataError: a class has too few groups to be in both splits.
    """
    strata = {}
    for name, counts in groups.items():
        strata.setdefault(frozenset(counts), []).append((_number(name, seed), name))
    sides = {}
    for members in strata.values():
        members.sort()
        sizes = [sum(groups[name].values()) for _, name in members]
        cut = _cut([number for number, _ in members], sizes, validation_size)
        for position, (_, name) in enumerate(members):
            sides[name] = "validation" if position < cut else "train"
    _check(groups, sides)
    return sides


def _number(name, seed):
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _cut(numbers, sizes, wanted):
    """How many of the groups, in the order of their numbers, go to validation."""
    total = sum(sizes)

    def distance(cut):
        return abs(sum(sizes[:cut]) / total - wanted)

    cut = sum(number < wanted for number in numbers)
    while distance(cut) > TOLERANCE:
        nearer = [other for other in (cut - 1, cut + 1) if 0 <= other <= len(sizes) and distance(other) < distance(cut)]
        if not nearer:
            break
        cut = nearer[0]
    return min(max(cut, 1), len(sizes) - 1) if len(sizes) > 1 else cut


def _check(groups, sides):
    labels = {label for counts in groups.values() for label in counts}
    for label in sorted(labels):
        if len({sides[name] for name, counts in groups.items() if label in counts}) < 2:
            raise DataError(
                f"class {label}: too few originals or patients to be in training and in validation; add images that "
                "are no views of one original, or correct groups.csv"
            )
