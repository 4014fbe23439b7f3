import os
import subprocess
import sys
import time

import pytest

from Classes.common import atomic_files, locks, temp_files
from Classes.Helpers import PROJECT
from tests.support.folders import names
from tests.support.processes import python


def test_sweep_removes_what_a_kill_left_and_nothing_of_the_users(tmp_path):
    (tmp_path / ".graph.pb.0123456789ab.tmp").touch()
    (tmp_path / ".shards.0123456789ab.tmp").mkdir()
    (tmp_path / ".shards.0123456789ab.tmp" / "half").touch()
    (tmp_path / "mine.tmp").touch()
    (tmp_path / ".mine.tmp").touch()
    (tmp_path / ".hidden").touch()
    temp_files.remove_stale_temp_files(tmp_path)
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
            folder = temp_files.temp_path_for(tmp_path / "shards")
            folder.mkdir()
            with locks.folder_lock(tmp_path):
                pass
            assert folder.is_dir()
        other.communicate("\n")
    assert (tmp_path / "rows.csv").read_text() == "theirs"
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize(("age", "left"), [(60, 1), (3 * 86400, 0)])
def test_what_another_machine_writes_is_left_for_a_day(tmp_path, monkeypatch, age, left):
    monkeypatch.setattr(temp_files, "host_id", lambda: "0123abcd")
    path = temp_files.temp_path_for(tmp_path / "graph.pb")
    monkeypatch.undo()
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    temp_files.remove_stale_temp_files(tmp_path)
    assert len(names(tmp_path)) == left


def test_what_a_process_of_the_same_number_left_is_removed(tmp_path, monkeypatch):
    # In a container the first process always has the number 1.
    monkeypatch.setattr(temp_files, "PROCESS", "abcdef")
    temp_files.temp_path_for(tmp_path / "graph.pb").touch()
    monkeypatch.undo()
    temp_files.remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == []


def test_sweep_does_not_follow_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept" / ".link.0123456789ab.tmp").symlink_to(tmp_path / "kept")
    temp_files.remove_stale_temp_files(tmp_path / "swept")
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
    temp_files.remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == []
