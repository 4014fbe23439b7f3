"""Files that are whole or not there: written beside, flushed, renamed. Folders that one run at a time writes into."""

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

from Classes.common.errors import ALLError

try:
    import fcntl
except ImportError:
    # Windows, where Client.py works too.
    fcntl = None


# What a file system answers that lacks a function, such as locks or the flushing of a folder: network shares (NFS,
# CIFS, vboxsf, sshfs, Lustre) and other FUSE mounts.
LACKING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.ENOTTY, errno.EBADF}

# What the system answers if a place may not be written, such as a folder that is mounted read-only.
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# Seconds that a lock is waited for, between two attempts to get it, and until a temporary file of another machine, of
# which nobody here can tell whether it still runs, counts as left behind.
PATIENCE, PAUSE, ABANDONED = 600, 0.1, 86400

# Tells this process from one that had the same number before, which in a container is usual.
PROCESS = secrets.token_hex(3)

log = logging.getLogger("Files")

_held = threading.local()

# A name that `beside` makes: of what, and of which process; one without a process is of an earlier version.
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}(?:\.(\d+)-([0-9a-f]{6})-([0-9a-f]{8}))?\.tmp")


@contextlib.contextmanager
def atomic_replace(path, into=False):
    """Yield a temporary path; on success its content is flushed and becomes that of `path`, else it is removed.

    The temporary file lies beside `path` and is renamed, so that `path` is whole at any time. A symbolic link stays and
    what it points to is replaced. What cannot be replaced is written into: devices, pipes, /dev/stdout, and a file
    that is mounted by itself.

    Args:
      path: the file to replace; its folder is made when it is missing.
      into: also write into a file of a folder that may not be written, which is not whole meanwhile.
    Raises:
      OSError: naming `path`. Whoever gives the temporary path to a library has to know that it reports a full disk:
        Pillow does not.
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
            # What Python reports of a full disk names no file, and the temporary one means nothing to the user.
            raise OSError(error.errno, error.strerror, str(final(path))) from error


def put(made, path, into=False):
    """Make the content of a whole file that of `path`, as `replacing` does.

    Args:
      made: a file, which is gone afterwards.
      path: what is replaced, or written into if it cannot be replaced.
      into: never replace it.
    Raises:
      OSError: it cannot be written.
    """
    made, target = pathlib.Path(made), followed(path)
    if target is not None and not into:
        try:
            made.replace(target)
            return
        except OSError as error:
            # A file that is mounted by itself, as containers do, cannot be renamed onto.
            if error.errno not in (errno.EBUSY, errno.EXDEV):
                raise
    with open(made, "rb") as content, _into(path) as sink:
        shutil.copyfileobj(content, sink)
    made.unlink()


def followed(path):
    """The file that a path means, which may be replaced.

    Args:
      path: a path whose symbolic links are followed; it need not exist.
    Returns:
      pathlib.Path, or None for a device, a pipe, a socket or an open file of a process, which can only be written into.
    Raises:
      OSError: the links lead in a circle.
    """
    path = _end(path)
    if _is_descriptor(path) or str(path.parent) == "/dev":
        return None
    return None if path.exists() and not (path.is_file() or path.is_dir()) else path


def rotated(path, most):
    """What logging.handlers.RotatingFileHandler gets for a log, so that it renames neither a link nor a device.

    Args:
      path: where the log goes.
      most: bytes of a file, before the next one begins.
    Returns:
      (path, mode, bytes).
    """
    target = followed(path)
    return (path, "a", 0) if target is None else (target, "a", most)


def _end(path):
    """The last name in a chain of symbolic links; what lies behind /proc/self/fd/1 has no name that counts."""
    path = pathlib.Path(path)
    for _ in range(40):
        if _is_descriptor(path) or not path.is_symlink():
            return path
        path = pathlib.Path(os.path.realpath(path.parent), path.readlink())
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_descriptor(path):
    return re.fullmatch(r"/dev/fd|/proc/\d+(/task/\d+)?/fd", os.path.realpath(path.parent)) is not None


def _is_own(path):
    """Whether a path is a descriptor of this process."""
    return path.name.isdecimal() and os.path.realpath(path.parent) in ("/dev/fd", f"/proc/{os.getpid()}/fd")


def takes(path):
    """Whether what cannot be replaced (`followed` is None) can be written into."""
    end = _end(path)
    # The system would judge the file behind the descriptor, which may be another user's pipe.
    return _is_own(end) or os.access(end, os.W_OK)


def _only_into(path):
    """Whether a file can be written into, but not be replaced, since nothing may be created beside it."""
    return path.is_file() and os.access(path, os.W_OK) and not os.access(path.parent, os.W_OK | os.X_OK)


def _into(path):
    """A device, a pipe, an open file or a file as it is there, open for writing."""
    end = _end(path)
    if not _is_descriptor(end):
        return _reached(end)
    if _is_own(end):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        # Opened anew, a file that a shell redirects to would be written from its beginning.
        return open(os.dup(int(end.name)), "wb")
    return open(end, "ab")


def _reached(path):
    """The same of what has a name of its own; a pipe is there for PATIENCE seconds until somebody reads from it."""
    # Never created: a mistyped name in /dev would become a file there.
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


def make(folder):
    """Make a folder, and those above it, where it is missing.

    Raises:
      OSError: it cannot be made, or is a link to a folder that is not there, such as one of a share not mounted.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if folder.is_symlink() and not folder.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.path.realpath(folder)) from error
        raise


