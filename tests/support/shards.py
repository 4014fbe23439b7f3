"""Shards of small synthetic cells, with and without what Data.py finds."""

import contextlib
import hashlib

import pytest

from Classes import Helpers
from Classes.common.errors import DataError
from Classes.dataset.image_records import ImageRecord
from tests.support import smears

# Further values of a manifest.
ABOUT = {"classes": ["0", "1"], "synthetic": False, "proof": {}}


def configuration(data, *settings):
    return Helpers.load_config(None, [f"NetworkPath={data.parent.parent}", *settings])


def item(folder, number, label, size=20):
    """An image file of its own and what Data knows of it."""
    content = smears.png(smears.cell(label, number, size))
    path = folder / f"images/{label}/Im{number:03d}_{label}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return ImageRecord(str(path), str(label), label, f"original im{number}", digest, len(content), "png", size, size)


def splits(folder, train=12, validation=5, size=20):
    return {
        "train": [item(folder, number, number % 2, size) for number in range(train)],
        "validation": [item(folder, 100 + number, number % 2, size) for number in range(validation)],
    }


def listing(folder):
    """Everything in the data folder but the images, with its content."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


@contextlib.contextmanager
def fails(code, *parts):
    """Expect a DataError with a code and a message that contains all parts."""
    with pytest.raises(DataError) as caught:
        yield
    assert caught.value.code == code
    assert all(part in str(caught.value) for part in parts)
