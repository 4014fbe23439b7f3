import datetime
import hashlib
import subprocess

import numpy
import pytest

from Classes import Helpers
from Classes.common import provenance


def test_a_run_says_what_it_was_made_with():
    configuration = Helpers.load_config(None, ["Epochs=3"])
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)

    found = provenance.run_metadata(configuration)

    assert found["versions"]["numpy"] == numpy.__version__
    assert found["configuration"]["Training"]["Epochs"] == 3
    moment = datetime.datetime.fromisoformat(found["created"])
    assert before <= moment <= datetime.datetime.now(datetime.timezone.utc)


def test_a_copy_without_the_project_file_has_no_version(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PROJECT", tmp_path)
    assert provenance.version() == "unknown"

    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "3.1.4"\n')
    assert provenance.version() == "3.1.4"


def test_no_git_is_no_error(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)

    assert provenance.git_commit() is None


@pytest.mark.parametrize("size", [0, 3, (1 << 20) + 1])
def test_sha256_is_that_of_the_content(tmp_path, size):
    content = b"abc" * (size // 3 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert provenance.sha256_file(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()
