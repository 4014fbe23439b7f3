"""Arrays in a temporary file come back as they were added, and a full disk is named."""

import errno
import tempfile

import numpy
import pytest

from Classes.dataset.array_file import ArrayFile
from tests.support import faults


def test_arrays_come_back_one_by_one_and_in_slices():
    rows = numpy.arange(24, dtype="float32").reshape(4, 2, 3)
    stored = ArrayFile((2, 3), "float32")

    stored.append(rows[:1])
    stored.append(rows[1:])

    assert len(stored) == 4
    assert (stored[2] == rows[2]).all()
    assert (stored[1:3] == rows[1:3]).all()
    assert stored[3:3].shape == (0, 2, 3)
    with pytest.raises(IndexError):
        stored[4]


def test_a_full_disk_names_the_folder_of_temporary_files():
    stored = ArrayFile((1000,), "float32")

    with faults.full_disk(10_000), pytest.raises(OSError, match="File too large") as caught:
        for _ in range(10):
            stored.append(numpy.zeros((1, 1000)))

    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == tempfile.gettempdir()
