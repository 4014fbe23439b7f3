import collections
import concurrent.futures
import contextlib
import http.client
import io
import json
import re
import signal
import socket
import struct

import hypothesis
import PIL.Image
import pytest
from hypothesis import strategies

from Classes import Helpers
from tests.support import graphs, mutations, processes, servers, services, waiting

pytestmark = pytest.mark.slow

IMAGE = services.image(192, 80)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with servers.running(folder, "MaxBody=100000") as process:
        process.folder = folder
        yield process


# Start


def test_the_historic_lines(server):
    lines = [line.split(" - ", 1)[-1] for line in server.lines]

    assert lines[0] == "ClassifierServer - INFO - Helpers class initialization complete."
    assert "ClassifierServer - INFO - Classifier server class initialization complete." in lines
    assert f"ClassifierServer - INFO - {Helpers.DISCLAIMER}" in lines
    assert lines[-1] == f" * Running on http://127.0.0.1:{server.port}/ (Press CTRL+C to quit)"
    assert not any("WARNING" in line or "development server" in line for line in lines)


def test_the_server_is_ready_when_its_port_is_open(server):
    assert servers.request(server.port, "GET", "/health/ready")[:2] == (200, {"status": "ok"})


def test_a_taken_port_is_a_one_line_error(tmp_path):
    graphs.write(tmp_path / "Model", content=b"no graph")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = servers.run(tmp_path, f"Port={port}")

    assert result.returncode == 2
    assert f"127.0.0.1:{port}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_model_is_a_one_line_error(tmp_path):
    result = servers.run(tmp_path)

    assert result.returncode == 1
    assert "there is no trained model yet; run python3 Trainer.py" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Running" not in result.stdout


def test_a_missing_key_is_a_one_line_error(tmp_path):
    graphs.write(tmp_path / "Model", content=b"no graph")
    result = servers.run(tmp_path, "IP=0.0.0.0")

    assert result.returncode == 2
    assert result.stderr.startswith("Error: IP=0.0.0.0: reachable from other machines and no API key")
    assert len(result.stderr.splitlines()) == 1


def test_a_foreign_address_is_a_one_line_error(tmp_path):
    graphs.write(tmp_path / "Model", content=b"no graph")
    # 192.0.2.0/24 is reserved for documentation, so no machine has this address.
    result = servers.run(tmp_path, "IP=192.0.2.1", "AllowWithoutApiKey=true")

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_an_invalid_host_name_is_a_one_line_error(tmp_path):
    graphs.write(tmp_path / "Model", content=b"no graph")
    result = servers.run(tmp_path, "IP=a..b", "AllowWithoutApiKey=true")

    assert result.returncode == 2
    assert result.stderr.startswith("Error: a..b:0: ")
    assert len(result.stderr.splitlines()) == 1


def test_the_real_server_with_its_device(tmp_path):
    with servers.running(tmp_path, real=True) as server:
        status, answer, _ = servers.request(server.port, body=services.image(160, 340))
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=waiting.LIMIT)

    assert (status, answer["aClassification"], answer["Confidence"]) == (200, "1", "0.7311")
    assert answer["engine"] == "OpenVINO CPU"
    lines = [line.split(" - ", 1)[-1] for line in server.lines]
    assert "OpenVINO - INFO - Connected To OpenVINO CPU (f32) successfully." in lines
    assert "OpenVINO - INFO - Inception loaded successfully." in lines
    assert code == 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not the graph of its card"),
        (lambda path: path.unlink(), "ALLGraph.pb: missing"),
        (lambda path: path.with_suffix(".json").write_text("{"), "the model card cannot be read"),
    ],
)
def test_a_damaged_model_is_a_one_line_error(tmp_path, damage, reason):
    graphs.write(tmp_path / "Model", content=b"a graph that is never read")
    damage(tmp_path / "Model/ALLGraph.pb")
    result = servers.run(tmp_path, real=True)

    assert result.returncode == 1
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Running" not in result.stdout


def test_a_device_with_invalid_output_is_a_one_line_error(tmp_path):
    graphs.write(tmp_path / "Model", kind="nan")
    result = servers.run(tmp_path, real=True)

    assert result.returncode == 1
    assert result.stderr.startswith("Error: device result invalid")
    assert len(result.stderr.splitlines()) == 1
    assert "Running" not in result.stdout


