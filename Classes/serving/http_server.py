"""Waitress, with refusals in JSON and before the body is read, and a stop that answers everything that was accepted."""

import functools
import logging
import socket
import threading
import time
import uuid

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error, RequestEntityTooLarge

from Classes.common.errors import ConfigurationError
from Classes.serving import api_errors, app

# Threads beyond the waiting room's places: they turn others away and answer for the server's health.
SPARE_THREADS = 8

MAX_CONNECTIONS = 1000

# Seconds that an idle connection has, once the server stops, for a request that is already on its way.
IDLE_GRACE_SECONDS = 0.3

# What is read and thrown away of a request that was refused half-way: a closed socket with unread bytes resets the
# connection, and the client would never see why.
LINGERING_CLOSE_BYTES = 64 << 20

log = logging.getLogger("ClassifierServer")


# Larger than any body: waitress would write what is longer to a temporary file, and an image is nobody else's business.
NEVER = 1 << 62


class Memory:
    """Bound what the bodies of all requests may take together.

    Args:
      most: bytes.
    Attributes:
      free: bytes that are not taken.
    """

    def __init__(self, most: int):
        self.free = most
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether there was room for `size` bytes, which then are taken."""
        with self._lock:
            granted = size <= self.free
            self.free -= size * granted
        return granted

    def give(self, size: int) -> None:
        """Return bytes that were taken."""
        with self._lock:
            self.free += size


class LateError(Error):
    """A request whose headers do not arrive in time."""

    code, reason = 408, "Request Timeout"


class Parser(HTTPRequestParser):
    """One request as it arrives; the application judges it once its headers are complete, before its body is read.

    Attributes:
      started: when the first byte arrived, by time.monotonic.
      judged: see app.JUDGED; not set while nothing has judged the request.
      cut: whether the rest of the request is not read, so that its connection ends with the answer.
    """

    cut = False
    _asked = False
    _taken = 0

    def __init__(self, channel, adj):
        super().__init__(adj)
        self.started = time.monotonic()
        self._channel = channel

    def received(self, data):
        consumed = super().received(data)
        if self.headers_finished and not self._asked:
            self._asked = True
            self._ask()
        elif isinstance(self.error, RequestEntityTooLarge):
            self.refuse("body_too_large")
        self._account()
        return len(data) if self.cut else consumed

    def refuse(self, code, retry_after=None):
        """Have the application answer with a refusal, and read no more."""
        self.judged = api_errors.ApiError(code, api_errors.ERROR_CODES[code][1], retry_after)
        self._cut()

    def expire(self):
        """End a request that took too long to arrive."""
        if self.headers_finished:
            self.refuse("request_timeout")
        else:
            self.parse_header(b"GET / HTTP/1.0\r\n")
            self.error, self.completed = LateError(""), True

    def close(self):
        super().close()
        self._channel.server.memory.give(self._taken)
        self._taken = 0

    def _ask(self):
        """Let the application judge a request that has a body; one without is judged when its turn comes."""
        if self.body_rcv is None or not isinstance(self.error, (type(None), RequestEntityTooLarge)):
            return
        environ = self._channel.task_class(self._channel, self).get_environment()
        self.judged, wanted = self._channel.server.judge(environ)
        if not wanted:
            self._cut()

    def _account(self):
        """Take memory for the body: for its stated size at once, for chunks as they come."""
        if self.body_rcv is None or self.error:
            return
        size = len(self.body_rcv)
        if size > self._channel.server.largest:
            self.refuse("body_too_large")
            return
        more = max(self.content_length, size) - self._taken
        if more > 0 and not self._channel.server.memory.take(more):
            self.refuse("busy", retry_after=1)
        elif more > 0:
            self._taken += more

    def _cut(self):
        self.close()
        # Without the body nothing is left to wait for, not even for a caller that asked whether to go on.
        self.body_rcv, self.error, self.expect_continue = None, None, False
        self.completed = self.cut = True


class ErrorAnswer(ErrorTask):
    """What waitress itself refuses, in the service's own form."""

    def execute(self):
        error = self.request.error
        code = api_errors.api_error_from_status(error.code, "").code
        response = self.channel.server.render(code, uuid.uuid4().hex, self.channel.addr[0])
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(response.headers.items())
        self.set_close_on_finish()
        self.content_length = len(response.data)
        self.channel.lingering = LINGERING_CLOSE_BYTES
        self.write(response.data)


class RequestTask(WSGITask):
    """A request to the application; while the server stops, the last one of its connection."""

    def build_response_header(self):
        if self.request.cut:
            self.channel.lingering = LINGERING_CLOSE_BYTES
        if self.request.cut or self.channel.server.stopping:
            self.set_close_on_finish()
        return super().build_response_header()

    def get_environment(self):
        environment = super().get_environment()
        # Waitress makes one slash of several; what an address is called is the application's to decide.
        environment["PATH_INFO"] = self.request.path
        environment[app.STARTED] = self.request.started
        if hasattr(self.request, "judged"):
            environment[app.JUDGED] = self.request.judged
        return environment


