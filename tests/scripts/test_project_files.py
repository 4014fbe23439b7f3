"""The files around the code agree with the code and with each other."""

import re

import packaging.requirements
import pytest

from Classes.Helpers import PROJECT

REQUIRED = PROJECT / "Required"
LOCK = REQUIRED / "requirements-serving.lock"


def requirements(path):
    """The requirements of a file without its options, hashes and comments."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    lines = (line.split("#")[0].split("--hash")[0].strip() for line in lines)
    return [packaging.requirements.Requirement(line) for line in lines if line and not line.startswith("-")]


def versions(path, python):
    """{package: version} that a file pins for a Python version."""
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    pins = [each for each in requirements(path) if each.marker is None or each.marker.evaluate(environment)]
    return {each.name.lower().replace("_", "-"): str(each.specifier) for each in pins}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_lock_file_has_every_pinned_serving_package(python):
    pinned, locked = versions(REQUIRED / "requirements-serving.txt", python), versions(LOCK, python)

    assert pinned.items() <= locked.items(), "make the lock file again; its first lines say how"
    assert all(version.startswith("==") for version in locked.values())


def test_lock_file_has_a_hash_for_every_package_and_no_address():
    text = LOCK.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z])", "".join(line for line in text.splitlines(True) if not line.startswith("#")))

    assert len(entries) == len(requirements(LOCK)) > 20
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_pre_commit_has_the_pinned_ruff():
    text = (PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    pinned = {each.name: str(each.specifier) for each in requirements(REQUIRED / "requirements-dev.txt")}

    assert f"rev: v{pinned['ruff'].removeprefix('==')}" in text


def test_citation_and_package_have_one_version():
    citation = re.search(r"^version: (\S+)", (PROJECT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    package = re.search(r'^version = "(\S+)"', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)

    assert citation[1] == package[1]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_named_files_exist(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:Classes|tests|docs|Required)/[\w./-]+|\w+\.(?:py|sh))`", text)

    assert paths
    assert [path for path in paths if not (PROJECT / path).exists()] == []
