"""Check that a worker on another machine computes as this process would: same code, packages, files and folders."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from Classes.common import provenance
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.jobs import polling
from Classes.jobs.executor import Work
from Classes.jobs.items import Item
from Classes.jobs.run_job import PACKAGES, code_hash

# Seconds: a network file system can show a new file of another machine later.
PATIENCE = 10.0


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a worker must have.

    Attributes:
      software: {what: its version or hash}.
      folder: path of the job's folder.
      probe: name of a file in it.
      files: {path: size in bytes} of inputs and models; None for a folder that is written to.
    """

    software: Mapping[str, str]
    folder: str
    probe: str
    files: Mapping[str, int | None]


def software() -> dict[str, str]:
    """Return {what: version or hash} of all that can change a result or the protocol."""
    packages = {}
    for name in (*PACKAGES, "distributed"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "none"
    python = ".".join(map(str, sys.version_info[:2]))
    return {"toolkit": provenance.version(), "source code": code_hash()[:12], "Python": python, **packages}


def expect(work: Work, items: Iterable[Item]) -> Expected:
    """Return what the workers of a job must have, and write the file that they look for in its folder.

    Args:
      work: the job; the files that its settings name are models, and the folders are for its outputs.
      items: some of the job; the files that they name are inputs.
    Raises:
      OSError: the folder cannot be written.
    """
    probe = f"probe-{secrets.token_hex(8)}"
    (pathlib.Path(work.folder) / probe).touch()
    named = {*_paths(dict(work.settings)), *(path for item in items for path in _paths(item.data))}
    paths = [path for path in map(pathlib.Path, sorted(named)) if path.exists()]
    files = {str(path): path.stat().st_size if path.is_file() else None for path in paths}
    return Expected(software(), work.folder, probe, files)


def _paths(value: Any) -> Iterator[str]:
    """Yield the absolute paths in a JSON value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, str) and value.startswith(os.sep) and "\0" not in value:
        yield value


def check(expected: Expected) -> ConfigurationError | None:
    """Return the error that describes what this process lacks; None if it can compute.

    Returns:
      `cluster_versions`, or `cluster_folder` for a folder or file that it does not see.
    """
    here, own = platform.node(), software()
    differing = [name for name, version in expected.software.items() if own.get(name) != version]
    if differing:
        name = differing[0]
        return ConfigurationError(
            Message(
                "The worker on {worker} has {name} {own}, this run {version}. Install the same project and packages "
                "on all machines, and start the worker again.",
                worker=here,
                name=name,
                own=own.get(name, "none"),
                version=expected.software[name],
            ),
            "cluster_versions",
        )
    unseen = _unusable_folder(expected) or _unseen_file(expected.files)
    if unseen is None:
        return None
    return ConfigurationError(
        Message(
            "The worker on {worker} cannot use {path}. All machines must see the project, the images, the models and "
            "JobDir under the same paths: put them on a shared disk.",
            worker=here,
            path=unseen,
        ),
        "cluster_folder",
    )


def _unusable_folder(expected: Expected) -> str | None:
    """Return the job's folder if the probe is not in it, or nothing can be written to it."""
    probe = pathlib.Path(expected.folder) / expected.probe
    if not polling.poll(lambda: probe.exists() or None, PATIENCE):
        return expected.folder
    try:
        with tempfile.TemporaryFile(dir=expected.folder):
            return None
    except OSError:
        return expected.folder


def _unseen_file(files: Mapping[str, int | None]) -> str | None:
    for path, size in files.items():
        try:
            status = pathlib.Path(path).stat()
        except OSError:
            return path
        if size is not None and status.st_size != size:
            return path
    return None
