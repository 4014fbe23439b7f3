import errno
import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import threading
import time

import pytest

from Classes.common import atomic_files
from Classes.common.errors import ALLError
from Classes.Helpers import PROJECT
from tests.support.processes import held, python


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


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


def test_a_folder_that_is_a_link_to_nowhere_is_named(tmp_path):
    (tmp_path / "Logs").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(FileNotFoundError) as caught, atomic_files.folder_lock(tmp_path / "Logs"):
        pytest.fail("was locked")
    assert caught.value.filename == str(tmp_path / "not-mounted")


def test_a_pipe_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        got = []
        reader = threading.Thread(target=lambda got=got: got.append((tmp_path / "pipe").read_text()))
        reader.start()
        atomic_files.write_atomic(tmp_path / name, "x" * 200_000)
        reader.join(30)
        assert got == ["x" * 200_000]
        assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["link", "pipe"]


def test_a_pipe_that_nobody_reads_from_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "PATIENCE", 0.2)
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


LOCKING = "from Classes.common import atomic_files\nwith atomic_files.folder_lock({!r}): print('in')"
WRITING = (
    "from Classes.common import atomic_files; print('before'); "
    "atomic_files.write_atomic({!r}, 'rows\\n'); print('after')"
)


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


def test_bytes_and_text_are_written_as_they_are(tmp_path):
    atomic_files.write_atomic(tmp_path / "bytes", b"\x00\xff\r\n")
    atomic_files.write_atomic(tmp_path / "text", "Größe\n")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff\r\n"
    assert (tmp_path / "text").read_bytes() == "Größe\n".encode()


