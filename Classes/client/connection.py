"""Connections to the API: keep-alive sessions, retries, and limits on the time and size of a response."""

import contextlib
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
import urllib3

from Classes.client import response, server_models
from Classes.common import secret_files
from Classes.common.config import Configuration
from Classes.common.errors import ALLError, error_reason, escape_control_chars, root_cause, system_reason
from Classes.common.translation import Message, text_of

ENDPOINT, FIELD, INFO, MODELS = "/Inference", "/v1/field", "/v1/info", "/v1/models"

# Classifying an image changes nothing on the server, so requests with these statuses can be repeated.
RETRY_STATUS = (429, 502, 503, 504)

# Seconds: the wait doubles from the first to the longest; jitter keeps clients from retrying at the same time.
FIRST_WAIT, LONGEST_WAIT, JITTER = 0.2, 5, 0.3

# Longest Retry-After, in seconds, that is obeyed; a wrong header must not block a run for hours.
LONGEST_RETRY_AFTER = 60

# Bytes of a response, far above what this API sends.
MAX_RESPONSE_BYTES = 1 << 20


class Sender:
    """Sends image files to the API; thread-safe, with one keep-alive connection per thread.

    Args:
      configuration: `InceptionThreshold` and the API key are used.
      server: address of the server, such as http://127.0.0.1:8080.
      timeout: seconds for one response.
      retries: number of times that a request is repeated.
      model: name of the model on the server; "": its default.
    """

    def __init__(self, configuration: Configuration, server: str, timeout: float, retries: int, model: str = ""):
        self._server = server.rstrip("/")
        self._url = self._server + ENDPOINT
        self._model = model
        self._timeout = timeout
        self._low_below = configuration["InceptionThreshold"]
        key = secret_files.read_key(configuration)
        self._headers = {"Content-Type": "application/octet-stream"} | ({"X-API-Key": key.decode()} if key else {})
        self._retry = urllib3.Retry(
            total=retries,
            status_forcelist=RETRY_STATUS,
            allowed_methods=None,
            backoff_factor=FIRST_WAIT,
            backoff_max=LONGEST_WAIT,
            backoff_jitter=JITTER,
            retry_after_max=LONGEST_RETRY_AFTER,
        )
        self._local = threading.local()
        self._sessions: list[_Session] = []

    def check_reachable(self) -> None:
        """Check that a server answers, so that a wrong address fails at once rather than for every image.

        Raises:
          ALLError: `no_server` if nothing answers at the address.
        """
        try:
            with _Session(urllib3.Retry(3, backoff_factor=FIRST_WAIT, respect_retry_after_header=False)) as session:
                session.get(self._url, timeout=self._timeout, stream=True).close()
        except requests.RequestException as error:
            if _is_protocol_error(error):
                # Something answers, if wrongly. The error is reported for each image.
                return
            raise ALLError(
                Message(
                    "no answer from {url} ({reason}); start python3 Server.py there, or set --server",
                    url=self._url,
                    reason=_reason(error),
                ),
                code="no_server",
            ) from error

    def server_info(self) -> response.ServerInfo:
        """Return what the server says about itself; nothing if it is old or does not answer."""
        return response.parse_info(self._get(INFO))

    def models(self) -> list[server_models.ServedModel]:
        """Return the models of the server; empty if it is old or does not answer."""
        return server_models.parse_models(self._get(MODELS))

    def _get(self, path: str) -> bytes:
        """Return the body at an address that needs no key; empty if there is none."""
        deadline = time.monotonic() + self._timeout
        try:
            with _Session(0) as session, session.get(self._server + path, timeout=self._timeout, stream=True) as answer:
                return self._read(answer, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, _UnusableResponseError):
            return b""

    def send(self, path: pathlib.Path) -> dict[str, Any]:
        """Send a file and return the result, see response.parse_response; never raise for one file's errors."""
        return self._send(path, ENDPOINT, {}, lambda status, body: self._parse(path, status, body), MAX_RESPONSE_BYTES)

    def send_field(
        self,
        path: pathlib.Path,
        query: Mapping[str, str],
        parse: Callable[[object, int, bytes], dict[str, Any]],
        max_bytes: int,
    ) -> dict[str, Any]:
        """Send a photographed field; return what `parse` makes of path, status and body, or {"error": text}."""
        return self._send(path, FIELD, query, lambda status, body: parse(path, status, body), max_bytes)

    def _parse(self, path: pathlib.Path, status: int, body: bytes) -> dict[str, Any]:
        return response.parse_response(path, status, body, self._low_below)

    def _send(
        self,
        path: pathlib.Path,
        endpoint: str,
        query: Mapping[str, str],
        parse: Callable[[int, bytes], dict[str, Any]],
        max_bytes: int,
    ) -> dict[str, Any]:
        try:
            content = path.read_bytes()
        except OSError as error:
            return {"error": Message("{name}: {reason}", name=path, reason=system_reason(error))}
        retry = self._retry
        while True:
            lost: Exception | None = None
            busy: urllib3.HTTPResponse | None = None
            status, body = 0, b""
            try:
                status, headers, body = self._post(content, endpoint, query, max_bytes)
                if status not in RETRY_STATUS:
                    return parse(status, body)
                busy = urllib3.HTTPResponse(headers=headers, status=status)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                lost = error
            except _UnusableResponseError as error:
                return {"error": Message("{name}: {reason}", name=path, reason=text_of(error))}
            try:
                retry = retry.increment("POST", endpoint, busy, urllib3.exceptions.ProtocolError(lost))
            except urllib3.exceptions.HTTPError:
                if lost is None:
                    return parse(status, body)
                url, reason = self._server + endpoint, _reason(lost)
                message = Message(
                    "{path}: no answer from {url} ({reason}); is the server running?", path=path, url=url, reason=reason
                )
                return {"error": message}
            try:
                retry.sleep(busy)
            except urllib3.exceptions.InvalidHeader:
                retry.sleep()

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions:
            session.close()

    def _post(
        self, content: bytes, endpoint: str, query: Mapping[str, str], max_bytes: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send the bytes of an image; return (status, headers, body)."""
        deadline = time.monotonic() + self._timeout
        parameters = {**({"model": self._model} if self._model else {}), **query}
        with self._session().post(
            self._server + endpoint,
            content,
            params=parameters,
            headers=self._headers,
            timeout=self._timeout,
            stream=True,
        ) as answer:
            return answer.status_code, answer.headers, self._read(answer, deadline, max_bytes)

    def _read(self, answer: requests.Response, deadline: float, max_bytes: int = MAX_RESPONSE_BYTES) -> bytes:
        body = bytearray()
        # The timeout of requests applies to each packet, and a response may consist of any number of them.
        while block := answer.raw.read1(1 << 16, decode_content=True):
            body += block
            if len(body) > max_bytes:
                status = answer.status_code
                raise _UnusableResponseError(
                    Message("the response is larger than {bytes} bytes (HTTP {status})", bytes=max_bytes, status=status)
                )
            if time.monotonic() > deadline:
                raise _UnusableResponseError(
                    Message("the response did not end within {seconds:g} s", seconds=self._timeout)
                )
        return bytes(body)

    def _session(self) -> "_Session":
        if not hasattr(self._local, "session"):
            self._local.session = _Session(0)
            self._sessions.append(self._local.session)
        return self._local.session


class _UnusableResponseError(Exception):
    """A response that is not read to its end, and whose request is not repeated."""


class _HeaderTimeout:
    """Mixin of a urllib3 connection: limits the total time for the response headers, however slowly they arrive."""

    timeout: float | None
    sock: socket.socket

    def getresponse(self) -> Any:
        """Return the response, or raise the connection's own error after `timeout` seconds."""
        timer = threading.Timer(self.timeout or 3600, self._shut_down)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # The method of the plain socket, because that of a TLS socket would discard its state while it is read.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Connection(_HeaderTimeout, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_HeaderTimeout, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Use the connections above for both schemes."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Session(requests.Session):
    """A session that follows no redirects and uses no proxy: key and images only go to the configured server."""

    def __init__(self, retries: int | urllib3.Retry):
        super().__init__()
        # A proxy from the environment could read images of patients.
        self.trust_env = False
        # SSL_CERT_FILE names the certificates to trust, as for other programs.
        self.verify = os.environ.get("SSL_CERT_FILE") or True
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(max_retries=retries))

    def get_redirect_target(self, response: requests.Response) -> None:
        """Return no target, so that `requests` follows no redirect."""
        return


def _is_protocol_error(error: Any) -> bool:
    """Return whether a server was reached, but sent no complete response."""
    while error is not None:
        if isinstance(error, urllib3.exceptions.ProtocolError | urllib3.exceptions.InvalidHeader):
            return True
        error = getattr(error, "reason", None) or next(
            (part for part in getattr(error, "args", ()) if isinstance(part, Exception)), None
        )
    return False


def _reason(error: Exception) -> str:
    """Return why there is no answer; a server that answers wrongly may have any text in it."""
    cause = root_cause(error)
    if isinstance(cause, OSError) and cause.strerror:
        return system_reason(cause)
    return escape_control_chars(error_reason(cause).strip()[: response.MAX_TEXT_LENGTH])
