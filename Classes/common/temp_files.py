"""Names of temporary files, and the removal of those that killed runs left behind."""

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import re
import secrets
import shutil
import time

# Seconds after which a temporary file of another machine counts as abandoned, since it is unknown whether its process
# still runs.
ABANDONED = 86400

# Distinguishes this process from an earlier one with the same number, which is common in containers.
PROCESS = secrets.token_hex(3)

# A name made by `temp_path_for`: final name and process. Names without a process come from an earlier version.
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}(?:\.(\d+)-([0-9a-f]{6})-([0-9a-f]{8}))?\.tmp")


def temp_path_for(path: pathlib.Path) -> pathlib.Path:
    """Return a temporary name beside `path`; `remove_stale_temp_files` removes it if its writer was killed."""
    # Not tempfile, whose files only their owner can read. A file name has 255 bytes at most.
    name = _final_name(path.name)[:50]
    return path.with_name(f".{name}.{secrets.token_hex(6)}.{os.getpid()}-{PROCESS}-{host_id()}.tmp")


@functools.cache
def host_id() -> str:
    """Identify the host and process namespace, within which process numbers are unique, as 8 hexadecimal digits."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = str(pathlib.Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


def final_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return the path that a file will have once it and its folders are renamed from their temporary names."""
    return pathlib.Path(*map(_final_name, pathlib.Path(path).parts))


def _final_name(name: str) -> str:
    # A temporary file inside a temporary folder can have a nested name.
    while found := TEMPORARY.fullmatch(name):
        name = found[1]
    return name


def remove_stale_temp_files(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files of killed runs from a folder; files of running processes stay."""
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
    if parts[4] != host_id() or os.name == "nt":
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
