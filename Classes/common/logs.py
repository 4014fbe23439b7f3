"""The log on the terminal and in a file, and the progress bar."""

import contextlib
import logging
import logging.handlers
import numbers
import os
import sys
from collections.abc import Iterable

from Classes.common import file_system, output_targets, progress_bar, terminal, translation
from Classes.common.config import Configuration
from Classes.common.errors import error_reason, escape_control_chars, system_reason
from Classes.common.translation import Message
from Classes.common.translation import gettext as _

# Loggers whose debug lines go to the file only.
DEBUG_LOGGERS = ("Movidius", "Trainer")

MAX_BYTES = 10 << 20

# `log.warning(…, extra=LOG_ONLY)`: not on a terminal, which shows the same in its own form.
LOG_ONLY = {"log_only": True}


class _Formatter(logging.Formatter):
    """The historic line forms, with control characters escaped: raw ones in a file name could forge lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s - %(name)s - %(levelname)s - %(message)s")
        self._tensorflow = logging.Formatter("%(levelname)s:%(name)s:%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        # Kept with the record, because the file asks twice for it and the terminal once.
        line: str | None = getattr(record, "line", None)
        if line is None:
            text = self._tensorflow.format(record) if record.name == "tensorflow" else super().format(record)
            line = record.__dict__["line"] = escape_control_chars(text)
        return line


class OutputHandler(logging.Handler):
    """Writes the historic lines to standard output, or shows warnings and errors on a terminal.

    What else a terminal shows is not in the log but in calls of terminal.py.
    """

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        if not terminal.is_active():
            print(self.format(record), file=sys.stdout)
        elif record.levelno >= logging.WARNING and not getattr(record, "log_only", False):
            severe = record.levelno >= logging.ERROR
            # Also from a thread that has another language, such as one that answers a request.
            with translation.use_language(self._language):
                form = _("Error: {text}") if severe else _("Warning: {text}")
                text = form.format(text=escape_control_chars(_localized(record)))
            terminal.say(text, "red" if severe else "yellow")


def _localized(record: logging.LogRecord) -> str:
    """Return the message of a record in the reader's language; the catalogue has warnings and errors."""
    text = translation.text_of(record.msg)
    form = translation.localize(text) if isinstance(text, translation.Message) else _(text)
    if not isinstance(record.args, tuple):
        return form % record.args if record.args else form
    values = [value if isinstance(value, numbers.Number) else translation.localize(value) for value in record.args]
    return form % tuple(values) if values else form


class _FileHandler(logging.handlers.RotatingFileHandler):
    """A log file that reports once that it cannot be written, for example on a full disk; the run continues."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 logging's name
        """Return whether a line does not fit into the file.

        The original looks twice at the path for each line to see what kind of file it is, which takes as long as the
        writing; `rotation_arguments` has found that out.
        """
        if self.maxBytes <= 0:
            return False
        if self.stream is None:
            self.stream = self._open()
        size = os.fstat(self.stream.fileno()).st_size
        # A line that is longer than a file may be must not move an empty one aside.
        return size > 0 and size + len(self.format(record)) >= self.maxBytes

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 logging's name
        """Stop writing to the file and say why."""
        error, root = sys.exc_info()[1], logging.getLogger()
        reason = error_reason(error) if error else ""
        root.removeHandler(self)
        with contextlib.suppress(OSError):
            self.close()
        root.warning("%s: %s; from here on only the terminal shows the log", self.baseFilename, reason)


def start_log(configuration: Configuration, name: str) -> logging.Logger:
    """Send the log to the terminal and to `Logs/<name>.log` (at most ten files of 10 MiB), and set the language.

    A second call replaces the first, so that no line appears twice.

    Args:
      configuration: `Logs` and `Language` are used.
      name: the script, such as "Trainer"; also the name of the logger that is returned.
    """
    translation.set_language(configuration.language)
    handlers: list[logging.Handler] = [OutputHandler(configuration.language)]
    problem = None
    try:
        file_system.make_folder(configuration.logs)
        file, mode, most = output_targets.rotation_arguments(configuration.logs / f"{name}.log", MAX_BYTES)
        handlers.append(_FileHandler(file, mode, most, backupCount=9, encoding="utf-8"))
    except OSError as error:
        problem = Message(
            "{folder}: {reason}; this run is logged to the terminal only",
            folder=configuration.logs,
            reason=system_reason(error),
        )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(_Formatter())
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    handlers[0].setLevel(logging.INFO)
    for logger in DEBUG_LOGGERS:
        logging.getLogger(logger).setLevel(logging.DEBUG)
    log = logging.getLogger(name)
    if problem:
        log.warning(problem)
    log.info("Helpers class initialization complete.")
    if configuration.ignored:
        log.info("Configuration keys without effect: %s. Remove them.", ", ".join(configuration.ignored))
    return log


def progress(
    iterable: Iterable | None = None, *, total: int | None = None, desc: str = "", unit: str = ""
) -> progress_bar.ProgressBar:
    """Return a progress bar with the time left, see ProgressBar; it is silent if the output is not a terminal."""
    return progress_bar.ProgressBar(iterable, total=total, desc=desc, unit=unit)
