"""Which images belong together: the views of one original, and the originals of one patient."""

import csv
import re

from Classes.Errors import DataError

FILE = "groups.csv"

# What Data.py Augment makes of an original, named like Im006_1__rotated_07.jpg.
VIEWS = (
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


def patients(folder):
    """The file `groups.csv` of a data folder.

    Args:
      folder: DatasetDir.
    Returns:
      {file name, or class/file name: patient}, empty where there is no such file.
    Raises:
      DataError: the file is not of the form file,patient.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not readable ({error}); save it as UTF-8 CSV, columns file,patient") from error
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
            raise DataError(f"{path}: line {number} gives {cells[0]} a second patient; decide for one")
    return found


def is_view(name):
    """Whether a file's name is that of one of VIEWS, which training may have and validation may not."""
    return _parts(name)[1] in VIEWS


def source(name):
    """A file's name without its ending and without the name of a view."""
    stem, view = _parts(name)
    return stem if view in VIEWS or view == RESIZED else name.rpartition(".")[0] or name


def _parts(name):
    stem, _, view = (name.rpartition(".")[0] or name).rpartition("__")
    # A file that is called gray.png is no view of anything.
    return (stem, view) if stem.rpartition("/")[2] else (view, "")


def original(name, pattern):
    """The original that a file is a view of.

    Args:
      name: file name, with or without folders before it.
      pattern: configuration key `GroupPattern`; its first bracket that is not empty names the original.
    Returns:
      text in lower case; the whole name without ending where the pattern says nothing.
    """
    name = name.rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    match = re.search(pattern, stem)
    brackets = [bracket for bracket in match.groups() if bracket] if match else []
    return (brackets[0] if brackets else stem).lower()


def assign(names, pattern, patient):
    """Give every file its group.

    A file that groups.csv leaves out goes with the patient of the other views of its original: views that were made
    after the list was would else be strangers to the photo they show. A patient is looked for in the file's own
    class first, since numbers such as 1.jpg may start anew in each.

    Args:
      names: iterable of class/file name.
      pattern: configuration key `GroupPattern`.
      patient: `patients`' answer.
    Returns:
      ({class/file name: group}, [names that groups.csv leaves out]), groups such as "patient 17" and
      "original im006_1".
    """
    groups, missing, known = {}, [], {}
    for name, found in patient.items():
        # The list may name originals of which only views are here.
        for company in _companies(name, pattern):
            known.setdefault(company, set()).add(f"patient {found}")
    for name in names:
        found = patient.get(name, patient.get(name.rpartition("/")[2]))
        if found is None:
            missing.append(name)
            continue
        groups[name] = f"patient {found}"
        for company in _companies(name, pattern):
            known.setdefault(company, set()).add(groups[name])
    for name in missing:
        relatives = next((known[company] for company in _companies(name, pattern) if company in known), ())
        groups[name] = min(relatives) if len(relatives) == 1 else f"original {original(name, pattern)}"
    return groups, missing if patient else []


def _companies(name, pattern):
    return (name.rpartition("/")[0], original(name, pattern)), original(name, pattern)


def joined(companies):
    """Make one group of groups that hold one and the same image.

    Args:
      companies: iterable of sets of groups.
    Returns:
      {group: the name it goes by}, the first of its company in the alphabet.
    """
    parent = {}

    def root(name):
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for company in companies:
        first, *others = sorted({root(name) for name in company})
        for other in others:
            parent[other] = first
    return {name: root(name) for name in list(parent)}
