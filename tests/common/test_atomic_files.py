import errno
import os
import stat

import pytest

from Classes.common import atomic_files
from tests.support.folders import names
from tests.support.processes import python


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_text("old")
    with atomic_files.atomic_replace(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert names(tmp_path) == ["graph.pb"]


def test_missing_folders_are_made(tmp_path):
    atomic_files.write_atomic(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_goes_wrong_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "card.json"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_files.atomic_replace(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["card.json"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "big").write_text("old")
    # A limit on a file's size is the one full disk that needs neither root nor a mount.
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from Classes.common import atomic_files\n"
        f"atomic_files.write_atomic({str(tmp_path / 'big')!r}, bytes(5000))\n"
    )
    run = python(script)
    assert "File too large" in run.stderr
    assert (tmp_path / "big").read_text() == "old"
    assert names(tmp_path) == ["big"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_users_umask_decides_who_reads_a_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        atomic_files.write_atomic(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["x" * 250, "細" * 80])
def test_the_longest_names_are_written_too(tmp_path, name):
    atomic_files.write_atomic(tmp_path / name, "text")
    assert names(tmp_path) == [name]


def test_bytes_and_text_are_written_as_they_are(tmp_path):
    atomic_files.write_atomic(tmp_path / "bytes", b"\x00\xff\r\n")
    atomic_files.write_atomic(tmp_path / "text", "Größe\n")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff\r\n"
    assert (tmp_path / "text").read_bytes() == "Größe\n".encode()
