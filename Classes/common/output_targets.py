"""What an output path stands for: a file that can be replaced, or a device, a pipe or an open file to write into."""

import errno
import os
import pathlib
import re
import sys
import time
from typing import IO

from Classes.common import file_system
from Classes.common.errors import system_reason

# Seconds: how long to wait for a program that reads from a pipe, and the pause between two attempts.
READER_TIMEOUT, PAUSE = 600, 0.1


def replaceable_target(path: str | os.PathLike[str]) -> pathlib.Path | None:
    """Return the file that can be replaced to write to a path.

    Args:
      path: its symbolic links are followed; it need not exist.
    Returns:
      None for a device, a pipe, a socket or an open file of a process, which can only be written in place.
    Raises:
      OSError: the links form a loop.
    """
    path = _end(path)
    if _is_descriptor(path) or str(path.parent) == "/dev":
        return None
    return None if path.exists() and not (path.is_file() or path.is_dir()) else path


def rotation_arguments(path: str | os.PathLike[str], most: int) -> tuple[str | os.PathLike[str], str, int]:
    """Return path, mode and maximum bytes for logging.handlers.RotatingFileHandler.

    With them the handler renames neither a link nor a device.

    Args:
      path: the log file.
      most: bytes per file before the next one starts.
    """
    target = replaceable_target(path)
    return (path, "a", 0) if target is None else (target, "a", most)


def is_writable_in_place(path: str | os.PathLike[str]) -> bool:
    """Return whether a path for which `replaceable_target` is None can be written in place."""
    end = _end(path)
    # os.access would check the file behind the descriptor, which may be another user's pipe.
    return _is_own(end) or os.access(end, os.W_OK)


def is_only_writable_in_place(path: pathlib.Path) -> bool:
    """Return whether a file is writable, but not its folder, so that it can only be written in place."""
    return path.is_file() and os.access(path, os.W_OK) and not os.access(path.parent, os.W_OK | os.X_OK)


def open_in_place(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a device, a pipe, an open file or a file for writing in place."""
    end = _end(path)
    if not _is_descriptor(end):
        return _reached(end)
    if _is_own(end):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        # Opening it again would overwrite the beginning of a file that a shell redirects to.
        return open(os.dup(int(end.name)), "wb")
    return open(end, "ab")


def _reached(path: pathlib.Path) -> IO[bytes]:
    """Open a path for writing in place; wait up to READER_TIMEOUT seconds for a reader of a pipe."""
    # Without O_CREAT: a mistyped name in /dev would become a file there.
    flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    deadline = time.monotonic() + READER_TIMEOUT
    while path.is_fifo():
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
            os.set_blocking(descriptor, True)
            return open(descriptor, "wb")
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() >= deadline:
                raise
            file_system.warn_once("%s: waiting for a program that reads from it (%s).", path, system_reason(error))
            time.sleep(PAUSE)
    return open(os.open(path, flags), "wb")


def _end(path: str | os.PathLike[str]) -> pathlib.Path:
    """Follow symbolic links, but not /proc/self/fd/1, whose target has no usable name."""
    path = pathlib.Path(path)
    for _ in range(40):
        if _is_descriptor(path) or not path.is_symlink():
            return path
        path = pathlib.Path(os.path.realpath(path.parent), path.readlink())
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_descriptor(path: pathlib.Path) -> bool:
    return re.fullmatch(r"/dev/fd|/proc/\d+(/task/\d+)?/fd", os.path.realpath(path.parent)) is not None


def _is_own(path: pathlib.Path) -> bool:
    """Return whether a path is a file descriptor of this process."""
    return path.name.isdecimal() and os.path.realpath(path.parent) in ("/dev/fd", f"/proc/{os.getpid()}/fd")
