import datetime
import subprocess

import numpy

from Classes import Helpers, Provenance


def test_a_run_says_what_it_was_made_with():
    configuration = Helpers.load(None, ["Epochs=3"])

    found = Provenance.describe(configuration)

    assert found["versions"]["numpy"] == numpy.__version__
    assert found["configuration"]["Classifier"]["Epochs"] == 3
    moment = datetime.datetime.fromisoformat(found["created"])
    assert abs(datetime.datetime.now(datetime.timezone.utc) - moment) < datetime.timedelta(minutes=1)


def test_no_git_is_no_error(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)

    assert Provenance.commit() is None
