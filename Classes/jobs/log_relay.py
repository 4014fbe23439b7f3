"""Log records from the process that computes a unit to the process that shows them."""

import contextlib
import logging
import numbers
from collections.abc import Iterable, Iterator
from typing import Any

from Classes.common import translation


class _Collector(logging.Handler):
    """Keeps records in a form that another process can receive."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(_portable(record))


def _portable(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy of a record without what cannot be sent, such as files and tracebacks."""
    args = record.args
    if isinstance(args, tuple):
        args = tuple(value if isinstance(value, numbers.Number) else translation.text_of(value) for value in args)
    kept = {name: getattr(record, name) for name in ("name", "levelno", "levelname", "created", "msecs")}
    message = translation.text_of(record.msg)
    return logging.makeLogRecord({**kept, "msg": message, "args": args, "log_only": _is_log_only(record)})


def _is_log_only(record: Any) -> bool:
    return bool(getattr(record, "log_only", False))


@contextlib.contextmanager
def collect_records() -> Iterator[list[logging.LogRecord]]:
    """Yield a list that receives what is logged inside of the context, instead of any other handler."""
    root, collector = logging.getLogger(), _Collector()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = [collector]
    root.setLevel(logging.INFO)
    try:
        yield collector.records
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def replay(records: Iterable[logging.LogRecord]) -> None:
    """Give records to the handlers of this process."""
    for record in records:
        logging.getLogger(record.name).handle(record)
