"""Client.py where Python lacks what Windows lacks; a simulation, see tests/windows/sitecustomize.py."""

import csv
import json
import os
import subprocess
import sys

import pytest

from Classes.Helpers import PROJECT
from tests.support import servers, services, waiting

WINDOWS = {**os.environ, "PYTHONPATH": str(PROJECT / "tests" / "windows")}


def client(folder, *arguments):
    command = [sys.executable, str(PROJECT / "Client.py"), *map(str, arguments), "--set", f"NetworkPath={folder}"]
    return subprocess.run(command, cwd=folder, env=WINDOWS, capture_output=True, text=True, timeout=waiting.LIMIT)


@pytest.mark.slow
def test_the_client_sends_and_writes_its_rows(tmp_path):
    images = tmp_path / "Slides"
    images.mkdir()
    for name, red in (("a_1.png", 192), ("b_0.png", 64)):
        (images / name).write_bytes(services.image(red, 40))
    (tmp_path / "key").write_text("k" * 40)
    with servers.running(tmp_path / "server", ALL_API_KEY="k" * 40) as process:
        address = f"http://127.0.0.1:{process.port}"
        (tmp_path / "key").chmod(0o600)
        options = ["--csv", "out.csv", "--json", "out.json", "--server", address, "--set", "ApiKeyFile=key"]
        run = client(tmp_path, "Send", *options, images)

    assert (run.returncode, run.stderr) == (0, "")
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["correct"] for row in rows] == ["True", "True"]
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 2
    assert "True Positives: 1" in (tmp_path / "Logs" / "ClassifierServerClient.log").read_text()


def test_without_a_server_the_client_says_so_in_one_line(tmp_path):
    (tmp_path / "a_1.png").write_bytes(services.image(64, 40))
    run = client(tmp_path, "Send", "a_1.png", "--server", "http://127.0.0.1:9")
    assert run.returncode == 1
    assert [line for line in run.stderr.splitlines() if line.startswith("Error: ")] == run.stderr.splitlines()