def test_the_server_does_not_import_heavy_packages():
    script = """
import sys
from Classes.serving import server; from Classes.inference import backend, openvino_backend
print([name for name in ("tensorflow", "scipy", "sklearn", "matplotlib") if name in sys.modules])
"""
    assert processes.python(script).stdout == "[]\n"


# Requests over real sockets


def test_many_requests_over_one_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=waiting.LIMIT)
    with contextlib.closing(connection):
        for body in (IMAGE, b"no image", b"", IMAGE):
            connection.request("POST", "/Inference", body)
            response = connection.getresponse()
            assert response.status == {IMAGE: 200, b"no image": 415, b"": 400}[body]
            json.loads(response.read())


def test_leading_slashes_are_part_of_the_path(server):
    status, body, _ = servers.request(server.port, path="//Inference", body=services.image(64, 20))

    assert (status, body["code"]) == (404, "not_found")


def test_a_chunked_body(server):
    status, answer, _ = servers.request(server.port, body=iter([IMAGE[:50], IMAGE[50:]]))

    assert (status, answer["aClassification"]) == (200, "1")


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=waiting.LIMIT)


def raw(port, content, rest=b""):
    """Send bytes and return (status, JSON); `rest` is sent in small pieces until the server closes."""
    with connected(port) as connection:
        connection.sendall(content)
        for start in range(0, len(rest), 4096):
            connection.sendall(rest[start : start + 4096])
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"POST /Inference HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
        (b"POST /Inference HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_request"),
        (b"POST /Inference HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
        (b"POST /Inference HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
    ],
)
def test_invalid_http_gets_a_json_error(server, content, status, code):
    found, body = raw(server.port, content)

    assert (found, body["code"]) == (status, code)
    assert set(body) == {"code", "message", "request_id"}


PIECES = [
    b"POST",
    b"GET",
    b" ",
    b"/Inference",
    b"*",
    b"?\x80",
    b"http://x/",
    b"HTTP/1.1",
    b"HTTP/9",
    b"\r\n",
    b"\n",
    b":",
]
PIECES += [
    b"Host: x",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Transfer-Encoding: chunked",
    b"0\r\n\r\n",
    b"fff\r\n",
]
PIECES += [b"Expect: 100-continue", b"Connection: close", b"\0", b"\xff\xfe", b"X-Request-ID: a", b"%00", b"a" * 300]


@mutations.steady(100)
@hypothesis.given(
    pieces=strategies.lists(strategies.sampled_from(PIECES) | strategies.binary(max_size=20), max_size=20),
    form=strategies.sampled_from(
        [b"%s", b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", b"GET /%s HTTP/1.1\r\n\r\n"]
    ),
)
def test_no_bytes_cause_an_internal_error(server, pieces, form):
    sent = (form % b"".join(pieces)) + b"\r\n\r\n"
    with connected(server.port) as connection:
        # The server may reject and close before the last byte.
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(1 << 16):
                answer += block

    statuses = re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.MULTILINE)
    assert not answer or statuses
    assert all(status < b"500" or status == b"501" for status in statuses)
    assert servers.request(server.port, "GET", "/health/live")[0] == 200


@pytest.mark.parametrize("size", [100_001, 5_000_000])
def test_a_client_that_sends_too_much_receives_the_error(server, size):
    head = f"POST /Inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()

    status, body = raw(server.port, head, bytes(size))

    assert (status, body["code"]) == (413, "body_too_large")
    assert "MaxBody" in body["message"]


