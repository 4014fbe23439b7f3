"""The scripts in a terminal of 80 columns."""

import os
import signal
import sys

import pytest
from PIL import Image

from Classes.Helpers import PROJECT
from tests.support import graphs, terminals

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """A model, 12 test images (see graphs.RED), one of them with a long name, and a damaged one."""
    graphs.write(tmp_path / "Model")
    tests = tmp_path / "Model" / "Test"
    tests.mkdir()
    for number in range(12):
        name = f"Im{number:03d}_{'x' * 90 * (number == 3)}.png"
        Image.fromarray(graphs.red(64 if number % 2 else 192, size=300)).save(tests / name)
    (tests / "damaged.png").write_bytes(b"no image")
    return tmp_path


def record(folder, script, *arguments, **options):
    command = [sys.executable, str(PROJECT / script), *arguments, "--set", f"NetworkPath={folder}"]
    return terminals.record(command, cwd=folder, **options)


def test_classifier_shows_one_line_per_image(folder):
    found = record(folder, "Classifier.py", "--csv", "out.csv")

    rows = [line for line in found.lines if line.startswith("[")]
    assert [row.split("]")[0].replace(" ", "") for row in rows] == [f"[{number}/13" for number in range(1, 14)]
    assert found.screen.wrapped == 0
    assert found.cursor_visible
    assert found.code == 1
    # The historic lines are in the log file only.
    log = (folder / "Logs" / "Classifier.log").read_text()
    assert "Helpers class initialization complete." in log
    assert "Helpers class initialization complete." not in "\n".join(found.lines)
    assert "13 images" in "\n".join(found.lines)
    assert (folder / "out.csv").as_uri() in found.raw.decode()


def test_plain_shows_the_log_on_a_terminal(folder):
    found = record(folder, "Classifier.py", "--plain", columns=200)

    lines = [line.split(" - ")[1:] for line in found.lines]
    assert lines[0] == ["Classifier", "INFO", "Helpers class initialization complete."]
    assert b"\x1b" not in found.raw


def test_no_color_has_effect_in_scripts(folder):
    found = record(folder, "Classifier.py", env={**os.environ, "NO_COLOR": "1"})

    assert "Signs of ALL" in "\n".join(found.lines)
    assert b"\x1b[31m" not in found.raw
    assert b"\x1b[32m" not in found.raw


def test_ctrl_c_leaves_a_clean_terminal_and_the_counts(folder):
    tests = folder / "Model" / "Test"
    for number in range(300):
        (tests / f"Zz{number}.png").symlink_to(tests / "Im000_.png")
    found = record(folder, "Classifier.py", stop_at=b"[  8/", signal_number=signal.SIGINT)

    text = "\n".join(found.lines)
    assert found.code == 130
    assert found.cursor_visible
    assert found.screen.wrapped == 0
    assert "of 313 images." in text
    assert "━" not in text, "the bar is removed"


@pytest.mark.parametrize(
    "script", ["Classifier.py", "Client.py", "Data.py", "Server.py", "Trainer.py", "Validation.py"]
)
def test_the_first_line_comes_before_any_package_is_imported(tmp_path, script):
    # A package that cannot be imported stands for all that take long.
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("jsonschema", "numpy", "openvino", "tensorflow"):
        (blocked / f"{name}.py").write_text("raise ImportError('too early')")
    found = record(tmp_path, script, env={**os.environ, "PYTHONPATH": str(blocked)})

    assert "toolkit" in found.lines[0]
    assert script.removesuffix(".py") in found.lines[0]
    assert "too early" in "\n".join(found.lines[1:])
