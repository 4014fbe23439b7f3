"""Where a result comes from: saved with every run and in the model card."""

import datetime
import importlib.metadata
import platform
import re
import subprocess

from Classes.common.paths import PROJECT

PACKAGES = ("tensorflow", "tf_keras", "tf-slim", "openvino", "numpy", "pillow", "scikit-learn", "scipy")


def run_metadata(configuration):
    """What a run was made with.

    Args:
      configuration: Configuration, saved as it was in force.
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
    """Return the version in pyproject.toml."""
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    # Python 3.10 has no tomllib.
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else "unknown"


def utc_now_iso(timespec: str = "seconds") -> str:
    """Return the current time in UTC as ISO 8601 text; `timespec` as in datetime.isoformat."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec=timespec)


def package_versions():
    """{"python": ..., package: version} of what is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit():
    """The checkout's commit, with `+changes` where files differ from it; None where git or a checkout is missing."""
    try:
        command = ["git", "-C", str(PROJECT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
