"""Atomic files: written to a temporary file, flushed, then renamed. Locks: one run at a time writes to a folder."""

import contextlib
import errno
import functools
import hashlib
import json
import logging
import math
import os
import pathlib
import platform
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from Classes.common.errors import ALLError

try:
    import fcntl
except ImportError:
    # Windows, where Client.py works too.
    fcntl = None  # type: ignore[assignment]


# Errors of a file system that does not support a function, such as locks or fsync on a folder: network shares (NFS,
# CIFS, vboxsf, sshfs, Lustre) and other FUSE mounts.
LACKING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.ENOTTY, errno.EBADF}

# Errors of a place that must not be written to, such as a folder that is mounted read-only.
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# Seconds: how long to wait for a lock, the pause between two attempts, and the age at which a temporary file of another
# machine counts as abandoned, since it is unknown whether its process still runs.
PATIENCE, PAUSE, ABANDONED = 600, 0.1, 86400

# Distinguishes this process from an earlier one with the same number, which is common in containers.
PROCESS = secrets.token_hex(3)

log = logging.getLogger("Files")

_held = threading.local()

# A name made by `temp_path_for`: final name and process. Names without a process come from an earlier version.
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}(?:\.(\d+)-([0-9a-f]{6})-([0-9a-f]{8}))?\.tmp")


@contextlib.contextmanager
def atomic_replace(path: str | os.PathLike[str], into: bool = False) -> Iterator[pathlib.Path]:
    """Yield a temporary path. On success its content is flushed and replaces `path`; otherwise it is removed.

    The temporary file lies in the same folder and is renamed, so that `path` is complete at any time. A symbolic link
    stays, and its target is replaced. Devices, pipes, /dev/stdout and bind-mounted files cannot be replaced and are
    written in place.

    Args:
      path: the file to replace; its folder is created if it is missing.
      into: also write a file in place if its folder is not writable; the file is incomplete meanwhile.
    Raises:
      OSError: names `path`. A library that writes to the temporary path must report a full disk; Pillow does not.
    """
    path = pathlib.Path(path)
    make(path.parent)
    target = followed(path)
    temporary = None
    with contextlib.ExitStack() as stack:
        try:
            into = into and target is not None and _only_into(target)
            if target is None or into:
                temporary = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ALL-")), "content")
            else:
                temporary = temp_path_for(target)
                stack.callback(temporary.unlink, missing_ok=True)
            temporary.touch(exist_ok=False)
            yield temporary
            fsync_path(temporary)
            put(temporary, path, into)
            if target is not None:
                fsync_path(target if into else target.parent)
        except OSError as error:
            if error.errno is None or error.filename not in (None, str(temporary)):
                raise
            # Python names no file if the disk is full, and the temporary name means nothing to the user.
            raise OSError(error.errno, error.strerror, str(final(path))) from error


def put(made: str | os.PathLike[str], path: str | os.PathLike[str], into: bool = False) -> None:
    """Move a complete file to `path`, as `atomic_replace` does.

    Args:
      made: the file; it is gone afterwards.
      path: replaced, or written in place if it cannot be replaced.
      into: always write in place.
    Raises:
      OSError: it cannot be written.
    """
    made, target = pathlib.Path(made), followed(path)
    if target is not None and not into:
        try:
            made.replace(target)
            return
        except OSError as error:
            # A bind-mounted file, as in containers, cannot be the target of a rename.
            if error.errno not in (errno.EBUSY, errno.EXDEV):
                raise
    with open(made, "rb") as content, _into(path) as sink:
        shutil.copyfileobj(content, sink)
    made.unlink()


def followed(path: str | os.PathLike[str]) -> pathlib.Path | None:
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


def rotated(path: str | os.PathLike[str], most: int) -> tuple[str | os.PathLike[str], str, int]:
    """Return path, mode and maximum bytes for logging.handlers.RotatingFileHandler.

    With them the handler renames neither a link nor a device.

    Args:
      path: the log file.
      most: bytes per file before the next one starts.
    """
    target = followed(path)
    return (path, "a", 0) if target is None else (target, "a", most)


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


