"""The second opinions in annotations.dat of the Munich data set.

A line has the file and up to three classes: the annotation, and two later ones of a subset by experts ("nan" if none).
Columns as in Matek et al. 2019, doi 10.7937/tcia.2019.36f5o9ld.
"""

import pathlib

FILE = "annotations.dat"


def find(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the file of a folder or of one of the folders next to it; None if there is none."""
    places = (folder, folder.parent, *sorted(each for each in folder.iterdir() if each.is_dir()))
    return next((place / FILE for place in places if (place / FILE).is_file()), None)


def count_disagreements(path: pathlib.Path) -> tuple[int, int]:
    """Return (images with a second opinion, of these the ones with another class in it)."""
    again = other = 0
    for line in path.read_text(errors="replace").splitlines():
        words = line.replace(",", " ").split()
        opinions = [word for word in words[2:4] if word.lower() != "nan"]
        if len(words) >= 2 and opinions:
            again += 1
            other += any(opinion != words[1] for opinion in opinions)
    return again, other
