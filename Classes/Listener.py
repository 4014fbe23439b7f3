"""Waitress, with what it lacks: refusals in JSON, and a stop that answers everything that was accepted."""

import logging
import socket
import time
import uuid

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

from Classes import Refusals
from Classes.Errors import ConfigurationError

# Threads beyond the waiting room's places: they turn others away and answer for the server's health.
SPARE_THREADS = 8

CONNECTIONS = 1000

# Seconds that an idle connection has, once the server stops, for a request that is already on its way.
GRACE = 0.3

# What is read and thrown away of a request that was refused half-way: a closed socket with unread bytes resets the
# connection, and the client would never see why.
LINGER = 64 << 20

log = logging.getLogger("ClassifierServer")


class Refusal(ErrorTask):
    """What waitress itself refuses, in the service's own form."""

    def execute(self):
        error = self.request.error
        code = Refusals.of_status(error.code, "").code
        response = self.channel.server.render(code, uuid.uuid4().hex, self.channel.addr[0])
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(response.headers.items())
        self.set_close_on_finish()
        self.content_length = len(response.data)
        self.channel.lingering = LINGER
        self.write(response.data)


class Task(WSGITask):
    """A request to the application; while the server stops, the last one of its connection."""

    def build_response_header(self):
        if self.channel.server.stopping:
            self.set_close_on_finish()
        return super().build_response_header()

    def get_environment(self):
        environment = super().get_environment()
        # Waitress makes one slash of several; what an address is called is the application's to decide.
        environment["PATH_INFO"] = self.request.path
        return environment


class Channel(HTTPChannel):
    """A connection.

    Attributes:
      lingering: bytes still to be thrown away once the refusal is sent, or 0.
    """

    error_task_class = Refusal
    task_class = Task
    lingering = 0
    _half_closed = False

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

    def handle_close(self):
        if self.lingering > 0 and self.connected and not self._half_closed:
            self._half_closed, self.will_close = True, False
            try:
                self.socket.shutdown(socket.SHUT_WR)
                return
            except OSError:
                # The client has gone.
                pass
        super().handle_close()


class Listener(TcpWSGIServer):
    """The server socket, and the loop that every connection lives in.

    Args:
      application: WSGI callable.
      bound: from `bind`.
      configuration: Configuration.
      render: callable (code, request id, caller) -> flask.Response, for what never reaches the application.
    """

    channel_class = Channel
    stopping = False

    def __init__(self, application, bound, configuration, render):
        proxy = configuration["TrustedProxy"]
        trusted = {"trusted_proxy": proxy, "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto"}}
        adjustments = Adjustments(
            sockets=[bound],
            threads=configuration.server_workers + configuration["WaitingRoom"] + SPARE_THREADS,
            # Waitress refuses what is as large as its limit.
            max_request_body_size=configuration["MaxBody"] + 1,
            max_request_header_size=1 << 16,
            # Head and body leave as one: of an answer that ends between them no proxy could ask another server again.
            send_bytes=1 << 16,
            connection_limit=CONNECTIONS,
            channel_timeout=max(30, round(configuration["Deadline"])),
            cleanup_interval=5,
            asyncore_use_poll=True,
            ident=None,
            **(trusted if proxy else {}),
        )
        # The waiting room bounds what waits; a busy moment is no warning.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.render = render
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
            raise _taken(self.effective_host, self.effective_port, error) from error

    def stop(self):
        """End `serve`; may be called from a signal handler."""
        self.stopping = True
        self.pull_trigger()

    def serve(self):
        """Answer until `stop`."""
        while not self.stopping:
            self._turn(1)

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
            if time.monotonic() > start + min(GRACE, seconds):
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

    def _close_port(self):
        # Whoever the system has accepted for us, but we not yet, counts as accepted.
        before = -1
        while len(self.active_channels) != before:
            before = len(self.active_channels)
            self.handle_accept()
        self.accepting = False
        self.del_channel()
        self.socket.close()


def bind(address, port):
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
        raise _taken(address, port, error) from error
    return bound


def _taken(address, port, error):
    # A name that cannot be one, such as a..b, does not get as far as the system.
    reason = "no host name" if isinstance(error, UnicodeError) else (error.strerror or str(error)).lower()
    return ConfigurationError(f"{address}:{port}: {reason}; stop what has it, or set another IP or Port")
