"""The history of results, if `HistoryDays` is set: a table on disk, without images and without file names."""

import contextlib
import errno
import logging
import os
import pathlib
import sqlite3
import threading
import time
from typing import Any

from Classes.common import file_system, provenance
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.translation import Message
from Classes.serving.predictor import PredictionResult

# Seconds between two deletions of old rows.
_PURGE_INTERVAL = 3600

# {column: SQL type}
_COLUMNS = {
    "time": "TEXT", "sha256": "TEXT", "outcome": "TEXT", "reasons": "TEXT", "verdict": "TEXT", "class": "TEXT",
    "confidence": "REAL", "key": "TEXT", "model": "TEXT", "request_id": "TEXT", "model_name": "TEXT",
    "class_confidence": "REAL", "group": "TEXT",
}  # fmt: skip

# Columns that the files of older versions lack.
_ADDED = ("model_name", "class_confidence", "group")

# SQLite says so both without permission and on a read-only file system.
_READ_ONLY = "readonly database"

# {words of SQLite: number of the operating system's error that they stand for}
_SYSTEM_ERRORS = {
    "database or disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
}

# {other words of SQLite: why the file cannot be used}
_REASONS = {
    "file is not a database": Message("not a database, or damaged"),
    "malformed": Message("not a database, or damaged"),
    "locked": Message("in use by another program"),
    # A missing folder, no permission, or too many open files.
    "unable to open database file": Message("cannot be opened"),
}

_EMPTY = {"TEXT": "''", "REAL": "0"}

log = logging.getLogger("ClassifierServer")


def open_history(configuration: Configuration) -> "ResultHistory | None":
    """Open the history of `HistoryFile`; None if `HistoryDays` is 0.

    Raises:
      ConfigurationError: `history_unusable`.
    """
    if not configuration["HistoryDays"]:
        return None
    path = configuration.path("HistoryFile")
    try:
        return ResultHistory(path, configuration["HistoryDays"])
    except OSError as error:
        raise ConfigurationError(
            Message(
                "{path}: {reason}. Move the file away, change HistoryFile, or set HistoryDays=0.",
                path=path,
                reason=system_reason(error),
            ),
            code="history_unusable",
        ) from error


class ResultHistory:
    """One row per result, deleted after a number of days; thread-safe.

    SQLite writes without waiting for the disk: a power failure may lose the last rows, but never damages the file.

    Args:
      path: the file; its folder is created if it is missing. Several servers can share it.
      days: age in days at which rows are deleted.
    Raises:
      OSError: the file cannot be created, or is not a database.
    """

    def __init__(self, path: pathlib.Path, days: int):
        file_system.make_folder(path.parent)
        self._path, self._days, self._lock = path, days, threading.Lock()
        # The file shows which results a laboratory got, so only its owner may read it.
        os.close(os.open(self._path, os.O_CREAT, 0o600))
        self._next_purge, self._failed = 0.0, False
        try:
            self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            columns = ", ".join(map(_defined, _COLUMNS))
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS results (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns})"
            )
            self._add_columns()
            self._database.execute("CREATE INDEX IF NOT EXISTS by_key ON results (key, id)")
            self._purge()
        except sqlite3.Error as error:
            raise _system_error(self._path, error) from error

    def add(self, result: PredictionResult, model_name: str, model: str, request_id: str, key: str) -> None:
        """Append a row; after the first error, such as a full disk, log a warning and do nothing.

        Args:
          result: the prediction and the hash of its image.
          model_name: name of the model.
          model: SHA-256 of its graph.
          request_id: as in the access log.
          key: name of the client's API key, or "".
        """
        prediction = result.prediction
        row = (
            provenance.utc_now_iso("milliseconds"),
            result.sha256, prediction.outcome or "", " ".join(prediction.reasons),
            prediction.description, prediction.label, prediction.confidence, key, model, request_id, model_name,
            prediction.label_confidence, prediction.group,
        )  # fmt: skip
        with self._lock:
            if self._failed:
                return
            try:
                columns, marks = ", ".join(map(_quoted, _COLUMNS)), ", ".join("?" * len(_COLUMNS))
                self._database.execute(f"INSERT INTO results ({columns}) VALUES ({marks})", row)
                self._purge()
            except sqlite3.Error as error:
                self._failed = True
                reason = system_reason(_system_error(self._path, error))
                log.warning(
                    "%s: %s. Results are no longer added to the history; correct this and restart the server.",
                    self._path,
                    reason,
                )

    def read(self, limit: int, before: int | None = None, key: str = "", model_name: str = "") -> list[dict[str, Any]]:
        """Return rows as dicts, newest first, with "id".

        Args:
          limit: maximum number of rows.
          before: only rows with a smaller id; None: from the newest.
          key: only rows of this API key; "": of all.
          model_name: only rows of the model with this name; "": of all.
        Raises:
          OSError: the file cannot be read.
        """
        conditions = ["id < ?"] if before is not None else []
        values: list[Any] = [before] if before is not None else []
        for column, wanted in (("key", key), ("model_name", model_name)):
            if wanted:
                conditions.append(f"{column} = ?")
                values.append(wanted)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        columns = ("id", *_COLUMNS)
        try:
            with self._lock:
                self._purge()
                rows = self._database.execute(
                    f"SELECT {', '.join(map(_quoted, columns))} FROM results {where} ORDER BY id DESC LIMIT ?",
                    (*values, limit),
                ).fetchall()
        except sqlite3.Error as error:
            raise _system_error(self._path, error) from error
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        return [{**row, "reasons": row["reasons"].split(), "outcome": row["outcome"] or None} for row in found]

    def close(self) -> None:
        """Close the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._failed = True
            self._database.close()

    def _add_columns(self) -> None:
        """Add the columns that an older version did not have; their rows get an empty text."""
        known = {name for _, name, *_ in self._database.execute("PRAGMA table_info(results)")}
        for name in _ADDED:
            if name not in known:
                # Another server that shares the file may add it at the same time.
                with contextlib.suppress(sqlite3.OperationalError):
                    self._database.execute(f"ALTER TABLE results ADD COLUMN {_defined(name)}")

    def _purge(self) -> None:
        now = time.time()
        if now < self._next_purge:
            return
        self._next_purge = now + _PURGE_INTERVAL
        oldest = provenance.utc_iso(now - self._days * 86400, "milliseconds")
        self._database.execute("DELETE FROM results WHERE time < ?", (oldest,))


def _system_error(path: pathlib.Path, error: sqlite3.Error) -> OSError:
    """Return an error of SQLite as the operating system would report it."""
    for words, number in {**_SYSTEM_ERRORS, _READ_ONLY: _refusal(path)}.items():
        if words in str(error):
            return OSError(number, os.strerror(number), str(path))
    reason = next((reason for words, reason in _REASONS.items() if words in str(error)), str(error))
    return OSError(0, reason, str(path))


def _refusal(path: pathlib.Path) -> int:
    """Return the number of the operating system's error for a file that cannot be written."""
    # Windows has no statvfs.
    with contextlib.suppress(OSError, AttributeError):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return errno.EROFS
    return errno.EACCES


def _quoted(name: str) -> str:
    # "group" is a word of SQL.
    return f'"{name}"'


def _defined(name: str) -> str:
    return f"{_quoted(name)} {_COLUMNS[name]} NOT NULL DEFAULT {_EMPTY[_COLUMNS[name]]}"
