"""Locks of folders: one run at a time writes to a folder."""

import contextlib
import errno
import math
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from Classes.common import file_system, temp_files
from Classes.common.errors import ALLError, system_reason
from Classes.common.translation import Message

try:
    import fcntl
except ImportError:
    # Windows, where Client.py works too.
    fcntl = None  # type: ignore[assignment]

# Seconds: how long to wait for a lock, and the pause between two attempts.
LOCK_TIMEOUT, PAUSE = 600, 0.1

_held = threading.local()


@contextlib.contextmanager
def folder_lock(
    folder: str | os.PathLike[str], wait: bool = False, on_wait: Callable[[], object] | None = None
) -> Iterator[None]:
    """Lock a folder for this run, so that two runs never write to it at once, and remove stale temporary files.

    The lock is re-entrant under any name of the folder: all outputs of a run may share one. On a file system without
    locks a warning is logged instead. The system frees the lock when its holder dies.

    Args:
      folder: created if it is missing.
      wait: wait up to LOCK_TIMEOUT seconds for another run. Use it only for locks that are held for a moment.
      on_wait: called before waiting for another run as long as it takes; it says what this one waits for.
    Raises:
      ALLError: `folder_in_use`: another run holds the lock.
      OSError: names `folder`: it is not writable.
    """
    folder = pathlib.Path(folder)
    file_system.make_folder(folder)
    # Per process, since a forked child holds no lock.
    held = _held.__dict__.setdefault(str(os.getpid()), [])
    with contextlib.ExitStack() as stack:
        if not any(_is_same(folder, other) for other in held):
            stack.enter_context(_wait_for_lock(folder, on_wait) if on_wait else _locked(folder, LOCK_TIMEOUT * wait))
            temp_files.remove_stale_temp_files(folder)
        held.append(folder)
        stack.callback(held.remove, folder)
        try:
            yield
        except OSError as error:
            # "Input/output error" without a file would not help the user.
            if error.errno is not None and error.filename is None and not isinstance(error, ConnectionError):
                error.filename = str(folder)
            raise


def _is_same(folder: pathlib.Path, other: pathlib.Path) -> bool:
    try:
        return folder.samefile(other)
    except OSError:
        return False


def _wait_for_lock(folder: pathlib.Path, on_wait: Callable[[], object]) -> contextlib.AbstractContextManager[Any]:
    try:
        return _locked(folder, 0)
    except ALLError:
        on_wait()
        return _locked(folder, math.inf)


def _locked(folder: pathlib.Path, timeout: float) -> contextlib.AbstractContextManager[Any]:
    """Return the locked file of a folder; the caller closes it. Without locks, return a context without effect."""
    reason: str | None = "no locks on this system"
    deadline = time.monotonic() + timeout
    stale = 0
    while fcntl is not None:
        file = _open_lock(folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            file.close()
            # CIFS reports EACCES if another process holds the lock.
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES):
                if time.monotonic() >= deadline:
                    raise ALLError(
                        Message("{folder}: another run is writing here. Wait for it or stop it first.", folder=folder),
                        code="folder_in_use",
                    ) from error
                time.sleep(PAUSE)
            elif error.errno == errno.ESTALE and stale < 3:
                stale += 1
            else:
                reason = system_reason(error)
                break
    file_system.warn_once("%s: cannot be locked (%s). Make sure that no other run writes there.", folder, reason)
    return contextlib.nullcontext()


def _open_lock(folder: pathlib.Path) -> IO[str]:
    path = folder / ".lock"
    try:
        return open(path, "a")
    except PermissionError as error:
        # The file belongs to another user who shares the folder; read access is enough to lock it.
        if os.access(folder, os.W_OK | os.X_OK):
            with contextlib.suppress(OSError):
                return open(path)
        raise PermissionError(error.errno, error.strerror, str(folder)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
