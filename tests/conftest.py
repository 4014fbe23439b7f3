"""What several tests need."""

import logging
import os
import pathlib

import pytest

from Classes import Helpers
from tests import sticks as standin

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def configuration(tmp_path):
    """The project's configuration over an empty folder."""
    return Helpers.load(settings=[f"NetworkPath={tmp_path}"])


@pytest.fixture
def shared():
    """The folder of real cells and weights, which is no part of the project."""
    folder = os.environ.get("ALL_SHARED")
    if not folder:
        pytest.skip("ALL_SHARED does not name the folder of the real cells")
    return pathlib.Path(folder)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A script's log ends with its test: start_log replaces the root's handlers."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    for name in Helpers.DETAILED:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def sticks(tmp_path, monkeypatch):
    """A stand-in stick, sticks.Sticks; the package `mvnc` is there for the test."""
    monkeypatch.syspath_prepend(str(standin.FOLDER))
    monkeypatch.setenv("MVNC_PLAN", str(tmp_path / "plan.json"))
    return standin.Sticks(tmp_path / "plan.json")
