"""Tests of http_server over real sockets: rejection before the body is read, timeouts and memory."""

import contextlib
import errno
import http.client
import json
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from Classes.serving import access_control, app, http_server, ports
from tests.support import services, waiting

pytestmark = pytest.mark.filterwarnings("ignore:send_bytes will be removed:DeprecationWarning")

KEY = "0123456789abcdef0123"
IMAGE = services.image(192, 80)
DESCRIPTORS = pathlib.Path("/proc/self/fd")


@contextlib.contextmanager
def serving(folder, *settings, **parts):
    """Run a server on a free port and yield it; its attribute `service` is the PredictionService."""
    service = services.create_service(folder, *settings, **parts)
    bound = ports.bind_port("127.0.0.1", 0)
    server = http_server.GracefulServer(app.create_app(service), bound, service.configuration)
    server.service = service
    server.listen()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        server.drain(0)
        server.close()
        service.close()


def connect(server):
    return socket.create_connection(("127.0.0.1", int(server.effective_port)), timeout=waiting.LIMIT)


def head(path="/v1/classify", length=None, method="POST", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [] if length is None else [f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection):
    """Return (status, JSON or bytes) of the next response."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    content = response.read()
    return response.status, json.loads(content) if content.startswith(b"{") else content


def code(connection):
    return answer(connection)[1]["code"]


CHUNKED = {"Transfer_Encoding": "chunked"}


@pytest.mark.parametrize("framing", [{"length": 1_000_000}, CHUNKED])
@pytest.mark.parametrize("path", ["/Inference", "/v1/classify", "/v1/batch"])
def test_without_the_key_the_body_is_not_read(tmp_path, path, framing):
    with serving(tmp_path, keys=access_control.ApiKeys({"": KEY.encode()})) as server, connect(server) as connection:
        connection.sendall(head(path, **framing))

        assert code(connection) == "unauthorized"


def test_a_large_body_is_rejected_by_its_content_length(tmp_path):
    with serving(tmp_path, "MaxBody=100000") as server, connect(server) as connection:
        connection.sendall(head(length=100_001))

        assert code(connection) == "body_too_large"


def test_a_large_chunked_body_is_rejected_while_it_arrives(tmp_path):
    with serving(tmp_path, "MaxBody=100000") as server, connect(server) as connection:
        connection.sendall(head(**CHUNKED))
        for _ in range(101):
            connection.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")

        assert code(connection) == "body_too_large"


def test_the_framing_of_chunks_does_not_count(tmp_path):
    with serving(tmp_path, f"MaxBody={max(1024, len(IMAGE))}") as server, connect(server) as connection:
        chunks = [
            b"%x\r\n%s\r\n" % (len(part), part) for part in (IMAGE[at : at + 9] for at in range(0, len(IMAGE), 9))
        ]
        connection.sendall(head(**CHUNKED) + b"".join(chunks) + b"0\r\n\r\n")

        assert answer(connection)[0] == 200


def test_over_the_rate_limit_the_body_is_not_read(tmp_path):
    with serving(tmp_path, "RateLimitPerMinute=1") as server, connect(server) as first, connect(server) as second:
        first.sendall(head(length=len(IMAGE)) + IMAGE)
        assert answer(first)[0] == 200
        second.sendall(head(length=1_000_000))

        assert code(second) == "too_many_requests"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://evil.example.net"}, "origin_not_allowed"),
        ({"Sec_Fetch_Site": "cross-site"}, "origin_not_allowed"),
    ],
)
def test_for_a_foreign_origin_the_body_is_not_read(tmp_path, headers, expected):
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(head(length=1_000_000, **headers))

        assert code(connection) == expected


def test_two_host_headers_are_rejected(tmp_path):
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.net\r\n\r\n")

        assert code(connection) == "host_not_allowed"


@pytest.mark.parametrize(("method", "path", "expected"), [("POST", "/nope", 404), ("PUT", "/v1/classify", 405)])
def test_the_body_of_an_unknown_endpoint_is_not_read(tmp_path, method, path, expected):
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(head(path, 1_000_000, method))

        assert answer(connection)[0] == expected


def test_an_unused_body_is_not_read(tmp_path):
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(head("/health/live", 1_000_000, "GET"))

        assert answer(connection) == (200, {"status": "ok"})


@pytest.mark.parametrize(("headers", "first"), [({}, b"HTTP/1.1 100 "), ({"Origin": "null"}, b"HTTP/1.1 403 ")])
def test_100_continue_is_sent_only_if_the_body_is_needed(tmp_path, headers, first):
    with serving(tmp_path) as server, connect(server) as connection:
        connection.sendall(head(length=len(IMAGE), Expect="100-continue", **headers))

        assert connection.recv(len(first)) == first


def test_bytes_after_a_rejected_request_are_not_a_request(tmp_path):
    with serving(tmp_path, keys=access_control.ApiKeys({"": KEY.encode()})) as server, connect(server) as connection:
        hidden = head("/health/live", method="GET")
        connection.sendall(head(length=len(hidden)) + hidden)
        received = b""
        while block := connection.recv(1 << 16):
            received += block

    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", ["/Inference", "/v1/classify", "/v1/batch"])
@pytest.mark.parametrize("framing", [{"length": 1000}, CHUNKED])
def test_a_slow_upload_ends_at_the_deadline(tmp_path, path, framing):
    with serving(tmp_path, "RequestTimeout=0.2") as server, connect(server) as connection:
        whole = server.budget.free
        connection.sendall(head(path, **framing) + b"9\r\n")

        assert (status := answer(connection))[0] == 408
        assert status[1]["code"] == "request_timeout"
        waiting.until(lambda: server.budget.free == whole)


@pytest.mark.parametrize("sent", [b"P", b"POST /v1/classify HTTP/1.1\r\nHost: local"])
def test_slow_headers_end_at_the_deadline(tmp_path, sent):
    with serving(tmp_path, "RequestTimeout=0.2") as server, connect(server) as connection:
        connection.sendall(sent)

        assert code(connection) == "request_timeout"
        assert connection.recv(1) == b""


def test_a_dripping_upload_ends_at_the_deadline(tmp_path):
    with serving(tmp_path, "RequestTimeout=0.3") as server, connect(server) as connection:
        connection.sendall(head(length=1_000_000))
        connection.settimeout(0.02)
        received = b""
        while not received:
            # After its response the server closes the connection, perhaps before the next byte.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(1 << 16)

    assert received.startswith(b"HTTP/1.1 408 ")


def test_the_deadline_counts_from_the_first_byte(tmp_path):
    found = []
    with serving(tmp_path) as server, connect(server) as connection:
        admit = server.service.admission.admit
        server.service.admission.admit = lambda arrived=None: found.append(arrived) or admit(arrived)
        connection.sendall(head(length=len(IMAGE)))
        waiting.until(lambda: any(channel.request for channel in list(server.active_channels.values())))
        (began,) = (channel.request.arrived for channel in server.active_channels.values())
        connection.sendall(IMAGE)
        assert answer(connection)[0] == 200

    assert found == [began]


def test_the_memory_of_all_uploads_is_bounded(tmp_path):
    settings = ["MaxBody=1000000", "ServerWorkers=1", "MaxQueued=1"]
    with serving(tmp_path, *settings) as server, contextlib.ExitStack() as stack:
        server.budget.free = 2_000_000
        first, second, third = (stack.enter_context(connect(server)) for _ in range(3))
        first.sendall(head(length=1_000_000))
        second.sendall(head(length=1_000_000))
        waiting.until(lambda: not server.budget.free)
        third.sendall(head(length=len(IMAGE)))

        status, body = answer(third)
        assert (status, body["code"]) == (503, "busy")
        assert body["retry_after"] == 1

        # A closed connection and a response release memory.
        first.close()
        waiting.until(lambda: server.budget.free == 1_000_000)
        second.sendall(bytes(1_000_000))
        assert code(second) == "not_an_image"
        waiting.until(lambda: server.budget.free == 2_000_000)


def test_chunks_reserve_memory_as_they_arrive(tmp_path):
    settings = ["MaxBody=100000", "ServerWorkers=1", "MaxQueued=0"]
    with serving(tmp_path, *settings) as server, connect(server) as first, connect(server) as second:
        server.budget.free = 100_000
        first.sendall(head(**CHUNKED) + b"186a0\r\n" + bytes(100_000))
        waiting.until(lambda: not server.budget.free)
        second.sendall(head(**CHUNKED) + b"1\r\nx")

        assert code(second) == "busy"


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="no list of open files")
def test_uploads_are_never_written_to_disk(tmp_path):
    size = 5_000_000
    with serving(tmp_path, f"MaxBody={2 * size}") as server, connect(server) as connection:
        boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        body = boundary + bytes(size) + b"\r\n--b--\r\n"
        before = set(_files())
        seen = []
        examine = server.service.predict
        server.service.predict = lambda *rest: seen.append(set(_files()) - before) or examine(*rest)
        connection.sendall(head(length=len(body), Content_Type="multipart/form-data; boundary=b") + body)

        assert code(connection) == "not_an_image"

    assert seen == [set()]


def _files():
    """Return the regular files that this process has open."""
    for path in DESCRIPTORS.iterdir():
        with contextlib.suppress(OSError):
            name = str(path.readlink())
            if name.startswith("/") and not name.startswith(("/dev/", "/proc/")):
                yield name


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_results_and_errors(tmp_path):
    (tmp_path / "image.png").write_bytes(IMAGE)
    (tmp_path / "large.png").write_bytes(bytes(3_000_000))
    with serving(tmp_path, "MaxBody=2000000") as server:
        address = f"http://localhost:{server.effective_port}/v1/classify"

        def curl(*arguments):
            command = ["curl", "-s", *arguments, address]
            done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=waiting.LIMIT)
            assert done.returncode == 0
            return json.loads(done.stdout)

        assert curl("--data-binary", "@image.png")["verdict"] == "ALL detected"
        assert curl("-F", "file=@image.png")["verdict"] == "ALL detected"
        assert curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@image.png")["verdict"] == "ALL detected"
        assert curl("-F", "file=@large.png")["code"] == "body_too_large"
        assert curl("-F", "file=@image.png", "-F", "file=@image.png")["code"] == "several_images"
        assert "--data-binary" in curl("-d", "@image.png")["message"]


def test_an_open_port_is_closed_with_the_server(tmp_path):
    client = services.client(tmp_path)
    bound = ports.bind_port("127.0.0.1", 0)
    server = http_server.GracefulServer(app.create_app(client.service), bound, client.service.configuration)
    server.listen()

    server.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.effective_port), timeout=waiting.LIMIT)
    client.service.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can ignore new connections")
def test_a_connection_that_comes_while_the_port_closes_is_refused_and_not_reset(tmp_path, monkeypatch):
    release, late = http_server.GracefulServer._release_port, socket.socket()

    def connect_before(server):
        late.connect_ex(("127.0.0.1", int(server.effective_port)))
        release(server)

    monkeypatch.setattr(http_server.GracefulServer, "_release_port", connect_before)
    late.setblocking(False)
    with late:
        with serving(tmp_path):
            pass
        assert select.select([], [late], [], waiting.LIMIT)[1]
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
