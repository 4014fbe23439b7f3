"""What several tests need."""

import logging
import os
import pathlib
import shutil
import signal

import pytest

from Classes import Helpers
from Classes.common import logs
from tests.support import sticks as standin

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Texts in English, also on a system in another language.
os.environ["LC_ALL"] = "C.UTF-8"

# A shell's `&` starts its command with Ctrl-C ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Make warnings of the project's own modules errors, wherever those are."""
    entries = [path for path in Helpers.PROJECT.iterdir() if path.suffix == ".py" or path.is_dir()]
    own = "|".join(sorted(path.stem for path in entries if path.stem.isidentifier()))
    config.addinivalue_line("filterwarnings", rf"error:::({own}|__main__)(\.|$)")


# The files that take longest go first, so that no process is left alone with one of them at the end.
LONGEST = (
    "test_distributed",
    "test_train",
    "test_faults_processes",
    "test_notebook",
    "test_movidius",
    "test_registry",
)


# Fixtures that train, or open a browser.
SLOW = {"trained", "driver"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW.intersection(item.fixturenames):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture
def configuration(tmp_path):
    """The project's configuration over an empty folder."""
    return Helpers.load_config(settings=[f"NetworkPath={tmp_path}"])


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
    from tests.support import faults

    return faults.prepare(tmp_path_factory.mktemp("trained") / "project")


@pytest.fixture
def project(trained, tmp_path):
    """A copy of `trained` that may be spoilt."""
    return shutil.copytree(trained, tmp_path / "project")


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """Restore the signal handlers: a script keeps its own until its process ends."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


LEVEL = logging.getLogger().level


def _end_logs():
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler).__module__ == logs.__name__:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(LEVEL)
    for name in logs.DEBUG_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def no_log_stays():
    """A script's log ends with its test, and with the fixture of a session or a module that ran the script."""
    _end_logs()
    yield
    _end_logs()


@pytest.fixture
def sticks(tmp_path, monkeypatch):
    """A stand-in stick, sticks.Sticks, with `clock`; the package `mvnc` is there for the test."""
    monkeypatch.syspath_prepend(str(standin.FOLDER))
    monkeypatch.setenv("MVNC_PLAN", str(tmp_path / "plan.json"))
    found = standin.Sticks(tmp_path / "plan.json")
    found.clock = standin.Clock(found)
    found.clock.install(monkeypatch)
    return found