def temp_path_for(path):
    """A temporary name in the folder of `path`, which `sweep` removes if its writer has been killed."""
    # Not by tempfile, whose files nobody but their owner may read. A file name has 255 bytes at most.
    name = _final_name(path.name)[:50]
    return path.with_name(f".{name}.{secrets.token_hex(6)}.{os.getpid()}-{PROCESS}-{_place()}.tmp")


@functools.cache
def _place():
    """Eight hexadecimal digits that tell apart where process numbers mean different processes."""
    try:
        namespace = pathlib.Path("/proc/self/ns/pid").readlink()
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


def final(path):
    """The path that a file gets when it and the folders it is made in are renamed from their names of `beside`."""
    return pathlib.Path(*map(_final_name, pathlib.Path(path).parts))


def _final_name(name):
    # A file that replaces another within such a folder may have been made anew itself.
    while found := TEMPORARY.fullmatch(name):
        name = found[1]
    return name


def write_atomic(path, content, into=False):
    """Write bytes or text to `path` as a whole; `into` as for `replacing`."""
    with atomic_replace(path, into) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path, content, into=False):
    """Write `content` as indented JSON; NaN and infinity are refused, since JSON has neither."""
    write_atomic(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", into)


def with_checksum(content):
    """A dict with the hash of the rest of it as `content_sha256`."""
    rest = {key: value for key, value in content.items() if key != "content_sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return {**rest, "content_sha256": digest}


def checksum_ok(content):
    """Whether a dict is as it was when it was `sealed`; one without a hash is older, or was changed on purpose."""
    return "content_sha256" not in content or content["content_sha256"] == with_checksum(content)["content_sha256"]


def read_json(path):
    """The content of a JSON file; what no JSON file of ours can hold is refused.

    Raises:
      OSError: the file cannot be read.
      ValueError: no JSON in UTF-8, or with NaN, infinity, a number beyond any, half a character or endless brackets.
    """
    return parse_json(pathlib.Path(path).read_text(encoding="utf-8-sig"))


def parse_json(text):
    """As `read_json`, of a text."""
    try:
        values = json.loads(text, parse_constant=_reject_constant, parse_float=_parse_finite_float)
    except RecursionError as error:
        raise ValueError("too many brackets in one another") from error
    if "\\ud" in text.lower():
        # Half a character can be spelled, but neither shown nor written nor be part of a file's name.
        json.dumps(values, ensure_ascii=False).encode()
    return values


def _parse_finite_float(text):
    value = float(text)
    return value if math.isfinite(value) else _reject_constant(text)


def _reject_constant(text):
    raise ValueError(f"{text} is no JSON number")


def fsync_path(path):
    """Make a file's content, or a folder's entries, survive a power cut, as far as the file system can.

    Raises:
      OSError: naming `path`: its content could not be written.
    """
    is_folder = pathlib.Path(path).is_dir()
    try:
        # Windows flushes only what is open for writing.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" and not is_folder else os.O_RDONLY)
    except OSError:
        if is_folder:
            # Windows opens no folder, and nobody one that he may write into but not list.
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in LACKING:
            raise OSError(error.errno, error.strerror, str(path)) from error
        # One for each file system, not for each folder.
        key = os.fstat(descriptor).st_dev
        _warn_once("%s: this file system flushes no folders (%s). A power cut may lose it.", path, error.strerror, key)
    finally:
        os.close(descriptor)


@functools.cache
def _warned(key, message):
    """A list for each key and message, which is empty until the message is logged."""
    return []


def _warn_once(message, path, reason, key=None):
    """Log a warning, once for each `key`, or path."""
    told = _warned(key or str(path), message)
    if not told:
        told.append(True)
        log.warning(message, path, reason)


def sha256_file(path):
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        # hashlib.file_digest needs Python 3.11.
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_stale_temp_files(folder):
    """Remove what killed runs left in a folder under names of `beside`; what a living one still writes stays."""
    for leftover in pathlib.Path(folder).glob(".*.tmp"):
        # What cannot be removed, such as a file that NFS keeps while it is open, is in nobody's way.
        with contextlib.suppress(OSError):
            if not _is_left(leftover):
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)


def _is_left(path):
    """Whether a name is one of `beside` whose writer is no more."""
    parts = TEMPORARY.fullmatch(path.name)
    if not parts or not parts[2]:
        # Without a process in its name it is of an earlier version.
        return parts is not None
    if parts[4] != _place() or os.name == "nt":
        return time.time() - path.lstat().st_mtime > ABANDONED
    if int(parts[2]) == os.getpid():
        return parts[3] != PROCESS
    return not _is_running(int(parts[2]))


def _is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    try:
        # A killed process that nobody has waited for yet still has its number.
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return True


@contextlib.contextmanager
def folder_lock(folder, wait=False):
    """Hold `folder` for this run, so that two runs never write into it at once; what a killed one left is swept.

    Whoever holds it may take it again, under any name of the folder: all outputs of a run may go into one. On a file
    system without locks a warning is logged instead.

    Args:
      folder: made when it is missing.
      wait: for another run that holds it, PATIENCE seconds at most, which is right where that takes but a moment.
    Raises:
      ALLError: another run holds it (code "folder_in_use"). The system frees the lock when its holder dies.
      OSError: naming `folder`, if nothing can be written there.
    """
    folder = pathlib.Path(folder)
    make(folder)
    # By process, since a forked one holds nothing.
    held = _held.__dict__.setdefault(os.getpid(), [])
    with contextlib.ExitStack() as stack:
        if not any(_is_same(folder, other) for other in held):
            stack.enter_context(_locked(folder, wait))
            remove_stale_temp_files(folder)
        held.append(folder)
        stack.callback(held.remove, folder)
        try:
            yield
        except OSError as error:
            # "Input/output error" by itself helps nobody.
            if error.errno is not None and error.filename is None and not isinstance(error, ConnectionError):
                error.filename = str(folder)
            raise


def _is_same(folder, other):
    try:
        return folder.samefile(other)
    except OSError:
        return False


def _locked(folder, wait):
    """The locked file of a folder, to be closed by the caller; a context without effect if there are no locks."""
    deadline = time.monotonic() + (PATIENCE if wait else 0)
    stale = 0
    while fcntl is not None:
        file = _open_lock(folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            file.close()
            # CIFS says EACCES of what another one holds.
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES):
                if time.monotonic() >= deadline:
                    raise ALLError(
                        f"{folder}: another run is writing here; wait for it or stop it first", code="folder_in_use"
                    ) from error
                time.sleep(PAUSE)
            elif error.errno == errno.ESTALE and stale < 3:
                stale += 1
            else:
                reason = error.strerror
                break
    else:
        reason = "no locks on this system"
    _warn_once("%s: cannot be locked (%s). Make sure that no other run writes there.", folder, reason)
    return contextlib.nullcontext()


def _open_lock(folder):
    path = folder / ".lock"
    try:
        return open(path, "a")
    except PermissionError as error:
        # Of another user, who shares the folder: to lock it, reading is enough.
        if os.access(folder, os.W_OK | os.X_OK):
            with contextlib.suppress(OSError):
                return open(path)
        raise PermissionError(error.errno, error.strerror, str(folder)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
