"""Read the points of ALL-IDB1: a file .xyc per photograph, one line "x y" per probable lymphoblast.

Labati, Piuri & Scotti, "ALL-IDB: the acute lymphoblastic leukemia image database for image processing", IEEE ICIP 2011.
"""

import pathlib

from Classes.imaging.annotations.record import AnnotatedCell, Entry

# The class of the points: only blasts are marked.
BLAST = "blast"


def read(path: pathlib.Path) -> list[Entry]:
    """Return the annotation of one photograph; an empty file says that it shows no blast.

    Raises:
      OSError, ValueError: it cannot be read.
    """
    cells = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        values = line.replace(",", " ").split()
        if not values:
            continue
        if len(values) != 2:
            raise ValueError(f"line {number} is not x y")
        cells.append(AnnotatedCell(float(values[0]), float(values[1]), 0.0, 0.0, BLAST))
    return [Entry((path.stem,), tuple(cells), complete=False)]