def test_json_is_readable_by_people_and_machines(tmp_path):
    atomic_files.write_json(tmp_path / "a.json", {"name": "Größe", "values": [1, 0.5]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Größe", "values": [1, 0.5]}
    assert "Größe" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        atomic_files.write_json(tmp_path / "a.json", {"accuracy": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [0, 3, (1 << 20) + 1])
def test_sha256_is_that_of_the_content(tmp_path, size):
    content = b"abc" * (size // 3 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert atomic_files.sha256_file(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_sweep_removes_what_a_kill_left_and_nothing_of_the_users(tmp_path):
    (tmp_path / ".graph.pb.0123456789ab.tmp").touch()
    (tmp_path / ".shards.0123456789ab.tmp").mkdir()
    (tmp_path / ".shards.0123456789ab.tmp" / "half").touch()
    (tmp_path / "mine.tmp").touch()
    (tmp_path / ".mine.tmp").touch()
    (tmp_path / ".hidden").touch()
    atomic_files.remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == [".hidden", ".mine.tmp", "mine.tmp"]


def test_sweep_leaves_what_a_living_run_writes(tmp_path):
    script = (
        "import pathlib, sys; from Classes.common import atomic_files\n"
        f"with atomic_files.atomic_replace({str(tmp_path / 'rows.csv')!r}) as temporary:\n"
        "    temporary.write_text('theirs'); print('open', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with atomic_files.atomic_replace(tmp_path / "mine.csv") as mine:
            mine.write_text("mine")
            folder = atomic_files.temp_path_for(tmp_path / "shards")
            folder.mkdir()
            with atomic_files.folder_lock(tmp_path):
                pass
            assert folder.is_dir()
        other.communicate("\n")
    assert (tmp_path / "rows.csv").read_text() == "theirs"
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize(("age", "left"), [(60, 1), (3 * 86400, 0)])
def test_what_another_machine_writes_is_left_for_a_day(tmp_path, monkeypatch, age, left):
    monkeypatch.setattr("platform.node", lambda: "another-machine")
    atomic_files._place.cache_clear()
    path = atomic_files.temp_path_for(tmp_path / "graph.pb")
    monkeypatch.undo()
    atomic_files._place.cache_clear()
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    atomic_files.remove_stale_temp_files(tmp_path)
    assert len(names(tmp_path)) == left


def test_what_a_process_of_the_same_number_left_is_removed(tmp_path, monkeypatch):
    # In a container the first process always has the number 1.
    monkeypatch.setattr(atomic_files, "PROCESS", "abcdef")
    atomic_files.temp_path_for(tmp_path / "graph.pb").touch()
    monkeypatch.undo()
    atomic_files.remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == []


def test_sweep_does_not_follow_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept" / ".link.0123456789ab.tmp").symlink_to(tmp_path / "kept")
    atomic_files.remove_stale_temp_files(tmp_path / "swept")
    assert names(tmp_path / "swept") == []
    assert names(tmp_path / "kept") == ["file"]


def test_a_killed_write_leaves_what_sweep_finds(tmp_path):
    script = (
        "import os, signal; from Classes.common import atomic_files\n"
        f"with atomic_files.atomic_replace({str(tmp_path / 'card.json')!r}) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    python(script)
    assert len(names(tmp_path)) == 1
    atomic_files.remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == []


def test_who_holds_a_folder_has_swept_it(tmp_path):
    (tmp_path / ".card.json.0123456789ab.tmp").touch()
    with atomic_files.folder_lock(tmp_path):
        assert names(tmp_path) == [".lock"]


def test_a_lock_can_be_waited_for(tmp_path):
    done = []

    def second():
        with atomic_files.folder_lock(tmp_path, wait=True):
            done.append("second")

    with atomic_files.folder_lock(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        done.append("first")
    waiting.join(10)

    assert done == ["first", "second"]


def test_two_runs_never_write_into_one_folder(tmp_path):
    script = LOCKING.format(str(tmp_path))
    with atomic_files.folder_lock(tmp_path):
        other = python(script)
    assert other.stdout == ""
    assert str(tmp_path) in other.stderr
    with held(tmp_path), pytest.raises(ALLError) as refused, atomic_files.folder_lock(tmp_path):
        pytest.fail("was locked twice")
    assert refused.value.code == "folder_in_use"
    assert python(script).stdout == "in\n"


@pytest.mark.parametrize("wait", [False, True])
def test_all_outputs_of_a_run_may_go_into_one_folder(tmp_path, wait):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    script = LOCKING.format(str(tmp_path / "run"))
    for name in ("run", "link", "other/../run"):
        (tmp_path / "other").mkdir(exist_ok=True)
        with atomic_files.folder_lock(tmp_path / "run"):
            with atomic_files.folder_lock(tmp_path / name, wait=wait):
                pass
            # The inner end frees nothing.
            assert python(script).stdout == ""
    assert python(script).stdout == "in\n"


def test_a_forked_process_holds_nothing(tmp_path):
    script = (
        "import os, sys; from Classes.common import atomic_files\n"
        f"with atomic_files.folder_lock({str(tmp_path)!r}):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        f"            with atomic_files.folder_lock({str(tmp_path)!r}): os._exit(1)\n"
        "        except atomic_files.ALLError: os._exit(7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert python(script).stdout == "7\n"


def test_who_waits_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "PATIENCE", 0.2)
    with held(tmp_path), pytest.raises(ALLError) as refused, atomic_files.folder_lock(tmp_path, wait=True):
        pytest.fail("was locked twice")
    assert refused.value.code == "folder_in_use"


def test_an_error_without_a_file_names_the_folder(tmp_path):
    with pytest.raises(OSError, match="Input/output error") as caught, atomic_files.folder_lock(tmp_path):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.filename == str(tmp_path)


def test_a_lock_file_of_another_user_is_enough(tmp_path, monkeypatch):
    (tmp_path / ".lock").touch()
    really = open

    def refusing(path, mode="r", *rest, **named):
        if mode != "r" and os.fspath(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, mode, *rest, **named)

    monkeypatch.setattr("builtins.open", refusing)
    with atomic_files.folder_lock(tmp_path):
        monkeypatch.undo()
        assert "in" not in python(LOCKING.format(str(tmp_path))).stdout


def test_a_killed_run_leaves_no_lock(tmp_path):
    script = (
        "import os, signal; from Classes.common import atomic_files\n"
        f"with atomic_files.folder_lock({str(tmp_path)!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    python(script)
    with atomic_files.folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


LACKING = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL]


@pytest.mark.parametrize("number", LACKING)
def test_a_share_without_locks_is_worked_on_with_one_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic_files.fcntl, "flock", refuse)
    for _ in range(2):
        with atomic_files.folder_lock(tmp_path), atomic_files.folder_lock(tmp_path, wait=True):
            atomic_files.write_atomic(tmp_path / "card.json", "content")
    assert (tmp_path / "card.json").read_text() == "content"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert str(tmp_path) in warnings[0]


def test_what_another_run_holds_on_cifs_is_in_use(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic_files.fcntl, "flock", refuse)
    with pytest.raises(ALLError) as refused, atomic_files.folder_lock(tmp_path):
        pytest.fail("was locked")
    assert refused.value.code == "folder_in_use"


def test_a_stale_lock_file_is_opened_anew(tmp_path, monkeypatch):
    really, stale = atomic_files.fcntl.flock, [True]

    def once(file, operation):
        if stale:
            stale.pop()
            raise OSError(errno.ESTALE, "Stale file handle")
        really(file, operation)

    monkeypatch.setattr(atomic_files.fcntl, "flock", once)
    with atomic_files.folder_lock(tmp_path):
        monkeypatch.undo()
        assert python(LOCKING.format(str(tmp_path))).stdout == ""


@pytest.mark.parametrize("number", LACKING)
def test_a_share_that_flushes_nothing_is_worked_on(tmp_path, monkeypatch, caplog, number):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    atomic_files._warned.cache_clear()
    for name in ("a", "b", "c"):
        atomic_files.write_atomic(tmp_path / name, "content")
    assert names(tmp_path) == ["a", "b", "c"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_flush_that_fails_is_an_error_that_names_the_file(tmp_path, monkeypatch, number):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError) as caught:
        atomic_files.write_atomic(tmp_path / "a", "content")
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "a"))
    assert names(tmp_path) == []


def test_a_system_without_locks_and_folders_to_open(tmp_path, monkeypatch):
    # Windows: no fcntl, and a folder cannot be opened.
    really = os.open

    def refuse(path, *rest, **named):
        if pathlib.Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, *rest, **named)

    monkeypatch.setattr(atomic_files, "fcntl", None)
    monkeypatch.setattr(os, "open", refuse)
    with atomic_files.folder_lock(tmp_path):
        atomic_files.write_atomic(tmp_path / "rows.csv", "rows")
    assert names(tmp_path) == ["rows.csv"]


def test_what_cannot_be_swept_stops_nobody(tmp_path, monkeypatch):
    (tmp_path / ".graph.pb.0123456789ab.tmp").touch()

    def refuse(path, missing_ok=False):
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(pathlib.Path, "unlink", refuse)
    with atomic_files.folder_lock(tmp_path):
        assert (tmp_path / ".graph.pb.0123456789ab.tmp").exists()
