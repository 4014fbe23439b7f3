"""One line of JSON a request in Logs/Access.log, for machines; ten files of 10 MiB at most."""

import contextlib
import datetime
import json
import logging
import logging.handlers
import sys

from Classes.common import atomic_files


class AccessLog(logging.handlers.RotatingFileHandler):
    """The file; JSON writes every character outside ASCII, and every control character, as its number.

    Args:
      folder: pathlib.Path of the log folder, which is made when it is missing.
    """

    def __init__(self, folder):
        atomic_files.make(folder)
        super().__init__(*atomic_files.rotated(folder / "Access.log", 10 << 20), backupCount=9, encoding="ascii")
        self._broken = False

    def write(self, **fields):
        """Write one request's line; a full disk is told once and never stops an answer."""
        if self._broken:
            return
        time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, **fields})
        self.handle(logging.LogRecord("Access", logging.INFO, "", 0, line, None, None))

    def handleError(self, record):  # noqa: N802 logging's name
        self._broken = True
        reason = sys.exc_info()[1]
        with contextlib.suppress(OSError):
            self.close()
        logging.getLogger("ClassifierServer").warning(
            "%s: %s; requests are no longer logged", self.baseFilename, reason
        )