class Connection(HTTPChannel):
    """A connection.

    Attributes:
      lingering: bytes still to be thrown away once the refusal is sent, or 0.
    """

    error_task_class = ErrorAnswer
    task_class = RequestTask
    lingering = 0
    _half_closed = False
    _half_closed_at = 0.0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.parser_class = functools.partial(Parser, self)

    @property
    def idle(self):
        """Whether nothing was received that has not been answered."""
        return not self.requests and self.request is None and not self.total_outbufs_len and not self.close_when_flushed

    def readable(self):
        return self._half_closed or super().readable()

    def handle_read(self):
        if not self._half_closed:
            super().handle_read()
            return
        self.lingering -= len(self.recv(1 << 16))
        if self.lingering <= 0:
            self.handle_close()

    def end_late(self, now, deadline):
        """End what is sent too slowly.

        Args:
          now: time.monotonic().
          deadline: seconds that a request may take to arrive, and that a client has to read why it was refused.
        """
        if self._half_closed and now > self._half_closed_at + deadline:
            self.lingering = 0
            self.handle_close()
            return
        with self.requests_lock:
            request = self.request
            if request is None:
                return
            if self.requests:
                # It waits for the server, which reads on when the request before it is answered.
                request.started = now
            elif now > request.started + deadline:
                request.expire()
                self.requests.append(request)
                self.request, self.sent_continue = None, False
                self.server.add_task(self)

    def handle_close(self):
        if self.lingering > 0 and self.connected and not self._half_closed:
            self._half_closed, self._half_closed_at, self.will_close = True, time.monotonic(), False
            try:
                self.socket.shutdown(socket.SHUT_WR)
                return
            except OSError:
                # The client has gone.
                pass
        if self.request is not None:
            self.request.close()
        super().handle_close()


class GracefulServer(TcpWSGIServer):
    """The server socket, and the loop that every connection lives in.

    Args:
      application: WSGI callable.
      bound: from `bind`.
      configuration: Configuration.
      render: callable (code, request id, caller) -> flask.Response, for what never reaches the application.
      judge: callable (WSGI environment without a body) -> see app.judge.
    """

    channel_class = Connection
    stopping = False
    _looked = 0.0

    def __init__(self, application, bound, configuration, render, judge):
        room = configuration.server_workers + configuration["MaxQueued"]
        self.largest, self.deadline = configuration["MaxBody"], configuration["RequestTimeout"]
        # As many bodies of the largest size as may be worked on and wait: more could not be answered anyway.
        self.memory = Memory(room * self.largest)
        adjustments = Adjustments(
            sockets=[bound],
            threads=room + SPARE_THREADS,
            # Bytes on the wire: chunks have their own lengths beside the body's, which Parser counts.
            max_request_body_size=2 * self.largest + (1 << 16),
            inbuf_overflow=NEVER,
            outbuf_overflow=NEVER,
            max_request_header_size=1 << 16,
            # Head and body leave as one: of an answer that ends between them no proxy could ask another server again.
            send_bytes=1 << 16,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=max(30, round(configuration["RequestTimeout"])),
            cleanup_interval=5,
            asyncore_use_poll=True,
            ident=None,
            # The application knows which proxies to believe.
            clear_untrusted_proxy_headers=False,
        )
        # The waiting room bounds what waits; a busy moment is no warning.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.render, self.judge = render, judge
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(application, {}, False, bound, adj=adjustments, sockinfo=info, bind_socket=False)

    def listen(self):
        """Open the port.

        Raises:
          ConfigurationError: somebody else has opened it since `bind`.
        """
        try:
            self.accept_connections()
        except OSError as error:
            raise _port_error(self.effective_host, self.effective_port, error) from error

    def stop(self):
        """End `serve`; may be called from a signal handler."""
        self.stopping = True
        self.pull_trigger()

    def serve(self):
        """Answer until `stop`."""
        while not self.stopping:
            self._turn(min(1, self.deadline / 4))

    def drain(self, seconds):
        """Close the port, and answer what was accepted before.

        Args:
          seconds: how long at most.
        Returns:
          requests that are left unanswered.
        """
        self._close_port()
        start = time.monotonic()
        while self.active_channels and time.monotonic() < start + seconds:
            self._turn(0.05)
            if time.monotonic() > start + min(IDLE_GRACE_SECONDS, seconds):
                for channel in list(self.active_channels.values()):
                    if channel.idle:
                        channel.handle_close()
        return sum(not channel.idle for channel in self.active_channels.values())

    def close(self):
        """Close every connection and end the threads that have nothing to do."""
        self.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)

    def _turn(self, seconds):
        wasyncore.loop(timeout=seconds, map=self._map, use_poll=True, count=1)
        now = time.monotonic()
        if now >= self._looked + min(1, self.deadline / 4):
            self._looked = now
            for channel in list(self.active_channels.values()):
                channel.end_late(now, self.deadline)

    def _close_port(self):
        # Whoever the system has accepted for us, but we not yet, counts as accepted.
        before = -1
        while len(self.active_channels) != before:
            before = len(self.active_channels)
            self.handle_accept()
        self.accepting = False
        self.del_channel()
        self.socket.close()


def bind_port(address, port):
    """Take a port without opening it, so that a taken one is told before anything slow is done.

    Args:
      address: an IP address or a host name of this machine.
      port: 0 takes any that is free.
    Returns:
      socket.socket.
    Raises:
      ConfigurationError: the port is taken or not allowed, or the address is not this machine's.
    """
    bound = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        # A port whose last connections are still fading away is free.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except (OSError, UnicodeError) as error:
        if bound is not None:
            bound.close()
        raise _port_error(address, port, error) from error
    return bound


def _port_error(address, port, error):
    # A name that cannot be one, such as a..b, does not get as far as the system.
    reason = "no host name" if isinstance(error, UnicodeError) else (error.strerror or str(error)).lower()
    return ConfigurationError(f"{address}:{port}: {reason}; stop what has it, or set another IP or Port")
