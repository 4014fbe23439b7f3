"""The HTTP server: waitress, extended by what it has no option for.

- Requests are rejected by their headers, before the body is read, and all errors are JSON from the application.
- Request bodies stay in memory, and the memory of all of them together is bounded.
- Slow requests end at the timeout.
- A stop answers every accepted request.

gunicorn's gthread worker does not do this. Measured with version 27.0.1: SIGTERM under load reset 38 of 255
connections, slow headers and bodies did not end at the timeout, 20 of them delayed a health check by 4.5 s, and a
client whose upload was rejected half-way could not read the response.

Only this module and http_request.py import waitress. They use attributes that waitress does not document, so run
tests/serving/test_http_server.py before changing the pinned version.
"""

import functools
import logging
import socket
import time
import uuid
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from Classes.common.config import Configuration
from Classes.serving import api_errors, app, http_request, task_threads
from Classes.serving.ports import ignore_new_connections, port_error

# Threads besides those for running and waiting requests; they reject requests and answer health checks.
SPARE_THREADS = 8

MAX_CONNECTIONS = 1000

# Seconds for which a stopping server keeps idle connections open for a request that is already on its way.
IDLE_GRACE_SECONDS = 0.3

# Bytes to read and discard after a request was rejected half-way. Closing a socket with unread bytes resets the
# connection, and the client would not see the response.
LINGERING_CLOSE_BYTES = 64 << 20

# Larger than any body, because waitress writes longer ones to temporary files.
NEVER = 1 << 62

log = logging.getLogger("ClassifierServer")


class ErrorResponseTask(ErrorTask):
    """Answers requests that waitress itself rejects, with the application's JSON."""

    def execute(self) -> None:
        """Answer with the JSON error of the application."""
        error = self.request.error
        code = api_errors.api_error_from_status(error.code, "").code
        response = self.channel.server.application.render_error(code, uuid.uuid4().hex, self.channel.addr[0])
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(response.headers.items())
        self.set_close_on_finish()
        self.content_length = len(response.data)
        self.channel.lingering_bytes = LINGERING_CLOSE_BYTES
        self.write(response.data)


class RequestTask(WSGITask):
    """Passes a request to the application; closes the connection afterwards if the server stops."""

    def build_response_header(self) -> bytes:
        """Close the connection after the response if the server stops or the request was not read to its end."""
        if self.request.discards_rest:
            self.channel.lingering_bytes = LINGERING_CLOSE_BYTES
        if self.request.discards_rest or self.channel.server.stopping:
            self.set_close_on_finish()
        return super().build_response_header()

    def finish(self) -> None:
        """Send the response at once; waitress would leave that to the thread of the event loop."""
        super().finish()
        self.channel.send_response()

    def get_environment(self) -> dict[str, Any]:
        """Add the arrival time, the result of the header check, and the original path."""
        environ = super().get_environment()
        # Waitress merges repeated slashes, but the application has to see the original path.
        environ["PATH_INFO"] = self.request.path
        environ[app.ARRIVED] = self.request.arrived
        if hasattr(self.request, "header_check"):
            environ[app.HEADER_CHECK] = self.request.header_check
        return environ


class Connection(HTTPChannel):
    """A client's connection.

    Attributes:
      lingering_bytes: bytes that may be read and discarded after the response, or 0.
    """

    error_task_class = ErrorResponseTask
    task_class = RequestTask
    lingering_bytes = 0
    # Of waitress: the request that arrives, and those that wait for their turn.
    request: Any
    requests: list[http_request.RequestParser]
    _half_closed = False
    _half_closed_at = 0.0

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.parser_class = functools.partial(http_request.RequestParser, self)

    @property
    def idle(self) -> bool:
        """Whether every received request has been answered."""
        return not self.requests and self.request is None and not self.total_outbufs_len and not self.close_when_flushed

    def readable(self) -> bool:
        """Return whether to read; also after the response, to discard the rest of a rejected request."""
        return self._half_closed or super().readable()

    def handle_read(self) -> None:
        """Read the request, or discard the rest of a rejected one."""
        if not self._half_closed:
            super().handle_read()
            return
        self.lingering_bytes -= len(self.recv(1 << 16))
        if self.lingering_bytes <= 0:
            self.handle_close()

    def send_response(self) -> None:
        """Send as much of the response as the client takes now; the event loop sends the rest."""
        with self.outbuf_lock:
            # The event loop may have closed the connection, with this lock.
            if self.connected:
                self._flush_exception(self._flush_some, do_close=False)

    def enforce_timeout(self, now: float, timeout: float) -> None:
        """Reject a request, or close a half-closed connection, that has been arriving for more than `timeout` seconds.

        Args:
          now: time.monotonic().
          timeout: seconds.
        """
        if self._half_closed and now > self._half_closed_at + timeout:
            self.lingering_bytes = 0
            self.handle_close()
            return
        with self.requests_lock:
            request = self.request
            if request is None:
                return
            if self.requests:
                # The server reads on when the previous request is answered, so this one is not slow.
                request.arrived = now
            elif now > request.arrived + timeout:
                request.expire()
                self.requests.append(request)
                self.request, self.sent_continue = None, False
                self.server.add_task(self)

    def handle_close(self) -> None:
        """Close the connection, after its unread bytes have been discarded."""
        if self.lingering_bytes > 0 and self.connected and not self._half_closed:
            self._half_closed, self._half_closed_at, self.will_close = True, time.monotonic(), False
            try:
                self.socket.shutdown(socket.SHUT_WR)
                return
            except OSError:
                # The client has closed the connection.
                pass
        if self.request is not None:
            self.request.close()
        super().handle_close()


