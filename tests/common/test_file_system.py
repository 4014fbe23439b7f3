import errno
import os

import pytest

from Classes.common import atomic_files
from tests.support.folders import names
from tests.support.processes import python

# What file systems that cannot flush a folder report.
LACKING = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL]


@pytest.mark.parametrize("number", LACKING)
def test_a_share_that_flushes_nothing_is_written_to_with_one_warning(tmp_path, number):
    run = python(
        "import os; from Classes.common import atomic_files\n"
        "def refuse(descriptor):\n"
        f"    raise OSError({number}, 'refused')\n"
        "os.fsync = refuse\n"
        "for name in 'abc':\n"
        f"    atomic_files.write_atomic({str(tmp_path)!r} + '/' + name, 'content')\n"
    )
    assert names(tmp_path) == ["a", "b", "c"]
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_flush_that_fails_is_an_error_that_names_the_file(tmp_path, monkeypatch, number):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError) as caught:
        atomic_files.write_atomic(tmp_path / "a", "content")
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "a"))
    assert names(tmp_path) == []
