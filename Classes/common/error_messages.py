"""Turn what ended a run into one line for the user and an exit code."""

import errno
import logging
import os
import pathlib
import re
import traceback

from Classes.common.errors import ALLError, system_reason
from Classes.common.paths import PROJECT
from Classes.common.translation import Message

SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What to do about an error of the operating system, by its numbers.
REMEDIES = {
    SPACE: Message("free some space and run this again"),
    (errno.EACCES, errno.EPERM): Message("check who may read and write it and its folder, or use another path (--set)"),
    (errno.EROFS,): Message("use a path on a disk that can be written (--set)"),
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP): Message("check the path"),
    (errno.ENAMETOOLONG,): Message("use a shorter path"),
    (errno.EMFILE, errno.ENFILE): Message("allow more open files (ulimit -n)"),
    (errno.ENOMEM, errno.EAGAIN): Message("close other programs"),
    (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO): Message(
        "check the disk or the network share and run this again"
    ),
    (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL): Message(
        "its file system may not support this; use a folder on a local disk (--set)"
    ),
}
REMEDY = Message("check this path and run this again")


def error_message(error: Exception) -> tuple[str, int]:
    """Return (message, exit code) for the error that ended a run; the message is a Message if it can be translated."""
    return expected_error(error) or _package_error(error) or (_unexpected_error(error), 1)


def expected_error(error: Exception) -> tuple[str, int] | None:
    """Return the same for an error that is not a bug in the toolkit; None for a bug."""
    if isinstance(error, ALLError):
        return error.args[0], error.exit_code
    error = _from_tensorflow_error(error) or error
    if isinstance(error, OSError) and error.strerror:
        remedy = next((words for numbers, words in REMEDIES.items() if error.errno in numbers), REMEDY)
        place = error.filename or _unnamed(error)
        return Message("{place}: {reason}; {remedy}", place=place, reason=system_reason(error), remedy=remedy), 1
    if isinstance(error, MemoryError):
        return Message("not enough memory; close other programs, or lower BatchSize or Workers"), 1
    return None


def _unnamed(error: OSError) -> str:
    """Return where an error arose that names no file, as on the standard output and in some calls."""
    if error.errno in SPACE:
        return Message("writing")
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return Message("the system")
    return Message("line {line} of {file}", line=frames[-1].lineno, file=frames[-1].filename)


def _package_error(error: Exception) -> tuple[str, int] | None:
    """Return the same for an installed package that cannot be loaded, or None."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [index for index, frame in enumerate(frames) if "importlib._bootstrap" in frame.filename]
    if not isinstance(error, ImportError) and not places:
        return None
    names = [_package(frame.filename) for frame in frames[places[0] if places else 0 :]]
    name = next(filter(None, names), None) or (getattr(error, "name", None) or "").partition(".")[0]
    if not name and (statement := re.match(r"(?:from|import) (\w+)", frames[-1].line or "")):
        name = statement[1]
    if not name or (PROJECT / name).exists() or (PROJECT / f"{name}.py").exists():
        return None
    # TensorFlow's message contains a traceback; the line with the exception gives the reason.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = (line for line in lines if re.match(r"\w*Error: ", line))
    reason = [*named, *lines, type(error).__name__][0]
    return Message(
        "the package {name} cannot be loaded ({reason}); remove {venv} and run sh {setup} again, or see the supported "
        "systems in the README",
        name=name,
        reason=reason,
        venv=PROJECT / ".venv",
        setup=PROJECT / "Setup.sh",
    ), 1


def _package(path: str) -> str | None:
    """Return the installed package that a file belongs to, or None."""
    parts = pathlib.Path(path).parts
    for place in ("site-packages", "dist-packages"):
        if place in parts[:-1]:
            return parts[parts.index(place) + 1].removesuffix(".py")
    return None


def _unexpected_error(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = Message(
        "{kind} in {file}, line {line}: {error}; this is a defect of the toolkit, please report it",
        kind=type(error).__name__,
        file=pathlib.Path(last.filename).name,
        line=last.lineno,
        error=error,
    )
    log_file = _log_traceback(error)
    return Message("{message} with the end of {file}", message=message, file=log_file) if log_file else message


def _from_tensorflow_error(error: Exception) -> OSError | None:
    """Return the OSError that TensorFlow reports as text, such as "/path; No space left on device", or None."""
    if hasattr(error, "error_code"):
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
            reason = os.strerror(number)
            found = re.search(rf"(/[^;}}\n]*); {re.escape(reason)}", str(error))
            if found:
                return OSError(number, reason, found[1])
    return None


def _log_traceback(error: Exception) -> str:
    """Write the traceback to the log file line by line; return its name, or ""."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    if not files:
        return ""
    for line in "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines():
        files[0].handle(logging.LogRecord("Entry", logging.ERROR, __file__, 0, line, None, None))
    return files[0].baseFilename
