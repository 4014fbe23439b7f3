"""Wrong paths, unknown names, missing models and shards are reported before TensorFlow loads, which takes seconds."""

import importlib
import subprocess
import sys

import pytest

from Classes.common import cli
from Classes.common.errors import ALLError
from tests.support.errors import raises


@pytest.mark.parametrize(
    ("script", "arguments", "code"),
    [
        ("Trainer", [], "no_shards"),
        ("Trainer", ["--set", "Network=VGG"], "unknown_network"),
        ("Trainer", ["--set", "Pretrained=nowhere"], "weights_missing"),
        ("Trainer", ["Import", "nowhere"], "weights_missing"),
        ("Trainer", ["Import", "nowhere", "--set", "NumClasses=3", "--set", "PositiveClass=7"], "class_names"),
        ("Trainer", ["WhiteCells", "--set", "WhiteCellsDir=nowhere"], "no_images"),
        ("Trainer", ["Finder", "--set", "FinderFieldsDir=nowhere"], "no_images"),
        ("Trainer", ["Quantize"], "no_model"),
        ("Trainer", ["Export"], "no_model"),
        ("Validation", [], "no_model"),
        ("Validation", ["Folds", "3"], "no_shards"),
        ("Validation", ["Folds", "--set", "Pretrained=nowhere"], "weights_missing"),
    ],
)
def test_missing_input_is_reported_at_once(tmp_path, monkeypatch, script, arguments, code):
    monkeypatch.setattr(cli, "import_tensorflow", lambda: pytest.fail("TensorFlow is loaded"))
    main = importlib.import_module(script).main

    with raises(ALLError, code):
        main([*arguments, "--set", f"NetworkPath={tmp_path}"])


@pytest.mark.parametrize("command", [["Import", "nowhere"], ["WhiteCells"], ["Finder"]])
def test_the_checks_import_no_tensorflow(tmp_path, command):
    program = (
        "import sys, Trainer\n"
        "from Classes.common.errors import ALLError\n"
        "try:\n    Trainer.main(sys.argv[1:])\nexcept ALLError:\n    pass\n"
        "print([name for name in ('tensorflow', 'tf_keras', 'tf_slim', 'keras') if name in sys.modules])"
    )
    arguments = [*command, "--set", f"NetworkPath={tmp_path}"]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
