"""Read groups.csv, the table of patients, as spreadsheets write it, and match its rows with image files."""

import codecs
import collections
import csv
import io
import itertools
import pathlib
import re
import unicodedata
from collections.abc import Iterable

from Classes.common.errors import DataError, error_reason
from Classes.common.translation import Message

FILE = "groups.csv"

# Column names, without case, spaces and punctuation.
FILE_COLUMNS = (
    "file", "files", "filename", "filenames", "filepath", "path", "image", "images", "imagename", "imagefile",
    "imagefilename", "imagepath", "imageid", "img", "imgname", "imgid", "name", "newname", "newnames", "picture",
    "photo", "datei", "dateiname", "bild", "bildname", "bilddatei",
)  # fmt: skip
PATIENT_COLUMNS = (
    "patient", "patients", "patientid", "patientids", "patientno", "patientnr", "patientnum", "patientnumber",
    "patientname", "patientcode", "pid", "subject", "subjectid", "subjects", "donor", "donorid", "case", "caseid",
    "person", "personid", "individual", "individualid", "group", "groupid", "groups", "patientennummer", "patientennr",
)  # fmt: skip

# Excel writes the list separator of the country; a first line "sep=;" names it.
SEPARATORS = (",", ";", "\t", "|")

# What people and programs write if they do not know.
UNKNOWN = {"", "?", "-", "--", "na", "n/a", "#n/a", "nan", "none", "null", "unknown", "unbekannt"}

# Names of C-NMC 2019: UID_<subject>_<image>_<cell>_<all or hem>; subjects of healthy cells begin with H.
C_NMC = re.compile(r"(?i)(?<![a-z0-9])uid[_-](h?\d+)[_-]\d+[_-]\d+(?!\d)")


def read(folder: pathlib.Path) -> dict[str, str]:
    """Read the table of a folder.

    The encoding is UTF-8, UTF-16, or else Windows-1252. Columns are separated by comma, semicolon, tab or bar, and
    named as in FILE_COLUMNS and PATIENT_COLUMNS; other columns are ignored.

    Args:
      folder: contains the table.
    Returns:
      {file as written: patient}, empty if there is no such file.
    Raises:
      DataError: `groups_table`: the table cannot be read, or has another name; `two_patients`: a file has two patients.
    """
    path = _find(folder)
    if path is None:
        return {}
    [(_, header), *rows], separator, (place, column) = _table(path, _text(path))
    found: dict[str, str] = {}
    for number, cells in rows:
        if not any(cells):
            continue
        cells += [""] * (len(header) - len(cells))
        file, patient = cells[place], cells[column]
        if any(cells[len(header) :]) or not file or patient.casefold() in UNKNOWN:
            raise _unclear(
                Message(
                    "{path}: line {number} is {cells}, which does not give one file and one patient. Correct the "
                    "line, or remove it if the patient is unknown",
                    path=path,
                    number=number,
                    cells=repr(separator.join(cells)),
                )
            )
        # The labels of C-NMC's test phase give a file name in the column of the patient.
        patient = subject(patient) or patient
        if same_patient(found.setdefault(file, patient)) != same_patient(patient):
            raise DataError(
                Message(
                    "{path}: line {number} gives {file} a second patient. Keep one", path=path, number=number, file=file
                ),
                "two_patients",
            )
    return found


def _unclear(message: str) -> DataError:
    return DataError(message, code="groups_table")


