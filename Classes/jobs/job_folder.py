"""The folder of a job: its part files, which runs on several machines may share."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from Classes.common import file_system, json_files, temp_files
from Classes.common.errors import ALLError, ConfigurationError, system_reason
from Classes.common.translation import Message
from Classes.jobs import polling
from Classes.jobs.items import Unit

VERSION = 1

# The start of a part file after its checksum.
_START = f'{{"version":{VERSION},"results":'

# The result of an item that killed its worker twice.
KILLED = {"killed": True}

# Seconds: a network file system can hide a new file of another machine this long (acdirmax of NFS is 60 s).
PATIENCE = 90.0


class JobFolder:
    """The part files of one job.

    Args:
      path: a folder, created by `prepare`; all processes that compute for this job must see it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self._parts = self.path / "parts"

    def prepare(self, about: dict[str, Any]) -> None:
        """Make the folder, and write into it what the job is.

        Raises:
          ALLError: `not_writable`.
        """
        try:
            file_system.make_folder(self._parts)
            temp_files.remove_stale_temp_files(self._parts)
            if not (self.path / "job.json").exists():
                json_files.write_json(self.path / "job.json", {"version": VERSION, **about})
        except OSError as error:
            raise ALLError(
                Message(
                    "{folder}: {reason}. Set JobDir to a folder that can be written.",
                    folder=self.path,
                    reason=system_reason(error),
                ),
                "not_writable",
            ) from error

    def is_empty(self) -> bool:
        """Return whether no unit has a part file."""
        with os.scandir(self._parts) as entries:
            return next(entries, None) is None

    def is_finished(self, unit: Unit) -> bool:
        """Return whether a valid part file of a unit exists."""
        # Its results are not parsed, because they can be long.
        return self._read_content(unit) is not None

    def write(self, unit: Unit, results: Sequence[dict[str, Any]]) -> None:
        """Write the part file of a unit whole, or not at all; writing it again changes nothing.

        It is not flushed to the disk, which would take longer than many a unit: a killed process loses nothing, and
        after a power failure a damaged part file is noticed and computed again.

        Raises:
          OSError: the file cannot be written.
        """
        content = _START + json.dumps(list(results), allow_nan=False, separators=(",", ":")) + "}"
        path = self._path(unit)
        temporary = temp_files.temp_path_for(path)
        try:
            temporary.write_text(f"{_digest(content)}\n{content}", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, unit: Unit) -> list[dict[str, Any]] | None:
        """Return the results of a unit, one per item; None if its part file is missing or damaged."""
        content = self._read_content(unit)
        if content is None:
            return None
        results: list[dict[str, Any]] = json_files.parse_json(content)["results"]
        return results

    def _read_content(self, unit: Unit) -> str | None:
        try:
            digest, _, content = self._path(unit).read_text(encoding="utf-8").partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        return content if digest == _digest(content) and content.startswith(_START) else None

    def wait_for(self, unit: Unit, patience: float = PATIENCE) -> list[dict[str, Any]]:
        """Return the results of a unit that another machine has finished.

        Raises:
          ConfigurationError: `part_file_missing`: it does not appear within `patience` seconds.
        """
        if (results := self.read(unit)) is None:
            results = polling.poll(lambda: self._look_for(unit), patience)
        if results is None:
            raise ConfigurationError(
                Message(
                    "{folder}: a worker has finished {name}, but its part file is not there. All machines must "
                    "see this folder under the same path: set JobDir to a shared folder.",
                    folder=self.path,
                    name=unit.items[0].name,
                ),
                "part_file_missing",
            )
        return results

    def _look_for(self, unit: Unit) -> list[dict[str, Any]] | None:
        with contextlib.suppress(OSError):
            # Listing the folder makes a network file system look again.
            list(self._parts.iterdir())
        return self.read(unit)

    def remove(self) -> None:
        """Remove the folder; what cannot be removed does no harm."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _path(self, unit: Unit) -> pathlib.Path:
        return self._parts / f"{unit.key}.json"


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
