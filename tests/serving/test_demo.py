"""Server.py --demo and --open: the demo model, the practice images, and the page in a browser."""

import os
import sys

import pytest

from Classes.Helpers import PROJECT
from Classes.inference import model_card
from Classes.serving import page_routes
from tests.support import servers, terminals, waiting

pytestmark = pytest.mark.slow

CARD = PROJECT / "Model" / "Demo" / "ALLGraph.json"


def test_the_demo_model_is_marked_as_synthetic_and_is_that_of_its_card():
    card = model_card.load_model_card(CARD)

    assert card.synthetic
    assert card.graph_path.stat().st_size < 1_000_000


def test_the_demo_opens_the_page_and_classifies_the_practice_images(tmp_path, monkeypatch):
    # $BROWSER names the command that opens a page.
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" >"{tmp_path}/opened.tmp" && mv "{tmp_path}/opened.tmp" "{tmp_path}/opened"\n'
    )
    browser.chmod(0o755)
    monkeypatch.setattr(servers, "command", lambda *_, **__: command(tmp_path))
    with servers.running(tmp_path, real=True, BROWSER=f"{browser} %s") as server:
        waiting.until((tmp_path / "opened").exists)
        found = {path.name: classify(server.port, path) for path in page_routes.example_images()}

    assert (tmp_path / "opened").read_text().strip() == f"http://127.0.0.1:{server.port}/"
    assert all(fields["synthetic"] for fields in found.values())
    right = [fields["class"] == name[-5] for name, fields in found.items() if name[-6:-4] in ("_0", "_1")]
    assert len(right) == 14
    assert sum(right) >= 13
    [stain] = [fields["outcome"] for name, fields in found.items() if "other_stain" in name]
    assert stain == "review"


def command(folder):
    settings = ["--set", f"NetworkPath={folder}", "--set", "Port=0", "--set", "Device=CPU"]
    return [sys.executable, "-u", str(PROJECT / "Server.py"), "--demo", "--open", *settings]


def classify(port, path):
    status, fields, _headers = servers.request(port, path="/v1/classify", body=path.read_bytes())
    assert status == 200
    return fields


def test_without_a_display_open_changes_nothing(tmp_path):
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    }
    found = terminals.record(command(tmp_path), cwd=tmp_path, env=environment, stop_at=b"Ctrl-C")

    assert found.code == 0
    rows = [line.split() for line in found.lines if line.startswith("  ")]
    shown = [row[-1].split("//")[-1].partition(":")[0] for row in rows]
    # Page, API, the model, and how to stop.
    assert shown == ["127.0.0.1", "127.0.0.1", "ALLGraph", "Ctrl-C"]
    assert found.cursor_visible
    assert found.screen.wrapped == 0