def takes(path: str | os.PathLike[str]) -> bool:
    """Return whether a path for which `followed` is None can be written in place."""
    end = _end(path)
    # os.access would check the file behind the descriptor, which may be another user's pipe.
    return _is_own(end) or os.access(end, os.W_OK)


def _only_into(path: pathlib.Path) -> bool:
    """Return whether a file is writable, but not its folder, so that it can only be written in place."""
    return path.is_file() and os.access(path, os.W_OK) and not os.access(path.parent, os.W_OK | os.X_OK)


def _into(path: str | os.PathLike[str]) -> IO[bytes]:
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
    """Open a path for writing in place; wait up to PATIENCE seconds for a reader of a pipe."""
    # Without O_CREAT: a mistyped name in /dev would become a file there.
    flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    deadline = time.monotonic() + PATIENCE
    while path.is_fifo():
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
            os.set_blocking(descriptor, True)
            return open(descriptor, "wb")
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() >= deadline:
                raise
            _warn_once("%s: waiting for a program that reads from it (%s).", path, error.strerror)
            time.sleep(PAUSE)
    return open(os.open(path, flags), "wb")


def make(folder: str | os.PathLike[str]) -> None:
    """Create a folder and its parents if they are missing.

    Raises:
      OSError: it cannot be created, or it is a link to a missing folder, such as one on a share that is not mounted.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if folder.is_symlink() and not folder.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.path.realpath(folder)) from error
        raise


def temp_path_for(path: pathlib.Path) -> pathlib.Path:
    """Return a temporary name beside `path`; `remove_stale_temp_files` removes it if its writer was killed."""
    # Not tempfile, whose files only their owner can read. A file name has 255 bytes at most.
    name = _final_name(path.name)[:50]
    return path.with_name(f".{name}.{secrets.token_hex(6)}.{os.getpid()}-{PROCESS}-{_place()}.tmp")


@functools.cache
def _place() -> str:
    """Identify the host and process namespace, within which process numbers are unique, as 8 hexadecimal digits."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = str(pathlib.Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


