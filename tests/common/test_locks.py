import errno
import fcntl
import os
import pathlib
import threading

import pytest

from Classes.common import atomic_files, locks
from Classes.common.errors import ALLError
from tests.support import waiting
from tests.support.folders import names
from tests.support.processes import held, python

LOCKING = "from Classes.common import locks\nwith locks.folder_lock({!r}): print('in')"

# What file systems without locks report.
LACKING = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL]


def test_a_folder_that_is_a_link_to_nowhere_is_named(tmp_path):
    (tmp_path / "Logs").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(FileNotFoundError) as caught, locks.folder_lock(tmp_path / "Logs"):
        pytest.fail("was locked")
    assert caught.value.filename == str(tmp_path / "not-mounted")


def test_who_holds_a_folder_has_swept_it(tmp_path):
    (tmp_path / ".card.json.0123456789ab.tmp").touch()
    with locks.folder_lock(tmp_path):
        assert names(tmp_path) == [".lock"]


def test_a_lock_can_be_waited_for(tmp_path):
    done = []

    def second():
        with locks.folder_lock(tmp_path, wait=True):
            done.append("second")

    with locks.folder_lock(tmp_path):
        second_run = threading.Thread(target=second)
        second_run.start()
        second_run.join(0.2)
        done.append("first")
    second_run.join(waiting.LIMIT)

    assert done == ["first", "second"]


def test_two_runs_never_write_into_one_folder(tmp_path):
    script = LOCKING.format(str(tmp_path))
    with locks.folder_lock(tmp_path):
        other = python(script)
    assert other.stdout == ""
    assert str(tmp_path) in other.stderr
    with held(tmp_path), pytest.raises(ALLError) as refused, locks.folder_lock(tmp_path):
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
        with locks.folder_lock(tmp_path / "run"):
            with locks.folder_lock(tmp_path / name, wait=wait):
                pass
            # The inner end frees nothing.
            assert python(script).stdout == ""
    assert python(script).stdout == "in\n"


def test_a_forked_process_holds_nothing(tmp_path):
    script = (
        "import os, sys; from Classes.common import errors, locks\n"
        f"with locks.folder_lock({str(tmp_path)!r}):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        f"            with locks.folder_lock({str(tmp_path)!r}): os._exit(1)\n"
        "        except errors.ALLError: os._exit(7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert python(script).stdout == "7\n"


def test_who_waits_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_TIMEOUT", 0.2)
    with held(tmp_path), pytest.raises(ALLError) as refused, locks.folder_lock(tmp_path, wait=True):
        pytest.fail("was locked twice")
    assert refused.value.code == "folder_in_use"


def test_an_error_without_a_file_names_the_folder(tmp_path):
    with pytest.raises(OSError, match="Input/output error") as caught, locks.folder_lock(tmp_path):
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
    with locks.folder_lock(tmp_path):
        monkeypatch.undo()
        assert "in" not in python(LOCKING.format(str(tmp_path))).stdout


def test_a_killed_run_leaves_no_lock(tmp_path):
    script = (
        "import os, signal; from Classes.common import locks\n"
        f"with locks.folder_lock({str(tmp_path)!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    python(script)
    with locks.folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize("number", LACKING)
def test_a_share_without_locks_is_worked_on_with_one_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with locks.folder_lock(tmp_path), locks.folder_lock(tmp_path, wait=True):
            atomic_files.write_atomic(tmp_path / "card.json", "content")
    assert (tmp_path / "card.json").read_text() == "content"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert str(tmp_path) in warnings[0]


def test_what_another_run_holds_on_cifs_is_in_use(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ALLError) as refused, locks.folder_lock(tmp_path):
        pytest.fail("was locked")
    assert refused.value.code == "folder_in_use"


def test_a_stale_lock_file_is_opened_anew(tmp_path, monkeypatch):
    really, stale = fcntl.flock, [True]

    def once(file, operation):
        if stale:
            stale.pop()
            raise OSError(errno.ESTALE, "Stale file handle")
        really(file, operation)

    monkeypatch.setattr(fcntl, "flock", once)
    with locks.folder_lock(tmp_path):
        monkeypatch.undo()
        assert python(LOCKING.format(str(tmp_path))).stdout == ""


def test_a_system_without_locks_and_folders_to_open(tmp_path, monkeypatch):
    # Windows: no fcntl, and a folder cannot be opened.
    really = os.open

    def refuse(path, *rest, **named):
        if pathlib.Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, *rest, **named)

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(os, "open", refuse)
    with locks.folder_lock(tmp_path):
        atomic_files.write_atomic(tmp_path / "rows.csv", "rows")
    assert names(tmp_path) == ["rows.csv"]


def test_what_cannot_be_swept_stops_nobody(tmp_path, monkeypatch):
    (tmp_path / ".graph.pb.0123456789ab.tmp").touch()

    def refuse(path, missing_ok=False):
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(pathlib.Path, "unlink", refuse)
    with locks.folder_lock(tmp_path):
        assert (tmp_path / ".graph.pb.0123456789ab.tmp").exists()
