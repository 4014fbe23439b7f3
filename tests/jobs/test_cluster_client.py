"""Addresses without a scheduler are refused with one line."""

import contextlib
import socket
import threading
import types

import pytest

from Classes.common.errors import ALLError
from Classes.jobs import cluster_client, polling


def refused(address):
    with pytest.raises(ALLError) as error:
        cluster_client.connect(str(address))
    assert error.value.code == "cluster_unreachable" and str(address) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("address", ["/no/such/scheduler.json", "tls://127.0.0.1:9", "nonsense://a:9", "tcp://a"])
def test_an_address_without_a_scheduler(address):
    refused(address)


@pytest.mark.parametrize("content", [b"", b"hello", b"[1]", b"{}", b"\xff\x00", b'{"address": "inproc://a"}'])
def test_a_file_that_is_no_scheduler_file(tmp_path, monkeypatch, content):
    monkeypatch.setattr(cluster_client, "FILE_TIMEOUT", 0)
    path = tmp_path / "scheduler.json"
    path.write_bytes(content)
    refused(path)


def test_a_file_that_the_scheduler_is_still_writing(tmp_path, monkeypatch):
    path, address = tmp_path / "scheduler.json", "tls://127.0.0.1:9"
    path.touch()
    contents = iter(['{"type": "Sched', f'{{"type": "Scheduler", "address": "{address}"}}'])
    clock = types.SimpleNamespace(monotonic=lambda: 0, sleep=lambda seconds: path.write_text(next(contents)))
    monkeypatch.setattr(polling, "time", clock)
    assert refused(path).replace(str(path), address) == refused(address)


def test_a_folder_is_no_scheduler_file(tmp_path):
    refused(tmp_path)


def test_a_service_that_waits_is_no_scheduler(monkeypatch):
    monkeypatch.setattr(cluster_client, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(cluster_client, "GREETING", 0)
    # The system accepts connections, although nobody answers.
    with socket.create_server(("127.0.0.1", 0)) as server:
        refused(f"tcp://127.0.0.1:{server.getsockname()[1]}")


def test_a_service_that_speaks_something_else_is_no_scheduler(monkeypatch):
    monkeypatch.setattr(cluster_client, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(cluster_client, "GREETING", 0)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def answer():
            # Closing the server ends the waiting for a client that has given up before it connected.
            with contextlib.suppress(OSError):
                connection = stack.enter_context(server.accept()[0])
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        refused(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
