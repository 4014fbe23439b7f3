import errno
import hashlib
import json
import os
import pathlib
import stat
import threading

import pytest

from Classes import Files
from Classes.Errors import ALLError
from tests.processes import python


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_text("old")
    with Files.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert names(tmp_path) == ["graph.pb"]


def test_missing_folders_are_made(tmp_path):
    Files.write(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_goes_wrong_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "card.json"
    path.write_text("old")
    with pytest.raises(type(error)), Files.replacing(path) as temporary:
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
        "from Classes import Files\n"
        f"Files.write({str(tmp_path / 'big')!r}, bytes(5000))\n"
    )
    run = python(script)
    assert "File too large" in run.stderr
    assert (tmp_path / "big").read_text() == "old"
    assert names(tmp_path) == ["big"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_users_umask_decides_who_reads_a_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        Files.write(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["x" * 250, "細" * 80])
def test_the_longest_names_are_written_too(tmp_path, name):
    Files.write(tmp_path / name, "text")
    assert names(tmp_path) == [name]


def test_bytes_and_text_are_written_as_they_are(tmp_path):
    Files.write(tmp_path / "bytes", b"\x00\xff\r\n")
    Files.write(tmp_path / "text", "Größe\n")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff\r\n"
    assert (tmp_path / "text").read_bytes() == "Größe\n".encode()


def test_json_is_readable_by_people_and_machines(tmp_path):
    Files.write_json(tmp_path / "a.json", {"name": "Größe", "values": [1, 0.5]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Größe", "values": [1, 0.5]}
    assert "Größe" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        Files.write_json(tmp_path / "a.json", {"accuracy": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [0, 3, (1 << 20) + 1])
def test_sha256_is_that_of_the_content(tmp_path, size):
    content = b"abc" * (size // 3 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert Files.sha256(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_sweep_removes_what_a_kill_left_and_nothing_of_the_users(tmp_path):
    (tmp_path / ".graph.pb.0123456789ab.tmp").touch()
    (tmp_path / ".shards.0123456789ab.tmp").mkdir()
    (tmp_path / ".shards.0123456789ab.tmp" / "half").touch()
    (tmp_path / "mine.tmp").touch()
    (tmp_path / ".mine.tmp").touch()
    (tmp_path / ".hidden").touch()
    Files.sweep(tmp_path)
    assert names(tmp_path) == [".hidden", ".mine.tmp", "mine.tmp"]


def test_sweep_does_not_follow_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept" / ".link.0123456789ab.tmp").symlink_to(tmp_path / "kept")
    Files.sweep(tmp_path / "swept")
    assert names(tmp_path / "swept") == []
    assert names(tmp_path / "kept") == ["file"]


def test_a_killed_write_leaves_what_sweep_finds(tmp_path):
    script = (
        "import os, signal; from Classes import Files\n"
        f"with Files.replacing({str(tmp_path / 'card.json')!r}) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    python(script)
    assert len(names(tmp_path)) == 1
    Files.sweep(tmp_path)
    assert names(tmp_path) == []


def test_who_holds_a_folder_has_swept_it(tmp_path):
    (tmp_path / ".card.json.0123456789ab.tmp").touch()
    with Files.lock(tmp_path):
        assert names(tmp_path) == [".lock"]


def test_a_lock_can_be_waited_for(tmp_path):
    done = []

    def second():
        with Files.lock(tmp_path, wait=True):
            done.append("second")

    with Files.lock(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        done.append("first")
    waiting.join(10)

    assert done == ["first", "second"]


def test_two_runs_never_write_into_one_folder(tmp_path):
    script = f"from Classes import Files\nwith Files.lock({str(tmp_path)!r}): print('in')"
    with Files.lock(tmp_path):
        other = python(script)
        with pytest.raises(ALLError, match="another run is writing here; wait for it"), Files.lock(tmp_path):
            pytest.fail("was locked twice")
    assert str(pathlib.Path(tmp_path)) in other.stderr
    assert python(script).stdout == "in\n"


def test_a_killed_run_leaves_no_lock(tmp_path):
    script = (
        "import os, signal; from Classes import Files\n"
        f"with Files.lock({str(tmp_path)!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    python(script)
    with Files.lock(tmp_path):
        assert (tmp_path / ".lock").exists()
