"""Pieces of a program in an interpreter of their own, for what cannot be tried inside the test's."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from Classes.common import locks
from Classes.Helpers import PROJECT
from tests.support import waiting


def python(script, arguments=(), **options):
    """Run `script` with the project importable; returns subprocess.CompletedProcess with texts."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, **options)


def pause(number):
    """Stop a process with SIGSTOP, and wait until none of its threads runs."""
    # Only here, since it is missing beside OpenVINO 2022.3.
    import psutil

    os.kill(number, signal.SIGSTOP)
    waiting.until(lambda: psutil.Process(number).status() == psutil.STATUS_STOPPED, "the process's stop")


@contextlib.contextmanager
def held(folder):
    """Another run holds `folder`: the lock is taken by another thread, since who has it may take it again."""
    taken, over = threading.Event(), threading.Event()

    def hold():
        with locks.folder_lock(folder):
            taken.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(waiting.LIMIT)
    try:
        yield
    finally:
        over.set()
        thread.join()