def _find(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the path of the table, in upper or lower case; None if there is no similar name."""
    if not folder.is_dir():
        return None
    names = [path for path in sorted(folder.iterdir()) if path.name.casefold().startswith(("groups", "group."))]
    tables = [path for path in names if path.name.casefold() == FILE]
    if len(tables) > 1:
        raise _unclear(
            Message("{tables} and {name}: two tables of patients. Keep one", tables=tables[0], name=tables[1].name)
        )
    if tables:
        return tables[0]
    # Such as groups.csv.txt or groups.xlsx; ignoring it would split patients that the user has listed.
    other = next((path for path in names if path.is_file()), None)
    if other:
        raise _unclear(
            Message(
                "{other}: is this the table of patients? Save it as CSV under the name {file}, or move it away",
                other=other,
                file=FILE,
            )
        )
    return None


def _text(path: pathlib.Path) -> str:
    try:
        data = path.read_bytes()
        return data.decode(_encoding(data))
    except (OSError, ValueError) as error:
        raise _unclear(
            Message(
                "{path}: cannot be read ({reason}). Save it as UTF-8 CSV with the columns file,patient",
                path=path,
                reason=error_reason(error),
            )
        ) from error


def _encoding(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        # The mark of UTF-32 begins with the mark of UTF-16.
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:64]:
        return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _table(path: pathlib.Path, text: str) -> tuple[list[tuple[int, list[str]]], str, tuple[int, int]]:
    """Return ([(line number, cells)] from the header on, separator, columns of file and patient)."""
    hint = re.match(r'"?sep=(.)"?[^\r\n]*(?:\r\n|\r|\n)', text, re.IGNORECASE)
    text = text[hint.end() :] if hint else text
    broken = None
    for separator in hint[1] if hint else SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            rows = [(reader.line_num + bool(hint), [_cell(cell) for cell in row]) for row in reader]
        except csv.Error as error:
            broken = error
            continue
        rows = list(itertools.dropwhile(lambda row: not any(row[1]), rows))
        columns = _columns(rows[0][1]) if rows else None
        if columns:
            return rows, separator, columns
    if broken:
        raise _unclear(
            Message(
                "{path}: cannot be read ({reason}). Save it as UTF-8 CSV with the columns file,patient",
                path=path,
                reason=broken,
            )
        )
    first = next((line for line in text.splitlines() if line.strip()), "")
    raise _unclear(
        Message(
            "{path}: the first line is {first}. It has to name the columns: file,patient",
            path=path,
            first=repr(first[:80]),
        )
    )


def _cell(cell: str) -> str:
    return unicodedata.normalize("NFC", cell.replace("\ufeff", "").replace("\xa0", " ")).strip()


def _columns(header: list[str]) -> tuple[int, int] | None:
    """Return (column of the file, column of the patient), or None if one of them is missing or ambiguous."""
    plain = [re.sub(r"[\W_]+", "", cell.casefold()) for cell in header]
    found = []
    for names in (FILE_COLUMNS, PATIENT_COLUMNS):
        places = [place for place, name in enumerate(plain) if name in names]
        # "file" and "patient" are the documented names and win over others.
        exact = [place for place in places if plain[place] == names[0]]
        places = exact or places
        if len(places) != 1:
            return None
        found.append(places[0])
    return found[0], found[1]


def same_patient(name: str) -> str:
    """Return a form of a patient's name that is the same for all its spellings.

    Case, width, leading zeros, a space or dash between letters and number, and Excel's ".0" are ignored: P01, p1 and
    P-01 are one patient. Splitting one patient because of a typo is worse than keeping two patients together.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"^(\d+)\.0+$", r"\1", text)
    text = re.sub(r"(?<=[^\W\d_])[\s_\u2010-\u2015-]+(?=\d)", "", text)
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def subject(name: str) -> str | None:
    """Return the patient in a file name of C-NMC 2019, "H10" for UID_H10_1_1_hem.bmp; None for other names."""
    match = C_NMC.search(name.replace("\\", "/").rpartition("/")[2])
    return match[1].upper() if match else None


