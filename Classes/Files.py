"""Files that are whole or not there: written beside, flushed, renamed."""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
import re
import secrets
import shutil

from Classes.Errors import ALLError


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`; on success it is flushed and renamed onto `path`, else removed.

    Args:
      path: the file to replace; its folder is made when it is missing.
    Raises:
      OSError: naming `path`. Whoever gives the temporary path to a library has to know that it tells of a full disk:
        Pillow does not.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        # What Python says of a full disk names no file, and ours for the time being is of no use to anybody.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def beside(path):
    """A name for the time being in the folder of `path`, which `sweep` knows if its writer is killed."""
    # Not by tempfile, whose files nobody but their owner may read. A file name has 255 bytes at most.
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.tmp")


def write(path, content):
    """Write bytes or text to `path` as a whole."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path, content):
    """Write `content` as indented JSON; NaN and infinity are refused, since JSON has neither."""
    write(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sealed(content):
    """A dict with the hash of the rest of it as `content_sha256`."""
    rest = {key: value for key, value in content.items() if key != "content_sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return {**rest, "content_sha256": digest}


def intact(content):
    """Whether a dict is as it was when it was `sealed`; one without a hash is older, or was changed on purpose."""
    return "content_sha256" not in content or content["content_sha256"] == sealed(content)["content_sha256"]


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
        values = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("too many brackets in one another") from error
    if "\\ud" in text.lower():
        # Half a character can be spelled, but neither shown nor written nor be part of a file's name.
        json.dumps(values, ensure_ascii=False).encode()
    return values


def _finite(text):
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text):
    raise ValueError(f"{text} is no JSON number")


def flush(path):
    """Make a file's content, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path):
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        # hashlib.file_digest needs Python 3.11.
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sweep(folder):
    """Remove what a killed run left under names of `beside` in a folder that nobody else writes into."""
    for leftover in pathlib.Path(folder).glob(".*.tmp"):
        if not re.fullmatch(r".+\.[0-9a-f]{12}\.tmp", leftover.name):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(folder, wait=False):
    """Hold `folder` for this process, so that two runs never write into it at once; what a killed one left is swept.

    Args:
      folder: made when it is missing.
      wait: for another process that holds it, which is right where that takes but a moment.
    Raises:
      ALLError: another process holds it. The system frees the lock when its holder dies.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ALLError(f"{folder}: another run is writing here; wait for it or stop it first") from error
        sweep(folder)
        yield
