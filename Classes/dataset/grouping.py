"""Which images belong together: the views of one original, and the originals of one patient."""

import collections
import dataclasses
import re
import unicodedata

from Classes.dataset import patient_table

GROUPS_FILE = patient_table.FILE

# How the name of a patient's group begins.
PATIENT = "patient "

# What Data.py Augment makes of an original, named like Im006_1__rotated_07.jpg.
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
# The original as it is, at the network's size: for originals that lie in a folder of their own.
RESIZED = "resized"


def load_patient_map(folder):
    """The table groups.csv of a folder: {file as written: patient}; see patient_table.read."""
    return patient_table.read(folder)


def is_augmented_view(name):
    """Whether a file's name is that of one of VIEWS, which training may have and validation may not."""
    return _parts(name)[1] in AUGMENTATIONS


def base_stem(name):
    """A file's name without its ending and without the name of a view."""
    name = unicodedata.normalize("NFC", name)
    stem, view = _parts(name)
    return stem if view in AUGMENTATIONS or view == RESIZED else name.rpartition(".")[0] or name


def _parts(name):
    stem, _, view = (name.rpartition(".")[0] or name).rpartition("__")
    # A file that is called gray.png is no view of anything.
    return (stem, view) if stem.rpartition("/")[2] else (view, "")


def source_image_key(name, pattern):
    """The original that a file is a view of.

    Args:
      name: file name, with or without folders before it.
      pattern: configuration key `GroupPattern`; its first bracket that is not empty names the original.
    Returns:
      text in lower case and NFC, since macOS writes other Unicode than people type; the whole name without extension if
      the pattern does not match.
    """
    name = unicodedata.normalize("NFC", name.rpartition("/")[2])
    stem = name.rpartition(".")[0] or name
    match = re.search(pattern, stem)
    brackets = [bracket for bracket in match.groups() if bracket] if match else []
    return unicodedata.normalize("NFC", (brackets[0] if brackets else stem).lower())


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which group and patient every image has by its name and by groups.csv.

    Attributes:
      groups: {name: group}, such as "patient 17" and "original im006_1".
      patients: {name: patient}, only of images whose patient is known.
      unlisted: names whose patient is unknown; empty if no patient is known and there is no table.
      unmatched: rows of groups.csv that match no image.
      spellings: lists of spellings that are taken for one patient, such as ["P01", "p1"].
    """

    groups: dict
    patients: dict
    unlisted: list
    unmatched: list
    spellings: list


def assign_groups(names, pattern, table):
    """Give every file its group.

    A file of unknown patient goes with the patient of the other views of its original: views that were made after the
    table was would otherwise be separated from the photo they show. A patient is looked for in the file's own class
    first, since numbers such as 1.jpg may start again in each.

    Args:
      names: iterable of class/file name.
      pattern: configuration key `GroupPattern`.
      table: `patients`' answer.
    Returns:
      Assignment.
    Raises:
      DataError: `two_patients`; see patient_table.match.
    """
    names = list(names)
    listed, unmatched = patient_table.match(names, table)
    subjects = {name: patient_table.subject(name) for name in (*names, *table)}
    spelled, spellings = _spellings((*table.values(), *filter(None, subjects.values())))
    companies = {name: _groups_by_key(name, pattern) for name in (*names, *table)}
    tokens, known = {}, collections.defaultdict(set)
    # The table may name originals of which only views are here.
    for name, given in (*((row, table[row]) for row in table), *((name, listed.get(name)) for name in names)):
        tokens[name] = {spelled[each] for each in (given, subjects[name]) if each}
        for company in companies[name] if tokens[name] else ():
            known[company] |= tokens[name]
    aliases = merge_groups(tokens.values())
    groups, found, present = {}, {}, set()
    for name in names:
        own = tokens[name]
        present.update(companies[name])
        if not own:
            relatives = next((known[company] for company in companies[name] if company in known), set())
            # Of several possible patients none is taken.
            own = relatives if len({aliases[each] for each in relatives}) == 1 else own
        groups[name] = aliases[min(own)] if own else f"original {companies[name][-1]}"
        if own:
            found[name] = patient_of(spelled.get(listed.get(name), min(own)))
    return Assignment(
        groups=groups,
        patients=found,
        unlisted=[name for name in names if name not in found] if found or table else [],
        unmatched=[row for row in unmatched if present.isdisjoint(companies[row])],
        spellings=spellings,
    )


def _spellings(patients):
    """({patient as written: its group}, [spellings of one patient])."""
    found = collections.defaultdict(set)
    for patient in patients:
        found[patient_table.same_patient(patient)].add(patient)
    groups = {patient: f"{PATIENT}{min(same)}" for same in found.values() for patient in same}
    return groups, sorted(sorted(same) for same in found.values() if len(same) > 1)


def _groups_by_key(name, pattern):
    folder = patient_table.folded(name)[-2:-1]
    # The rows of a table are as somebody wrote them, perhaps on Windows.
    name = source_image_key(name.replace("\\", "/"), pattern)
    return (folder, name), name


def patient_of(group):
    """The patient of a group; "" if it is not one's."""
    return group.removeprefix(PATIENT) if group.startswith(PATIENT) else ""


def identity(group):
    """What does not change about a group's name when a patient is spelled in another way."""
    return f"{PATIENT}{patient_table.same_patient(patient_of(group))}" if patient_of(group) else group


def merge_groups(companies):
    """Make one group of groups that hold one and the same image.

    The name of a group decides its side of the split, so it has to stay when a copy joins the group: it is that of the
    first patient. Without a patient it is the name that has the form of most names (of Im006_1 and "backup 2" the
    former), then the shortest.

    Args:
      companies: iterable of sets of groups.
    Returns:
      {group: the name it goes by}.
    """
    from scipy.cluster.hierarchy import DisjointSet

    sets = DisjointSet()
    for company in companies:
        first = next(iter(company), None)
        for name in company:
            sets.add(name)
            sets.merge(first, name)
    forms = collections.Counter(map(_form, sets))

    def rank(name):
        return not patient_of(name), identity(name) if patient_of(name) else "", -forms[_form(name)], len(name), name

    return {name: chosen for company in sets.subsets() for chosen in [min(company, key=rank)] for name in company}


def _form(name):
    return re.sub(r"\d+", "0", name)
