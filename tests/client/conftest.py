"""Images to send, and a client that hardly waits before it sends them again."""

import pytest

from Classes.client import connection


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "Model" / "Test"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"Im{number}_{number % 2}.png").write_bytes(b"image %d" % number)
    return folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(connection, "JITTER", 0.01)
