"""The README says what is there."""

import importlib.util
import re

from Classes.Helpers import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def table():
    path = PROJECT / "docs" / "configuration_table.py"
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.table()


def test_the_configuration_table_is_the_schemas():
    assert table() in README, "run python3 docs/configuration_table.py"


def test_every_script_is_named_and_every_named_file_is_there():
    scripts = {path.name for path in PROJECT.glob("*.py")} | {"Setup.sh"}
    pattern = r"`(?:python3 |sh )?((?:benchmarks/|docs/|Required/)?[A-Za-z_.-]+\.(?:py|sh|json|txt))`"

    assert scripts <= set(re.findall(r"\w+\.(?:py|sh)", README))
    for name in set(re.findall(pattern, README)) - {"labels.txt"}:
        assert (PROJECT / name).exists(), name


def test_verdicts_come_with_the_notice():
    assert "Research use only" in README
