"""Every command that the project shows anywhere is one that its scripts take."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest

from Classes import Helpers
from Classes.Helpers import PROJECT
from tests.support import waiting

SCRIPTS = sorted(path.name for path in PROJECT.glob("*.py"))
COMMAND = re.compile(rf"(?:python3?|\.venv/bin/python|\"\$python\") ({'|'.join(map(re.escape, SCRIPTS))})\b(.*)")

# What a reader is told to put in.
PLACEHOLDERS = {
    "%i": "9001",
    "$epochs": "5",
    "${ALL_OPTIONS-}": "",
    '"$@"': "",
    "$shard": "",
    "$settings": "",
    "FOLDER": "a",
    "DIR": "a",
}

# After a command, a message goes on in prose: only these words and options belong to the command.
WORDS = (
    r"(?: (?:Augment|Check|Demo|Devices|InceptionTest|Test|Send|Import FOLDER|Quantize|Export|Compile|Board|Compare"
    r"|Folds \d+))?"
)
OPTIONS = r"(?: --(?:set [A-Za-z.]+=[^\s,;)`\"']+|device [A-Z0-9]+|strict|remove|csv \S+|json \S+))*"


class ParsedError(Exception):
    """The options were understood."""


def texts():
    """(file, text) of all that users read; a script's text is its strings."""
    documents = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "Setup.sh")]
    documents += (PROJECT / "docs").glob("*.md")
    documents += (PROJECT / "Required" / "cluster").iterdir()
    yield from ((path, path.read_text(encoding="utf-8")) for path in documents)
    notebook = json.loads((PROJECT / "Trainer.ipynb").read_text(encoding="utf-8"))
    yield PROJECT / "Trainer.ipynb", "\n".join("".join(cell["source"]) for cell in notebook["cells"])


def shown():
    """{(script, arguments)} of lines of code and of `code` in prose."""
    found = set()
    for path, text in texts():
        for line in text.replace("\\\n", " ").splitlines():
            for code in (line, *re.findall(r"`([^`]+)`", line)):
                match = COMMAND.search(code)
                # A line with backticks is prose, and only what they hold is code.
                if match and "`" not in code and (path.suffix != ".md" or code != line or not _is_prose(line)):
                    found.add((match[1], _arguments(match)))
    for name in SCRIPTS:
        for line in (ast.get_docstring(ast.parse((PROJECT / name).read_text(encoding="utf-8"))) or "").splitlines():
            if match := COMMAND.search(line):
                found.add((match[1], _arguments(match)))
    return found


def _arguments(match):
    """What belongs to the command: no remark, no other command behind it."""
    # A script that passes its arguments on to a command that needs some.
    words = re.sub(r'(?<=[a-z]) "\$@".*', " FILE", match[2])
    return " ".join(re.split(r"\s*#|[;>|&\"]", words)[0].split())


def _is_prose(line):
    return not re.match(
        r"(?:[A-Z_]+=\S+ |[A-Z_]+=\$\([^)]*\) |ExecStart=)?(?:python3?|\.venv/bin/python) ", line.strip()
    )


def hinted():
    """{(script, arguments)} of commands within the messages of the program."""
    found = set()
    for path in (PROJECT / "Classes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for match in re.finditer(
                    rf"python3 ({'|'.join(map(re.escape, SCRIPTS))})({WORDS}{OPTIONS})", node.value
                ):
                    found.add((match[1], match[2].strip()))
    return found


def take(monkeypatch, script, arguments):
    """Give `arguments` to a script, up to where its work would begin."""
    load = Helpers.load_config

    def loaded(path, settings):
        load(None, settings)
        raise ParsedError

    monkeypatch.setattr(Helpers, "load_config", loaded)
    with pytest.raises(ParsedError):
        importlib.import_module(script.removesuffix(".py")).main(arguments)


def test_the_commands_are_found():
    found = shown() | hinted()
    assert {script for script, _ in found} == set(SCRIPTS)
    assert ("Client.py", "Send --csv out.csv Slides/") in found
    assert ("Data.py", "Demo") in hinted()
    assert len(found) > 40


