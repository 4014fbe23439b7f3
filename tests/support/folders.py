"""Data folders for tests: what is put in, and what Data.py wrote."""

import json

from Classes import Helpers
from tests.support import smears


def configuration(folder, *settings):
    return Helpers.load_config(None, [f"NetworkPath={folder}", "Shards=3", *settings])


def names(folder):
    """The sorted names of a folder's entries."""
    return sorted(entry.name for entry in folder.iterdir())


def put(folder, name, positive=False, seed=0, content=None):
    """One image file under Model/; `seed` decides its content."""
    path = folder / "Model" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(smears.png(smears.cell(positive, seed, 16)) if content is None else content)
    return path


def manifest(folder):
    return json.loads((folder / "Model/Data/ALL_manifest.json").read_text())


def sides(folder):
    """{class/file: split}."""
    return {row["file"]: split for split, rows in manifest(folder)["splits"].items() for row in rows}


def toys(folder):
    """20 images a class, no two alike."""
    for positive in (0, 1):
        for number in range(20):
            put(folder, f"Data/{positive}/Toy{number:03d}_{positive}.png", positive, number)
    return folder