def test_requests_cannot_forge_access_log_lines(server):
    path = server.folder / "Logs" / "Access.log"
    before = len(path.read_text().splitlines())
    raw(server.port, b"GET /a%0aERROR%1b[2J%e2%80%a8 HTTP/1.1\r\nUser-Agent: \x85\xe9\r\nX-Request-ID: one\r\n\r\n")
    servers.request(server.port, body=IMAGE, X_Request_ID="two")

    lines = [json.loads(line) for line in path.read_text().splitlines()[before:]]
    # A request of another test may have ended since.
    lines = [line for line in lines if line["request_id"] in ("one", "two")]

    assert [(line["request_id"], line["status"], line["outcome"]) for line in lines] == [
        ("one", 404, "not_found"),
        ("two", 200, "ok"),
    ]
    assert lines[1]["verdicts"][0]["verdict"] == "ALL detected"
    assert lines[1]["verdicts"][0]["outcome"] == "positive"
    assert lines[1]["received"] == len(IMAGE)
    assert all(32 <= byte < 127 or byte == 10 for byte in path.read_bytes())


def test_a_slow_client_does_not_block_others(server):
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /Inference HTTP/1.1\r\nContent-Length: 1000\r\n\r\nab")

        assert servers.request(server.port, body=IMAGE)[0] == 200


def test_nothing_but_log_lines_is_printed(tmp_path):
    """Damaged images, invalid requests and disconnecting clients must not make libraries print anything."""
    compressed = io.BytesIO()
    PIL.Image.effect_noise((200, 200), 50).save(compressed, "TIFF", compression="tiff_lzw")
    content = bytearray(compressed.getvalue())
    content[1000:1100] = b"\xff" * 100
    with servers.running(tmp_path) as server:
        assert servers.request(server.port, body=bytes(content))[0] in (415, 422, 200)
        raw(server.port, b"GET / HTTP/1.1\r\nBad Header\r\n\r\n")
        for sent in (b"POST /Inference HTTP/1.1\r\nContent-Length: 99\r\n\r\n", b"GET /health/live HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(sent)
        servers.request(server.port, "GET", "/health/live")
        server.send_signal(signal.SIGTERM)
        printed = server.stdout.read()
        assert server.wait(timeout=waiting.LIMIT) == 0

    form = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - \w[\w.]* - [A-Z]+ - .")
    assert [line for line in printed.splitlines() if not form.match(line)] == []
    assert "Stopping" in printed


# Overload


def test_overload_gives_results_or_503(tmp_path):
    free = tmp_path / "free"
    with servers.running(tmp_path, "MaxQueued=4", "RequestTimeout=600", hold=free) as server:
        with concurrent.futures.ThreadPoolExecutor(80) as pool:
            jobs = [pool.submit(servers.request, server.port, body=IMAGE) for _ in range(80)]
            # Requests beyond the capacity are rejected while the others wait.
            waiting.until(lambda: any(job.done() for job in jobs))
            free.touch()
            found = [job.result() for job in jobs]
        after = servers.request(server.port, body=IMAGE)[0]

    counts = collections.Counter(status for status, _, _ in found)
    assert set(counts) == {200, 503}
    assert counts[200] >= 5
    assert all(headers["Retry-After"] == "1" for status, _, headers in found if status == 503)
    assert after == 200


def test_a_deadline(tmp_path):
    with servers.running(tmp_path, "RequestTimeout=0.2", "ShutdownTimeout=0", hold=600) as server:
        # In one piece: a body that comes later than the time limit is another error.
        request = b"POST /Inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(IMAGE), IMAGE)
        status, body = raw(server.port, request)

        assert (status, body["code"]) == (504, "deadline")
        assert body["retry_after"]
        assert servers.request(server.port, "GET", "/health/live")[0] == 200


# Stop


def test_sigterm_under_load_loses_no_accepted_request(tmp_path):
    with servers.running(tmp_path, hold=0.02) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        loops = [pool.submit(_until_closed, server.port) for _ in range(8)]
        waiting.until(lambda: sum(map(len, _done)) >= 20, ended=lambda: any(loop.done() for loop in loops))
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=waiting.LIMIT)
        statuses = [status for loop in loops for status in loop.result()]

    _done.clear()
    assert code == 0
    assert set(statuses) == {200}
    assert len(statuses) >= 20


_done = []


