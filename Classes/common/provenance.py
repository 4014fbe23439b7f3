"""Describe with which code, packages and configuration a result was made."""

import datetime
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

from Classes.common.paths import PROJECT

if TYPE_CHECKING:
    # It needs packages, and --version must work without any.
    from Classes.common.config import Configuration

PACKAGES = ("tensorflow", "tf_keras", "tf-slim", "openvino", "numpy", "pillow", "scikit-learn", "scipy")


def run_metadata(configuration: "Configuration") -> dict[str, Any]:
    """Return what is saved with every run and in the model card.

    Returns:
      dict for JSON: created (UTC, ISO 8601), commit (None outside a git checkout), versions, configuration.
    """
    return {
        "created": utc_now_iso(),
        "commit": git_commit(),
        "versions": package_versions(),
        "configuration": configuration.values,
    }


def version() -> str:
    """Return the version in pyproject.toml; "unknown" in a copy of the project without that file."""
    try:
        text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return "unknown"
    # Python 3.10 has no tomllib.
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else "unknown"


def utc_now_iso(timespec: str = "seconds") -> str:
    """Return the current time in UTC as ISO 8601 text; `timespec` as in datetime.isoformat."""
    return utc_iso(time.time(), timespec)


def utc_iso(seconds: float, timespec: str = "seconds") -> str:
    """Return seconds since 1970 as ISO 8601 text in UTC; `timespec` as in datetime.isoformat."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec=timespec)


def package_versions() -> dict[str, str]:
    """Return {"python": version, package: version} of the installed packages among PACKAGES."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the checkout's commit, with `+changes` if files differ from it; None without git or a checkout."""
    try:
        command = ["git", "-C", str(PROJECT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        # hashlib.file_digest needs Python 3.11.
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