def final(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return the path that a file will have once it and its folders are renamed from their temporary names."""
    return pathlib.Path(*map(_final_name, pathlib.Path(path).parts))


def _final_name(name: str) -> str:
    # A temporary file inside a temporary folder can have a nested name.
    while found := TEMPORARY.fullmatch(name):
        name = found[1]
    return name


def write_atomic(path: str | os.PathLike[str], content: bytes | str, into: bool = False) -> None:
    """Write bytes or UTF-8 text atomically; `into` as for `atomic_replace`."""
    with atomic_replace(path, into) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: str | os.PathLike[str], content: Any, into: bool = False) -> None:
    """Write indented JSON atomically; ValueError for NaN and infinity, which JSON does not have."""
    write_atomic(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", into)


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with the SHA-256 of all other entries as `content_sha256`."""
    rest = {key: value for key, value in content.items() if key != "content_sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return {**rest, "content_sha256": digest}


def checksum_ok(content: Mapping[str, Any]) -> bool:
    """Return whether the checksum matches; a dict without one is older or was changed on purpose, and passes."""
    return "content_sha256" not in content or bool(
        content["content_sha256"] == with_checksum(content)["content_sha256"]
    )


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file strictly.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not JSON in UTF-8, or it has NaN, infinity, an overflowing number, a lone surrogate or too deep
        nesting.
    """
    return parse_json(pathlib.Path(path).read_text(encoding="utf-8-sig"))


def parse_json(text: str) -> Any:
    """Parse JSON text as strictly as `read_json`."""
    try:
        values = json.loads(text, parse_constant=_reject_constant, parse_float=_parse_finite_float)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():
        # A lone surrogate can be escaped in JSON, but can neither be printed nor written nor be part of a file name.
        json.dumps(values, ensure_ascii=False).encode()
    return values


def _parse_finite_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _reject_constant(text)


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def fsync_path(path: str | os.PathLike[str]) -> None:
    """Flush a file's content, or a folder's entries, to disk, as far as the file system supports it.

    Raises:
      OSError: names `path`: its content cannot be written.
    """
    is_folder = pathlib.Path(path).is_dir()
    try:
        # Windows flushes only files that are open for writing.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" and not is_folder else os.O_RDONLY)
    except OSError:
        if is_folder:
            # Windows cannot open folders, and no system opens a folder that may be written to but not listed.
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in LACKING:
            raise OSError(error.errno, error.strerror, str(path)) from error
        # One warning per file system, not per folder.
        key = os.fstat(descriptor).st_dev
        _warn_once("%s: this file system flushes no folders (%s). A power cut may lose it.", path, error.strerror, key)
    finally:
        os.close(descriptor)


@functools.cache
def _warned(key: str | int, message: str) -> list[bool]:
    """Return one list per key and message; it is empty until the message is logged."""
    return []


def _warn_once(message: str, path: str | os.PathLike[str], reason: str | None, key: int | None = None) -> None:
    """Log a warning once per key, or per path."""
    told = _warned(key or str(path), message)
    if not told:
        told.append(True)
        log.warning(message, path, reason)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        # hashlib.file_digest needs Python 3.11.
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_stale_temp_files(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files of killed runs from a folder; those of running processes stay."""
    for leftover in pathlib.Path(folder).glob(".*.tmp"):
        # A file that cannot be removed, such as one that NFS keeps while it is open, does no harm.
        with contextlib.suppress(OSError):
            if not _is_left(leftover):
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)


def _is_left(path: pathlib.Path) -> bool:
    """Return whether a path is a temporary file whose writer has ended."""
    parts = TEMPORARY.fullmatch(path.name)
    if not parts or not parts[2]:
        # A name without a process comes from an earlier version.
        return parts is not None
    if parts[4] != _place() or os.name == "nt":
        return time.time() - path.lstat().st_mtime > ABANDONED
    if int(parts[2]) == os.getpid():
        return parts[3] != PROCESS
    return not _is_running(int(parts[2]))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    try:
        # A zombie still has its number.
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return True


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str], wait: bool = False) -> Iterator[None]:
    """Lock a folder for this run, so that two runs never write to it at once, and remove stale temporary files.

    The lock is re-entrant under any name of the folder: all outputs of a run may share one. On a file system without
    locks a warning is logged instead. The system frees the lock when its holder dies.

    Args:
      folder: created if it is missing.
      wait: wait up to PATIENCE seconds for another run. Use it only for locks that are held for a moment.
    Raises:
      ALLError: `folder_in_use`: another run holds the lock.
      OSError: names `folder`: it is not writable.
    """
    folder = pathlib.Path(folder)
    make(folder)
    # Per process, since a forked child holds no lock.
    held = _held.__dict__.setdefault(str(os.getpid()), [])
    with contextlib.ExitStack() as stack:
        if not any(_is_same(folder, other) for other in held):
            stack.enter_context(_locked(folder, wait))
            remove_stale_temp_files(folder)
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


def _locked(folder: pathlib.Path, wait: bool) -> contextlib.AbstractContextManager[Any]:
    """Return the locked file of a folder; the caller closes it. Without locks, return a context without effect."""
    reason: str | None = "no locks on this system"
    deadline = time.monotonic() + (PATIENCE if wait else 0)
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
                        f"{folder}: another run is writing here. Wait for it or stop it first.", code="folder_in_use"
                    ) from error
                time.sleep(PAUSE)
            elif error.errno == errno.ESTALE and stale < 3:
                stale += 1
            else:
                reason = error.strerror
                break
    _warn_once("%s: cannot be locked (%s). Make sure that no other run writes there.", folder, reason)
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
