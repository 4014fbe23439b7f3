"""What several tests need."""

import logging
import os
import pathlib
import shutil
import signal

import pytest

from Classes import Helpers
from tests import sticks as standin

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A shell's `&` starts its command with Ctrl-C ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A tiny project folder in which everything was run once; not to be changed."""
    # Only here, since what needs no TensorFlow should not wait for it.
    from tests import faults

    return faults.prepare(tmp_path_factory.mktemp("trained") / "project")


@pytest.fixture
def project(trained, tmp_path):
    """A copy of `trained` that may be spoilt."""
    return shutil.copytree(trained, tmp_path / "project")


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
