"""A missing model, or missing shards, are reported before TensorFlow is loaded, which takes seconds."""

import importlib

import pytest

from Classes.common import cli
from Classes.common.errors import ALLError
from tests.support.errors import raises


@pytest.mark.parametrize(
    ("script", "arguments", "code"),
    [
        ("Trainer", [], "no_shards"),
        ("Trainer", ["Quantize"], "no_model"),
        ("Trainer", ["Export"], "no_model"),
        ("Validation", [], "no_model"),
        ("Validation", ["Folds", "3"], "no_shards"),
    ],
)
def test_missing_input_is_reported_at_once(tmp_path, monkeypatch, script, arguments, code):
    monkeypatch.setattr(cli, "import_tensorflow", lambda: pytest.fail("TensorFlow is loaded"))
    main = importlib.import_module(script).main

    with raises(ALLError, code):
        main([*arguments, "--set", f"NetworkPath={tmp_path}"])
