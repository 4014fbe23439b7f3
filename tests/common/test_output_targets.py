import errno
import os
import pathlib
import stat
import subprocess
import sys
import threading

import pytest

from Classes.common import atomic_files, output_targets
from Classes.Helpers import PROJECT
from tests.support import waiting
from tests.support.folders import names
from tests.support.processes import python

WRITING = (
    "from Classes.common import atomic_files; print('before'); "
    "atomic_files.write_atomic({!r}, 'rows\\n'); print('after')"
)


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "real.csv").write_text("old")
    (tmp_path / "first.csv").symlink_to("second.csv")
    (tmp_path / "second.csv").symlink_to(pathlib.Path("share", "real.csv"))
    (tmp_path / "new.csv").symlink_to(tmp_path / "share" / "new.csv")
    atomic_files.write_atomic(tmp_path / "first.csv", "rows")
    atomic_files.write_atomic(tmp_path / "new.csv", "new rows")
    assert (tmp_path / "first.csv").readlink() == pathlib.Path("second.csv")
    assert (tmp_path / "second.csv").readlink() == pathlib.Path("share", "real.csv")
    assert (tmp_path / "share" / "real.csv").read_text() == "rows"
    assert (tmp_path / "share" / "new.csv").read_text() == "new rows"
    assert names(tmp_path) == ["first.csv", "new.csv", "second.csv", "share"]
    assert names(tmp_path / "share") == ["new.csv", "real.csv"]


@pytest.mark.parametrize("target", ["loop", "not-mounted/rows.csv"])
def test_a_link_to_nowhere_is_an_error_that_makes_nothing(tmp_path, target):
    (tmp_path / "loop").symlink_to(tmp_path / target)
    with pytest.raises(OSError) as caught:
        atomic_files.write_atomic(tmp_path / "loop", "rows")
    assert caught.value.errno in (errno.ELOOP, errno.ENOENT)
    assert caught.value.filename == str(tmp_path / "loop")
    assert names(tmp_path) == ["loop"]


def test_a_pipe_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        got = []
        reader = threading.Thread(target=lambda got=got: got.append((tmp_path / "pipe").read_text()))
        reader.start()
        atomic_files.write_atomic(tmp_path / name, "x" * 200_000)
        reader.join(waiting.LIMIT)
        assert got == ["x" * 200_000]
        assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["link", "pipe"]


def test_a_pipe_that_nobody_reads_from_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(output_targets, "READER_TIMEOUT", 0.2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError) as caught:
        atomic_files.write_atomic(tmp_path / "pipe", "rows")
    assert caught.value.errno == errno.ENXIO
    assert caught.value.filename == str(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def device(path, minor):
    """A device of one's own: never the system's, which a wrong line would replace."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        path.write_bytes(b"")
    except OSError:
        pytest.skip("only root makes devices")
    return path


def test_a_device_stays_a_device(tmp_path):
    null = device(tmp_path / "null", 3)
    for name in ("null", "link"):
        (tmp_path / "link").exists() or (tmp_path / "link").symlink_to("null")
        atomic_files.write_atomic(tmp_path / name, "rows")
        assert null.is_char_device()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "null"]


def test_a_full_device_is_named_and_stays(tmp_path):
    full = device(tmp_path / "full", 7)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_files.write_atomic(full, "rows")
    assert caught.value.filename == str(full)
    assert full.is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_the_output_is_written_where_it_stands(tmp_path, name):
    (tmp_path / "link").symlink_to("/dev/stdout")
    script = WRITING.format(str(tmp_path / name))
    assert python(script).stdout == "before\nrows\nafter\n"
    (tmp_path / "out").write_text("kept\n")
    for mode, expected in (("a", "kept\nbefore\nrows\nafter\n"), ("w", "before\nrows\nafter\n")):
        with open(tmp_path / "out", mode) as out:
            subprocess.run([sys.executable, "-c", script], cwd=PROJECT, stdout=out, check=True)
        assert (tmp_path / "out").read_text() == expected
    assert names(tmp_path) == ["link", "out"]


def test_a_mistyped_device_is_no_new_file():
    with pytest.raises(OSError) as caught:
        atomic_files.write_atomic("/dev/no-such-device", "rows")
    assert caught.value.filename == "/dev/no-such-device"
    assert not pathlib.Path("/dev/no-such-device").exists()


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_cannot_be_renamed_onto_is_written_into(tmp_path, monkeypatch, number):
    # As a file that a container mounts by itself.
    (tmp_path / "rows.csv").write_text("an older and longer content")
    inode = (tmp_path / "rows.csv").stat().st_ino

    def refuse(path, target):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(pathlib.Path, "replace", refuse)
    atomic_files.write_atomic(tmp_path / "rows.csv", "rows")
    assert (tmp_path / "rows.csv").read_text() == "rows"
    assert (tmp_path / "rows.csv").stat().st_ino == inode
    assert names(tmp_path) == ["rows.csv"]


def test_a_writable_file_in_a_folder_that_is_not_is_written_into(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("old")
    really = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path) and really(path, mode))
    inode = (tmp_path / "rows.csv").stat().st_ino
    atomic_files.write_atomic(tmp_path / "rows.csv", "rows", into=True)
    assert (tmp_path / "rows.csv").read_text() == "rows"
    assert (tmp_path / "rows.csv").stat().st_ino == inode
