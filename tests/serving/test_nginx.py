"""Tests of docs/nginx.conf in front of real servers."""

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import threading

import pytest
import requests

from Classes import Helpers
from Classes.client import send_images
from tests.support import graphs, ports, servers, services, waiting

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def configuration(folder, port, servers):
    """Write the example with the test's ports and certificate, included as Debian's nginx.conf does."""
    certificate, key = folder / "lab.crt", folder / "lab.key"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    example = (Helpers.PROJECT / "docs" / "nginx.conf").read_text(encoding="utf-8")
    for pattern, value in {
        r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        r"127\.0\.0\.1:8081": f"127.0.0.1:{servers[0]}",
        r"127\.0\.0\.1:8082": f"127.0.0.1:{servers[1]}",
        r"/etc/ssl/certs/lab\.example\.org\.pem": str(certificate),
        r"/etc/ssl/private/lab\.example\.org\.key": str(key),
        r"server_name lab\.example\.org": "server_name localhost",
    }.items():
        example, count = re.subn(pattern, value, example)
        assert count == 1, pattern
    (folder / "all.conf").write_text(example)
    temporary = [f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log info; worker_processes 2;\n"
        + ("user root;\n" if os.getuid() == 0 else "")
        + f"events {{}}\nhttp {{ access_log {folder}/access.log; {' '.join(temporary)} include {folder}/all.conf; }}\n"
    )
    return path


@contextlib.contextmanager
def running(folder, *servers):
    """Run nginx in front of `servers` (ports); yield its port."""
    folder.mkdir()
    port = ports.free_port()
    path = configuration(folder, port, servers)
    command = [PROGRAM, "-c", path, "-p", folder, "-e", folder / "error.log"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0 and "warn" not in checked.stderr, checked.stderr
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            waiting.until(lambda: answers(port), "nginx listening", ended=lambda: process.poll() is not None)
            yield port
        finally:
            process.terminate()


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), waiting.LIMIT):
        return True
    return False


def accesses(folder):
    """Return the access log entries of /Inference."""
    path = folder / "Logs" / "Access.log"
    # The last line may be half written.
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [line for line in map(json.loads, lines) if "Inference" in str(line)]


def test_killing_one_of_two_servers_under_load_loses_nothing(tmp_path, monkeypatch):
    count = 120
    images = tmp_path / "images"
    images.mkdir()
    for number in range(count):
        red = (64, 192)[number % 2]
        (images / f"cell{number:03}_{number % 2}.png").write_bytes(services.image(red))
    proxy = tmp_path / "proxy"
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy / "lab.crt"))
    settings = graphs.configuration(tmp_path)
    found = []
    # The last images are sent after the kill, however long the test takes to notice that the first were answered.
    killed, numbers, post = threading.Event(), itertools.count(), requests.Session.post

    def post_some_after_the_kill(*arguments, **options):
        assert next(numbers) < count // 2 or killed.wait(waiting.LIMIT)
        return post(*arguments, **options)

    monkeypatch.setattr(requests.Session, "post", post_some_after_the_kill)
    with (
        servers.running(tmp_path / "one", "TrustedProxy=127.0.0.1", real=True) as one,
        servers.running(tmp_path / "two", "TrustedProxy=127.0.0.1", real=True) as two,
        running(proxy, one.port, two.port) as port,
    ):
        sending = threading.Thread(
            target=lambda: found.append(
                # Without retries, so that a lost request is noticed.
                send_images.send_images(
                    settings,
                    [images],
                    server=f"https://localhost:{port}",
                    concurrency=8,
                    retries=0,
                    json_path=tmp_path / "rows.json",
                )
            )
        )
        sending.start()
        waiting.until(lambda: len(accesses(tmp_path / "one")) >= 5)
        one.kill()
        before = len(accesses(tmp_path / "two"))
        killed.set()
        sending.join()

    assert found == [0]
    assert 5 <= len(accesses(tmp_path / "one")) < count
    assert len(accesses(tmp_path / "two")) > before
    assert "while connecting to upstream" in (proxy / "error.log").read_text()
    rows = json.loads((tmp_path / "rows.json").read_text())
    rows = rows["images"] if isinstance(rows, dict) else rows
    assert len(rows) == count and all(row["correct"] for row in rows)


@pytest.fixture
def alone(tmp_path):
    """nginx in front of a server and an unused port: (requests.Session, URL, the server's folder, its process)."""
    with (
        servers.running(tmp_path / "one", "TrustedProxy=127.0.0.1", "MaxBody=2000000") as one,
        running(tmp_path / "proxy", one.port, ports.free_port()) as port,
        requests.Session() as session,
    ):
        session.trust_env, session.verify = False, str(tmp_path / "proxy" / "lab.crt")
        yield session, f"https://localhost:{port}", tmp_path / "one", one


def test_the_proxy_sets_the_client_address(alone):
    session, address, folder, _ = alone

    answer = session.post(f"{address}/Inference", services.image(192), headers={"X-Forwarded-For": "203.0.113.7"})

    assert answer.json()["Classification"] == "ALL detected"
    waiting.until(lambda: accesses(folder))
    assert "127.0.0.1" in str(accesses(folder)[0])
    assert "203.0.113.7" not in str(accesses(folder)[0])


def test_errors_of_the_proxy_are_json(alone):
    session, address, _, server = alone

    by_server = session.post(f"{address}/Inference", bytes(3_000_000))
    by_proxy = session.post(f"{address}/Inference", bytes(18 << 20))
    metrics = session.get(f"{address}/metrics")
    server.kill()
    server.wait()
    nobody = session.post(f"{address}/Inference", services.image(192))

    assert [answer.status_code for answer in (by_server, by_proxy, metrics, nobody)] == [413, 413, 404, 503]
    assert by_server.json()["code"] == by_proxy.json()["code"] == "body_too_large"
    assert nobody.json()["code"] == "not_ready" and nobody.headers["Retry-After"] == "2"
