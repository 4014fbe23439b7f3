"""The access log, Logs/Access.log: one JSON object per request and line; at most ten files of 10 MiB."""

import contextlib
import json
import logging
import logging.handlers
import pathlib
import sys
from typing import Any

from Classes.common import file_system, output_targets, provenance


class AccessLog(logging.handlers.RotatingFileHandler):
    """The rotating log file in `folder`, which is created if it is missing.

    JSON escapes control characters and everything outside ASCII, so that no request can forge a line.
    """

    def __init__(self, folder: pathlib.Path):
        file_system.make_folder(folder)
        name, mode, max_bytes = output_targets.rotation_arguments(folder / "Access.log", 10 << 20)
        super().__init__(name, mode, max_bytes, backupCount=9, encoding="ascii")
        self._failed = False

    def write(self, **fields: Any) -> None:
        """Write the line of one request; after the first error, such as a full disk, do nothing."""
        if self._failed:
            return
        time = provenance.utc_now_iso("milliseconds")
        line = json.dumps({"time": time, **fields})
        self.handle(logging.LogRecord("Access", logging.INFO, "", 0, line, None, None))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 logging's name
        """Stop logging and warn once: a full disk must not fail a request."""
        self._failed = True
        reason = sys.exc_info()[1]
        with contextlib.suppress(OSError):
            self.close()
        logging.getLogger("ClassifierServer").warning(
            "%s: %s; requests are no longer logged", self.baseFilename, reason
        )
