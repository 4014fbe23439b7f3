"""Atomic files: written to a temporary file, flushed, then renamed, so that a reader never sees half a file."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from Classes.common import file_system, output_targets, temp_files


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
    file_system.make_folder(path.parent)
    target = output_targets.replaceable_target(path)
    temporary = None
    with contextlib.ExitStack() as stack:
        try:
            into = into and target is not None and output_targets.is_only_writable_in_place(target)
            if target is None or into:
                temporary = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ALL-")), "content")
            else:
                temporary = temp_files.temp_path_for(target)
                stack.callback(temporary.unlink, missing_ok=True)
            temporary.touch(exist_ok=False)
            yield temporary
            file_system.fsync_path(temporary)
            move_into_place(temporary, path, into)
            if target is not None:
                file_system.fsync_path(target if into else target.parent)
        except OSError as error:
            if error.errno is None or error.filename not in (None, str(temporary)):
                raise
            # Python names no file if the disk is full, and the temporary name means nothing to the user.
            raise OSError(error.errno, error.strerror, str(temp_files.final_path(path))) from error


def move_into_place(made: str | os.PathLike[str], path: str | os.PathLike[str], into: bool = False) -> None:
    """Move a complete file to `path`, as `atomic_replace` does.

    Args:
      made: the file; it is gone afterwards.
      path: replaced, or written in place if it cannot be replaced.
      into: always write in place.
    Raises:
      OSError: it cannot be written.
    """
    made, target = pathlib.Path(made), output_targets.replaceable_target(path)
    if target is not None and not into:
        try:
            made.replace(target)
            return
        except OSError as error:
            # A bind-mounted file, as in containers, cannot be the target of a rename.
            if error.errno not in (errno.EBUSY, errno.EXDEV):
                raise
    with open(made, "rb") as content, output_targets.open_in_place(path) as sink:
        shutil.copyfileobj(content, sink)
    made.unlink()


def write_atomic(path: str | os.PathLike[str], content: bytes | str, into: bool = False) -> None:
    """Write bytes or UTF-8 text atomically; `into` as for `atomic_replace`."""
    with atomic_replace(path, into) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