def _until_closed(port):
    """Return the status of each request until the port is closed; raise if an accepted one gets no response."""
    statuses = []
    _done.append(statuses)
    while True:
        try:
            connection = connected(port)
        except ConnectionRefusedError:
            return statuses
        with connection:
            connection.sendall(b"POST /Inference HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE)
            response = http.client.HTTPResponse(connection)
            response.begin()
            json.loads(response.read())
            statuses.append(response.status)


def test_a_keep_alive_connection_sees_not_ready_and_is_closed_on_stop(tmp_path):
    free = tmp_path / "free"
    with servers.running(tmp_path, hold=free) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=waiting.LIMIT)
        with contextlib.closing(connection):
            connection.connect()
            working = pool.submit(servers.request, server.port, body=IMAGE)
            waiting.until(lambda: b"all_requests_inside 1.0" in _metrics(server.port))
            server.send_signal(signal.SIGTERM)
            waiting.until(lambda: not _is_open(server.port))
            connection.request("GET", "/health/ready")
            response = connection.getresponse()

            assert response.status == 503
            assert response.headers["Connection"] == "close"
        free.touch()
        assert working.result()[0] == 200
        assert server.wait(timeout=waiting.LIMIT) == 0


def _metrics(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=waiting.LIMIT)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read()


def _is_open(port):
    try:
        connected(port).close()
    except ConnectionRefusedError:
        return False
    return True


@contextlib.contextmanager
def _stopping_server(folder, setting):
    """A server that has got SIGTERM during a request that never ends, and the future of that request."""
    with servers.running(folder, setting, hold=600) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        request = pool.submit(servers.request, server.port, body=IMAGE)
        waiting.until(lambda: b"all_requests_inside 1.0" in _metrics(server.port))
        server.send_signal(signal.SIGTERM)
        yield server, request


def test_work_that_never_ends_does_not_delay_the_stop_beyond_its_timeout(tmp_path):
    with _stopping_server(tmp_path, "ShutdownTimeout=0.5") as (server, lost):
        assert server.wait(timeout=waiting.LIMIT) == 0
        assert "1 requests were not answered within ShutdownTimeout" in server.stdout.read()
        assert isinstance(lost.exception(), (http.client.HTTPException, ConnectionError))


def test_a_second_signal_stops_the_server_at_once(tmp_path):
    with _stopping_server(tmp_path, "ShutdownTimeout=600") as (server, lost):
        waiting.until(lambda: not _is_open(server.port))
        server.send_signal(signal.SIGTERM)

        assert server.wait(timeout=waiting.LIMIT) == 128 + signal.SIGTERM
        assert lost.exception() is not None


def test_ctrl_c_stops_the_server_in_order(tmp_path):
    with servers.running(tmp_path) as server:
        server.send_signal(signal.SIGINT)

        assert server.wait(timeout=waiting.LIMIT) == 0
        assert "All accepted requests are answered" in server.stdout.read()


# Behind a proxy


@pytest.mark.parametrize(("settings", "client"), [(["TrustedProxy=127.0.0.1"], "203.0.113.9"), ([], "127.0.0.1")])
def test_only_a_trusted_proxy_sets_the_client_address(tmp_path, settings, client):
    with servers.running(tmp_path, *settings) as server:
        servers.request(server.port, "GET", "/health/live", X_Forwarded_For="203.0.113.9")

    (line,) = (tmp_path / "Logs" / "Access.log").read_text().splitlines()
    assert json.loads(line)["caller"] == client


def test_captured_images_and_a_key_from_the_environment(tmp_path):
    with servers.running(tmp_path, "Capture=true", ALL_API_KEY="k" * 20) as server:
        refused = servers.request(server.port, body=IMAGE)[0]
        answer = servers.request(server.port, body=IMAGE, X_API_Key="k" * 20)[1]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=waiting.LIMIT) == 0

    assert refused == 401
    kept = tmp_path / "Model/Data/Captured" / f"{answer['sha256']}.png"
    assert kept.read_bytes() == IMAGE


def test_headers_and_body_are_sent_together(tmp_path):
    # A proxy that has received the headers cannot repeat the request if the server dies before the body.
    image = services.image(192)
    head = f"POST /Inference HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    with servers.running(tmp_path) as server, connected(server.port) as connection:
        for _ in range(20):
            connection.sendall(head + image)
            answer = connection.recv(1 << 16)

            length = int(re.search(rb"Content-Length: (\d+)", answer)[1])
            assert len(answer.partition(b"\r\n\r\n")[2]) == length > 0
