"""Parse one HTTP request as it arrives: check its headers before the body is read, and bound the memory of all bodies.

It extends waitress's parser; http_server.py says why.
"""

import threading
import time
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error, RequestEntityTooLarge

from Classes.serving import api_errors

if TYPE_CHECKING:
    from Classes.serving.http_server import Connection


class MemoryBudget:
    """Bounds the memory that the bodies of all requests use together.

    Attributes:
      free: bytes that are not reserved.
    """

    def __init__(self, size: int):
        self.free = size
        self._lock = threading.Lock()

    def reserve(self, size: int) -> bool:
        """Reserve `size` bytes if they are free; return whether they were."""
        with self._lock:
            granted = size <= self.free
            self.free -= size * granted
        return granted

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        with self._lock:
            self.free += size


class RequestTimeoutError(Error):
    """The headers of a request did not arrive in time."""

    code, reason = 408, "Request Timeout"


class RequestParser(HTTPRequestParser):
    """Parses one request as it arrives, and lets the application check its headers before the body is read.

    Attributes:
      arrived: time.monotonic() when the first byte arrived.
      header_check: see app.HEADER_CHECK; not set before the check.
      discards_rest: whether the rest of the request is not read, and the connection is closed after the response.
    """

    header_check: Exception | None
    discards_rest = False
    # Of waitress: the first error, whether the request is complete, the body, and "Expect: 100-continue".
    error: Error | None
    completed: bool
    body_rcv: Any
    expect_continue: bool
    _checked = False
    _reserved = 0

    def __init__(self, channel: "Connection", adjustments: Adjustments):
        super().__init__(adjustments)
        self.arrived = time.monotonic()
        self._channel = channel

    def received(self, data: bytes) -> int:
        """Check the headers as soon as they are complete; return the number of bytes that were used."""
        consumed = super().received(data)
        if self.headers_finished and not self._checked:
            self._checked = True
            self._check_headers()
        elif isinstance(self.error, RequestEntityTooLarge):
            self.reject("body_too_large")
        self._reserve_memory()
        return len(data) if self.discards_rest else consumed

    def reject(self, code: str, retry_after: int | None = None) -> None:
        """Stop reading, and let the application answer with an error."""
        self.header_check = api_errors.ApiError(code, api_errors.ERROR_CODES[code][1], retry_after)
        self._discard_rest()

    def expire(self) -> None:
        """Reject a request that took too long to arrive."""
        if self.headers_finished:
            self.reject("request_timeout")
        else:
            self.parse_header(b"GET / HTTP/1.0\r\n")
            self.error, self.completed = RequestTimeoutError(""), True

    def close(self) -> None:
        """Release the reserved memory, too."""
        super().close()
        self._channel.server.budget.release(self._reserved)
        self._reserved = 0

    def _check_headers(self) -> None:
        """Let the application check a request with a body; one without a body is checked when it is its turn."""
        if self.body_rcv is None or not isinstance(self.error, (type(None), RequestEntityTooLarge)):
            return
        environ = self._channel.task_class(self._channel, self).get_environment()
        self.header_check, needs_body = self._channel.server.application.check_headers(environ)
        if not needs_body:
            self._discard_rest()

    def _reserve_memory(self) -> None:
        """Reserve memory for the body: at once if its size is known, otherwise as its chunks arrive."""
        if self.body_rcv is None or self.error:
            return
        size = len(self.body_rcv)
        if size > self._channel.server.max_body:
            self.reject("body_too_large")
            return
        more = max(self.content_length, size) - self._reserved
        if more > 0 and not self._channel.server.budget.reserve(more):
            self.reject("busy", retry_after=1)
        elif more > 0:
            self._reserved += more

    def _discard_rest(self) -> None:
        self.close()
        # Without a body the request is complete, even if the client waits for "100 Continue".
        self.body_rcv, self.error, self.expect_continue = None, None, False
        self.completed = self.discards_rest = True