def folded(name: str) -> tuple[str, ...]:
    """Return the parts of a path for comparison, without case, Unicode form, kind of separator and drive."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).replace("\\", "/")
    parts = re.sub(r"^[a-z]:", "", text.strip()).split("/")
    return tuple(part.strip() for part in parts if part.strip() not in ("", ".", ".."))


# An extension, not the end of a stem such as "scan.12".
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{2,4}$")


def match(names: Iterable[str], table: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Find the patient of every image in the table.

    A row's file is compared from its end: the name with or without extension, then as many folders as agree. A row that
    matches no name can be older than the class in a name such as Im047_1.jpg, or can name a folder below a class or the
    test folder and then applies to all images in it. The best match counts.

    Args:
      names: paths such as "1/Im006_1.jpg" that begin with the class or test folder.
      table: from `read`.
    Returns:
      ({name: patient} of the images in the table, [rows that match no image]).
    Raises:
      DataError: `two_patients`: rows that match an image equally well give it different patients.
    """
    if not table:
        return {}, []
    paths = {name: folded(name) for name in names}
    by_name, by_stem, by_plain, by_folder = (collections.defaultdict(set) for _ in range(4))
    labels = tuple(f"_{label}" for label in {parts[0] for parts in paths.values() if len(parts) > 1})
    for name, parts in paths.items():
        plain = _stem(parts[-1])
        for label in labels:
            if plain.endswith(label):
                by_plain[plain.removesuffix(label)].add(name)
        by_name[parts[-1]].add(name)
        by_stem[plain].add(name)
        for part in parts[1:-1]:
            by_folder[part].add(name)
    best: dict[str, list[tuple[tuple[int, int, int], str]]] = {}
    unmatched = []
    for row in table:
        parts = folded(row)
        if not parts:
            unmatched.append(row)
            continue
        bare = _EXTENSION.sub("", parts[-1])
        near = by_name[parts[-1]] | by_stem[parts[-1]] | by_stem[bare]
        scores = {name: (2, *_likeness(row, parts, name, paths[name])) for name in near}
        scores = scores or {name: (1, _agreeing(parts[:-1], paths[name][:-1]), 0) for name in by_plain[bare]}
        scores = scores or {name: (0, *_inside(parts, paths[name][:-1])) for name in by_folder[parts[-1]]}
        highest = max(scores.values(), default=None)
        for name, score in scores.items():
            if score == highest:
                best.setdefault(name, []).append((score, row))
        if not scores:
            unmatched.append(row)
    return {name: _closest(name, rows, table) for name, rows in best.items()}, unmatched


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _likeness(row: str, parts: tuple[str, ...], name: str, image: tuple[str, ...]) -> tuple[int, int]:
    """Return (number of equal folders, similarity of the names) of a row and an image."""
    plain = unicodedata.normalize("NFC", re.split(r"[/\\]", row)[-1].strip())
    if plain == unicodedata.normalize("NFC", name.rpartition("/")[2]):
        level = 3
    elif parts[-1] == image[-1]:
        level = 2
    else:
        level = int(parts[-1] == _stem(image[-1]))
    return _agreeing(parts[:-1], image[:-1]), level


def _inside(parts: tuple[str, ...], folders: tuple[str, ...]) -> tuple[int, int]:
    """Return (depth of the folder, number of equal parents) for a row that names a folder of an image."""
    depth = max(place for place, folder in enumerate(folders) if folder == parts[-1])
    return depth, _agreeing(parts[:-1], folders[:depth])


def _agreeing(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many last parts of two paths are equal."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _closest(name: str, rows: list[tuple[tuple[int, int, int], str]], table: dict[str, str]) -> str:
    highest = max(score for score, _ in rows)
    closest = [row for score, row in rows if score == highest]
    patients = {same_patient(table[row]): row for row in closest}
    if len(patients) > 1:
        one, other = sorted(patients.values())[:2]
        raise DataError(
            Message(
                "{file}: {one} ({table}) and {other} ({table_2}) both match {name}. Write the class folder "
                "before the name, or rename the images",
                file=FILE,
                one=one,
                table=table[one],
                other=other,
                table_2=table[other],
                name=name,
            ),
            code="two_patients",
        )
    return table[closest[0]]
