"""What differs between file systems: flushing to disk, errors of network shares, folders that must exist."""

import errno
import logging
import os
import pathlib

from Classes.common.errors import system_reason

# Errors of a file system that does not support a function, such as locks or fsync on a folder: network shares (NFS,
# CIFS, vboxsf, sshfs, Lustre) and other FUSE mounts.
LACKING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.ENOTTY, errno.EBADF}

# Errors of a place that must not be written to, such as a folder that is mounted read-only.
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

log = logging.getLogger("Files")

# (key or path, message) of the warnings that were logged.
_warned: set[tuple[str | int, str]] = set()


def make_folder(folder: str | os.PathLike[str]) -> None:
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
        reason = system_reason(error)
        warn_once("%s: this file system flushes no folders (%s). A power cut may lose it.", path, reason, key)
    finally:
        os.close(descriptor)


def warn_once(message: str, path: str | os.PathLike[str], reason: str | None, key: int | None = None) -> None:
    """Log a warning once per key, or per path."""
    entry = (key or str(path), message)
    if entry not in _warned:
        _warned.add(entry)
        log.warning(message, path, reason)
