"""Group the images that must stay in one split: views of a source image, and images of a patient."""

import collections
import dataclasses
import itertools
import logging
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from Classes.dataset import patient_table

GROUPS_FILE = patient_table.FILE

# Prefix of the name of a patient's group.
PATIENT = "patient "

# The views that Data.py Augment makes of a source image; Im006_1__rotated_07.jpg is one.
AUGMENTATIONS = (
    "gray",
    "equalised",
    "mirrored_horizontally",
    "mirrored_vertically",
    "blurred",
    "shifted",
    "sheared",
    *(f"rotated_{number:02d}" for number in range(1, 21)),
)
# Suffix of a cell that Data.py Fields has cropped out of a photograph: Im001_1__cell_00612x00344.png.
CELL = re.compile(r"__cell_\d+x\d+")
# Suffix of a source image that Data.py Augment FOLDER has resized and copied to DatasetDir.
RESIZED = "resized"

log = logging.getLogger("Data")


def load_patient_map(folder: pathlib.Path) -> dict[str, str]:
    """Return {file as written: patient} from groups.csv in a folder; see patient_table.read."""
    return patient_table.read(folder)


def is_augmented_view(name: str) -> bool:
    """Return whether a file is named as a view in AUGMENTATIONS; views are used for training only."""
    return _split_view(name)[1] in AUGMENTATIONS


def base_stem(name: str) -> str:
    """Return a file's name without its extension and the suffix of a view."""
    name = unicodedata.normalize("NFC", name)
    stem, view = _split_view(name)
    return stem if view in AUGMENTATIONS or view == RESIZED else name.rpartition(".")[0] or name


def _split_view(name: str) -> tuple[str, str]:
    """Return (stem of the source image, view); a file called gray.png is not a view."""
    stem, _, view = (name.rpartition(".")[0] or name).rpartition("__")
    return (stem, view) if stem.rpartition("/")[2] else (view, "")