class GracefulServer(TcpWSGIServer):
    """The listening socket and the event loop of all connections.

    Args:
      application: the application, which also checks headers and renders errors.
      bound: from ports.bind_port.
      configuration: Configuration.
    """

    channel_class = Connection
    stopping = False
    _timeouts_checked = 0.0

    def __init__(self, application: app.Application, bound: socket.socket, configuration: Configuration):
        # Requests without a heat map, those with one, and fields.
        capacity = configuration.server_workers + configuration.heat_map_workers + 2 * configuration["MaxQueued"]
        capacity += 1 + configuration.queued_fields
        self.max_body, self.timeout = configuration["MaxBody"], configuration["RequestTimeout"]
        # Enough for the largest body of every request that can run or wait; more requests could not be answered.
        self.budget = http_request.MemoryBudget(capacity * self.max_body)
        adjustments = Adjustments(
            sockets=[bound],
            # Includes the framing of chunks; http_request.RequestParser checks the size of the body itself.
            max_request_body_size=2 * self.max_body + (1 << 16),
            # Most images arrive in one piece; each piece takes a turn of the loop over all connections.
            recv_bytes=1 << 16,
            inbuf_overflow=NEVER,
            outbuf_overflow=NEVER,
            max_request_header_size=1 << 16,
            # Send headers and body together: a proxy cannot repeat a request after it has received the headers.
            send_bytes=1 << 16,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=max(30, round(self.timeout)),
            cleanup_interval=5,
            asyncore_use_poll=True,
            ident=None,
            # The application decides which proxies to trust.
            clear_untrusted_proxy_headers=False,
        )
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        threads = task_threads.TaskThreads(capacity + SPARE_THREADS)
        super().__init__(application, {}, False, bound, threads, adjustments, info, bind_socket=False)

    def listen(self) -> None:
        """Open the port.

        Raises:
          ConfigurationError: another program has opened it since it was bound.
        """
        try:
            self.accept_connections()
        except OSError as error:
            raise port_error(self.effective_host, self.effective_port, error) from error

    def stop(self) -> None:
        """Make `serve` return; safe to call in a signal handler."""
        self.stopping = True
        self.pull_trigger()

    def serve(self) -> None:
        """Answer requests until `stop` is called."""
        while not self.stopping:
            self._poll_once(min(1, self.timeout / 4))

    def drain(self, timeout: float) -> int:
        """Close the port and answer all accepted requests within `timeout` seconds; return how many were not."""
        self._close_port()
        start = time.monotonic()
        while self.active_channels and time.monotonic() < start + timeout:
            self._poll_once(0.05)
            if time.monotonic() > start + min(IDLE_GRACE_SECONDS, timeout):
                for channel in list(self.active_channels.values()):
                    if channel.idle:
                        channel.handle_close()
        return sum(not channel.idle for channel in self.active_channels.values())

    def close(self) -> None:
        """Close all connections and end idle threads."""
        self.task_dispatcher.shutdown(timeout=1)
        # Closed by itself, because `close_all` would call this method again.
        if self._map.get(self._fileno) is self:
            self._release_port()
        wasyncore.close_all(self._map)

    def _poll_once(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, map=self._map, use_poll=True, count=1)
        now = time.monotonic()
        if now >= self._timeouts_checked + min(1, self.timeout / 4):
            self._timeouts_checked = now
            for channel in list(self.active_channels.values()):
                channel.enforce_timeout(now, self.timeout)

    def _close_port(self) -> None:
        # Connections in the system's backlog count as accepted.
        ignore_new_connections(self.socket)
        before = -1
        while len(self.active_channels) != before:
            before = len(self.active_channels)
            self.handle_accept()
        self._release_port()

    def _release_port(self) -> None:
        self.accepting = False
        self.del_channel()
        self.socket.close()
