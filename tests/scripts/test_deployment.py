"""The unit file and the container file start a server, and stop it without losing a request."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from Classes.common import cli, config
from Classes.Helpers import PROJECT
from tests.support import graphs, servers, waiting

UNIT = PROJECT / "Required" / "systemd" / "all-server@.service"
DOCKERFILE = PROJECT / "Required" / "container" / "Dockerfile"
IGNORE = DOCKERFILE.with_name("Dockerfile.dockerignore")


def instructions():
    """Return [(instruction, arguments)] of the Dockerfile."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def copied():
    """Return [(sources, destination)] of the COPY instructions."""
    found = [arguments.split() for name, arguments in instructions() if name == "COPY"]
    return [(parts[:-1], parts[-1]) for parts in found]


def test_the_unit_waits_longer_than_the_server_needs_to_stop():
    text = UNIT.read_text(encoding="utf-8")
    defaults = config.load_config()

    assert int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1]) > defaults["ShutdownTimeout"]


def test_the_unit_s_command_has_only_settings_that_exist():
    command = re.search(r"^ExecStart=(.+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)[1]
    words = shlex.split(command.replace("%i", "8081").replace("${ALL_DOMAIN}", "lab.example.org"))

    configuration = config.load_config(settings=cli.base_parser(None).parse_args(words[2:]).settings)

    assert words[1] == "Server.py"
    assert (configuration["Port"], configuration["Domain"]) == (8081, "lab.example.org")
    assert str(configuration.logs) == "/var/log/all/8081"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path):
    # It also checks that the program exists.
    text = UNIT.read_text(encoding="utf-8").replace("/opt/all/.venv/bin/python", sys.executable)
    (tmp_path / "all-server@8081.service").write_text(text, encoding="utf-8")

    found = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "all-server@8081.service")], capture_output=True, text=True
    )

    assert [line for line in found.stderr.splitlines() if "all-server" in line] == []


def test_what_the_container_copies_passes_its_ignore_file():
    allowed = {line[1:] for line in IGNORE.read_text(encoding="utf-8").splitlines() if line.startswith("!")}

    assert allowed == {source for sources, _ in copied() for source in sources}
    assert all((PROJECT / source).exists() for source in allowed)


@pytest.mark.slow
def test_the_container_s_files_are_enough_for_a_server(tmp_path):
    folder = tmp_path / "opt"
    for sources, destination in copied():
        for source in sources:
            target = folder / (source if destination == source else f"{destination}/{source.split('/')[-1]}")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (PROJECT / source).is_dir() else shutil.copyfile
            copy(PROJECT / source, target)
    graphs.write(folder / "Model")
    [entry] = [arguments for name, arguments in instructions() if name == "ENTRYPOINT"]
    program, *arguments = json.loads(entry)
    # The packages of this environment stand for those of the lock file, another port for that of the container.
    command = [{"python": sys.executable}[program], *arguments, "--set", "Port=0", "--set", "Precision=f32"]
    environment = {**os.environ, "ALL_API_KEY": "k" * 20, "PYTHONPATH": ""}

    with (
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        contextlib.closing(process.stdout),
    ):
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"Running on http://.*:(\d+)/", line):
                    break
            else:
                raise AssertionError("".join(lines))
            status, answer, _ = servers.request(int(found[1]), "GET", "/health/ready")
            refused, _, _ = servers.request(int(found[1]), "GET", "/v1/model")
            process.terminate()
            assert process.wait(waiting.LIMIT) == 0
        finally:
            process.kill()
    assert (status, answer, refused) == (200, {"status": "ok"}, 401)