def source_image_key(name: str, pattern: str) -> str:
    """Return the key that a source image and its views share.

    Args:
      name: file name, with or without folders.
      pattern: configuration key `GroupPattern`; its first non-empty group names the source image.
    Returns:
      text in lower case and NFC (macOS writes other Unicode than people type); the name without extension if the
      pattern does not match.
    """
    name = unicodedata.normalize("NFC", name.rpartition("/")[2])
    # All cells of a photograph stay together, whatever the pattern.
    stem = CELL.split(name.rpartition(".")[0] or name)[0]
    match = re.search(pattern, stem)
    matched = [group for group in match.groups() if group] if match else []
    return unicodedata.normalize("NFC", (matched[0] if matched else stem).lower())


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The group and the patient of every image, from its name and from groups.csv.

    Attributes:
      groups: {name: group}, such as "patient 17" and "original im006_1".
      patients: {name: patient}, only of images whose patient is known.
      unlisted: names whose patient is unknown; empty if no patient is known and there is no table.
      unmatched: rows of groups.csv that match no image.
      spellings: lists of spellings that are treated as one patient, such as ["P01", "p1"].
    """

    groups: dict[str, str]
    patients: dict[str, str]
    unlisted: list[str]
    unmatched: list[str]
    spellings: list[list[str]]


def assign_groups(names: Iterable[str], pattern: str, table: dict[str, str]) -> Assignment:
    """Assign every file to a group.

    A file without a patient gets the patient of another view of its source image. The file's own class is searched
    first, because names such as 1.jpg can exist in each class.

    Args:
      names: class/file names.
      pattern: configuration key `GroupPattern`.
      table: from load_patient_map.
    Raises:
      DataError: `two_patients`; see patient_table.match.
    """
    names = list(names)
    listed, unmatched = patient_table.match(names, table)
    # Only of names with a patient, because most images of a large data set have none.
    subjects = {name: subject for name in (*names, *table) if (subject := patient_table.subject(name))}
    spelled, spellings = _unify_spellings((*table.values(), *subjects.values()))
    patient_groups: dict[str, set[str]] = {}
    known: dict[object, set[str]] = collections.defaultdict(set)
    # A source image can be listed although only its views are in the folder.
    for name, given in (*((row, table[row]) for row in table), *((name, listed.get(name)) for name in names)):
        if found := {spelled[each] for each in (given, subjects.get(name)) if each}:
            patient_groups[name] = found
            for key in _lookup_keys(name, pattern):
                known[key] |= found
    merged = merge_groups(patient_groups.values())
    groups, patients = {}, {}
    keys_of_rows = {row: _lookup_keys(row, pattern) for row in unmatched}
    wanted, present = set(itertools.chain(*keys_of_rows.values())), set[object]()
    for name in names:
        own, keys = patient_groups.get(name, set()), _lookup_keys(name, pattern)
        present.update(wanted.intersection(keys))
        if not own:
            candidates: set[str] = next((known[key] for key in keys if key in known), set())
            # The patient stays unknown if there are several candidates.
            own = candidates if len({merged[each] for each in candidates}) == 1 else own
        groups[name] = merged[min(own)] if own else f"original {keys[-1]}"
        if own:
            patients[name] = patient_of(spelled.get(listed.get(name, ""), min(own)))
    return Assignment(
        groups=groups,
        patients=patients,
        unlisted=[name for name in names if name not in patients] if patients or table else [],
        unmatched=[row for row in unmatched if present.isdisjoint(keys_of_rows[row])],
        spellings=spellings,
    )


def log_doubts(assignment: Assignment, names: Sequence[str]) -> None:
    """Warn about rows without image, images without patient, and patients with several spellings.

    Args:
      assignment: from assign_groups.
      names: the images of the class folders.
    """
    if assignment.unmatched:
        log.warning(
            "%s lists %d files that do not exist, for example %s.",
            GROUPS_FILE,
            len(assignment.unmatched),
            assignment.unmatched[0],
        )
    of_classes = set(names)
    unlisted = [name for name in assignment.unlisted if name in of_classes]
    if unlisted:
        log.warning(
            "The patient of %d of %d images is unknown, for example of %s; these images are grouped by file name.",
            len(unlisted),
            len(names),
            unlisted[0],
        )
    if assignment.spellings:
        log.warning(
            "%d patients have several spellings, for example %s; each is treated as one patient. If they are different "
            "patients, correct %s.",
            len(assignment.spellings),
            " and ".join(assignment.spellings[0]),
            GROUPS_FILE,
        )


def _unify_spellings(patients: Iterable[str]) -> tuple[dict[str, str], list[list[str]]]:
    """Return ({patient as written: group}, [spellings of one patient])."""
    found = collections.defaultdict(set)
    for patient in patients:
        found[patient_table.same_patient(patient)].add(patient)
    groups = {patient: f"{PATIENT}{min(same)}" for same in found.values() for patient in same}
    return groups, sorted(sorted(same) for same in found.values() if len(same) > 1)


def _lookup_keys(name: str, pattern: str) -> tuple[object, str]:
    """Return the keys of a file: with its class folder, and without."""
    folder = patient_table.folded(name)[-2:-1]
    # Rows of a table that was written on Windows have backslashes.
    key = source_image_key(name.replace("\\", "/"), pattern)
    return (folder, key), key


def patient_of(group: str) -> str:
    """Return the patient of a group, or "" if the group is a source image."""
    return group.removeprefix(PATIENT) if group.startswith(PATIENT) else ""


def identity(group: str) -> str:
    """Return a form of the group's name that is the same for all spellings of a patient."""
    return f"{PATIENT}{patient_table.same_patient(patient_of(group))}" if patient_of(group) else group


def merge_groups(connected: Iterable[set[str]]) -> dict[str, str]:
    """Merge groups that share an image.

    The name of a group decides its split, so it must not change if a copy joins the group: the merged group has the
    name of the first patient. Without a patient, it has a name of the most common form (Im006_1, not "backup 2"), of
    these the shortest.

    Args:
      connected: sets of groups that belong together.
    Returns:
      {group: name of the merged group}.
    """
    from scipy.cluster.hierarchy import DisjointSet

    sets = DisjointSet()
    merged: dict[str, str] = {}
    for groups in connected:
        merged.update(zip(groups, groups, strict=True))
        first = next(iter(groups), None)
        # Most groups are alone, and an entry of the sets takes five times the memory of one of a dict.
        for name in groups if len(groups) > 1 else ():
            sets.add(name)
            sets.merge(first, name)
    forms = collections.Counter(map(_form, merged))

    def rank(name: str) -> tuple[bool, str, int, int, str]:
        return not patient_of(name), identity(name) if patient_of(name) else "", -forms[_form(name)], len(name), name

    for groups in sets.subsets():
        merged.update(dict.fromkeys(groups, min(groups, key=rank)))
    return merged


def _form(name: str) -> str:
    return re.sub(r"\d+", "0", name)