@pytest.mark.parametrize(("script", "line"), sorted(shown() | hinted()))
def test_every_command_that_is_shown_is_taken(monkeypatch, script, line):
    for placeholder, value in PLACEHOLDERS.items():
        line = line.replace(placeholder, value)
    take(monkeypatch, script, shlex.split(line))


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("Client.py", "Send --csv out.csv Slides/"),
        ("Client.py", "Send a.png --json out.json b.png --server http://a:1 c.png"),
        ("Client.py", "--csv out.csv Send a.png"),
        ("Classifier.py", "a.png --csv o b.png"),
        ("Classifier.py", "--device CPU a.png --set Epochs=2 b.png"),
        ("Classifier.py", "-- -a.png --b.png"),
        ("Classifier.py", "a.png --csv o -- -b.png"),
        ("Data.py", "Augment --strict Folder"),
        ("Data.py", "Fields --class blast=1 Folder --scale 0.1 --class LY=0"),
        ("Trainer.py", "Import --set Network=AllCNN Folder"),
        ("Validation.py", "Folds --set Epochs=2 5"),
        ("Validation.py", "Field --scale 0.1 Folder"),
        ("Server.py", "--device CPU --set Port=1"),
    ],
)
def test_options_may_stand_anywhere(monkeypatch, script, line):
    take(monkeypatch, script, line.split())


def test_each_word_goes_where_it_belongs(monkeypatch):
    from Classes.client import send_images
    from Classes.dataset import tfrecords
    from Classes.inference import classify_files
    from Classes.networks import registry, weight_files
    from Classes.training import cross_validation

    got = {}
    monkeypatch.setattr(tfrecords, "require_manifest", lambda _: None)
    monkeypatch.setattr(registry, "require_network", lambda _: None)
    monkeypatch.setattr(weight_files, "require_named_weights", lambda _: None)
    monkeypatch.setattr(Helpers, "load_config", lambda path, settings: tuple(settings))
    monkeypatch.setattr(Helpers, "start_log", lambda *_: None)
    monkeypatch.setattr(
        send_images, "send_images", lambda *given, **named: got.update(client=(given, named["csv_path"]))
    )
    monkeypatch.setattr(
        classify_files,
        "classify_files",
        lambda *given, **named: got.update(classifier=(given, named["csv_path"], named["labels"])),
    )
    monkeypatch.setattr(cross_validation, "cross_validate", lambda *given: got.update(folds=given))
    importlib.import_module("Client").main(["Send", "--csv", "out.csv", "a", "--set", "Port=1", "b"])
    importlib.import_module("Classifier").main(["a", "--csv", "o", "--", "-b"])
    importlib.import_module("Validation").main(["Folds", "--set", "Epochs=2", "7"])

    assert got["client"] == ((("Port=1",), ["a", "b"]), "out.csv")
    assert got["classifier"] == (((), ["a", "./-b"]), "o", "auto")
    assert got["folds"] == (("Epochs=2",), 7)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("Client.py", "Send"),
        ("Client.py", "Send --csv"),
        ("Client.py", "Send --csv -- a.png"),
        ("Client.py", "Sent a.png"),
        ("Classifier.py", "a.png --bogus b.png"),
        ("Classifier.py", "-a.png"),
        ("Data.py", "Check --strict Folder"),
        ("Data.py", "Augment --strict Folder Other"),
        ("Data.py", "Fields"),
        ("Data.py", "Fields Folder --class blast"),
        ("Data.py", "Fields Folder --class blast=../1"),
        ("Data.py", "Fields Folder --scale 40"),
        ("Data.py", "Fields Folder --others ../0"),
        ("Data.py", "Check --others 0"),
        ("Data.py", "Check --scale 0.1"),
        ("Validation.py", "Folds --set Epochs=2 one"),
        ("Validation.py", "Field"),
        ("Validation.py", "Field Folder Other"),
        ("Validation.py", "Field Folder --scale 40"),
        ("Validation.py", "Folds --scale 0.1"),
    ],
)
def test_what_no_script_knows_is_still_refused(script, line):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(script.removesuffix(".py")).main(line.split())
    assert stop.value.code == 2


def test_the_configuration_table_command_runs():
    run = subprocess.run(
        [sys.executable, "docs/configuration_table.py"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=waiting.LIMIT,
    )
    assert run.returncode == 0, run.stderr
