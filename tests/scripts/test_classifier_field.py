"""Test the command Field of Classifier.py: its options, and one run with the models that come with the project."""

import json
import os
import subprocess
import sys

import PIL.Image
import pytest

import Classifier
from Classes.Helpers import PROJECT
from tests.support import fields, waiting


@pytest.mark.parametrize(
    "line",
    [
        "Field",
        "--overlay o a.png",
        "a.png --scale 0.1",
        "--html o.html",
        "Field a.png --xlsx o.xlsx",
        "Field a.png --parquet o.parquet",
        "Field a.png --scale 0",
        "Field a.png --scale nan",
        "Field a.png --scale 40",
    ],
)
def test_options_that_do_not_fit_are_refused(line):
    with pytest.raises(SystemExit) as stop:
        Classifier.main(line.split())
    assert stop.value.code == 2


@pytest.mark.slow
def test_a_field_is_answered_without_the_training_packages(tmp_path):
    PIL.Image.fromarray(fields.draw([fields.Cell(300, 240, 150, 150)])).save(tmp_path / "a.png")
    script = (
        "import sys, Classifier; code = Classifier.main(sys.argv[1:]); "
        "found = {'tensorflow', 'sklearn', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imports {found}' if found else code)"
    )
    command = [sys.executable, "-c", script, "Field", "a.png", "--json", "o.json", "--set", f"NetworkPath={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=waiting.LIMIT)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["fields"][0]["white_cells"] == len(found["cells"])
    assert found["fields"][0]["um_per_pixel"] > 0
