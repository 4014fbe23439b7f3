"""Setup.sh with a Python that only notes what it is asked for; the steps, files and messages are real."""

import os
import re
import shutil
import subprocess

import pytest

from Classes.Helpers import PROJECT
from tests.support import waiting

TOOLS = ("sh", "cat", "cmp", "cp", "dirname", "find", "mkdir", "rm")

SYSTEM = r"""#!/bin/sh
case "$*" in
*version_info*) exit "${FAKE_VERSION:-0}" ;;
*ensurepip*) exit "${FAKE_VENV:-0}" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$FAKES/inside" "$3/bin/python" && echo "made by ${0##*/}" >>"$FAKES/calls" ;;
esac
"""

INSIDE = r"""#!/bin/sh
case "$*" in
*version_info*) exit "${FAKE_INSIDE:-0}" ;;
"-m pip --version") exit 0 ;;
*missing*) exit "${FAKE_MISSING:-0}" ;;
*DatasetDir*) echo "$PWD/Model/Data"; exit 0 ;;
*CaptureDir*) echo "$PWD/Model/Data/Captured"; exit 0 ;;
esac
echo "$*" >>"$FAKES/calls"
case "$*" in
*"pip install"*) echo "pip: no route to host" >&2; exit "${FAKE_PIP:-0}" ;;
"-m Classes.networks.download_weights") exit "${FAKE_FETCH:-0}" ;;
"Data.py Demo") echo >Model/Data/0/Synthetic_0000_0.png ;;
"${FAKE_FAILS:-nothing}") echo "Error: as asked" >&2; exit 1 ;;
esac
"""

TESTS = "-m pytest -n 2 --dist loadfile --no-loadscope-reorder"
INSTALL = "-m pip install --disable-pip-version-check --quiet --requirement Required/"
DEMO = " --set DepthMultiplier="
INSTALL_ALL = INSTALL + "requirements.txt --compile"
INSTALL_SERVING = INSTALL + "requirements-serving.txt --no-compile"
DEMO_SERVER = "Server.py --demo --open"


class Place:
    """A copy of the project's frame, with nothing but fakes to run."""

    def __init__(self, folder):
        self.project = folder / "my project"
        self.fakes = folder / "fakes"
        self.fakes.mkdir()
        shutil.copytree(PROJECT / "Required", self.project / "Required")
        shutil.copy(PROJECT / "Setup.sh", self.project)
        for name in ("Data/0", "Data/1", "Test", "Pretrained"):
            (self.project / "Model" / name).mkdir(parents=True)
            (self.project / "Model" / name / ".gitkeep").touch()
        for tool in TOOLS:
            (self.fakes / tool).symlink_to(shutil.which(tool))
        self._script("inside", INSIDE)
        self.python("python3")

    def python(self, name):
        self._script(name, SYSTEM)

    def _script(self, name, text):
        (self.fakes / name).write_text(text)
        (self.fakes / name).chmod(0o755)

    def run(self, *arguments, folder=None, **fakes):
        """Run Setup.sh; returns the finished process, its `calls` the new ones."""
        (self.fakes / "calls").write_text("")
        environment = {"PATH": str(self.fakes), "FAKES": str(self.fakes), **fakes}
        process = subprocess.run(
            [self.fakes / "sh", os.path.relpath(self.project / "Setup.sh", folder or self.project), *arguments],
            cwd=folder or self.project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=waiting.LIMIT,
        )
        process.calls = (self.fakes / "calls").read_text().splitlines()
        return process


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_it_installs_and_fetches(place):
    run = place.run()
    assert run.calls == [
        "made by python3",
        INSTALL_ALL,
        "-m Classes.networks.download_weights",
    ]
    assert (run.returncode, run.stderr) == (0, "")
    assert "Next: sh Setup.sh Run" in run.stdout


def test_where_there_is_a_graphics_processor_its_packages_are_installed(place):
    place._script("nvidia-smi", "#!/bin/sh\nexit 0\n")
    run = place.run()
    assert run.calls == [
        "made by python3",
        INSTALL + "requirements-cuda.txt --compile",
        "-m Classes.networks.download_weights",
    ]
    assert place.run().calls == ["-m Classes.networks.download_weights"]
    place._script("nvidia-smi", "#!/bin/sh\nexit 9\n")
    assert place.run().calls[0] == INSTALL_ALL


def test_a_second_run_installs_nothing(place):
    place.run()
    run = place.run()
    assert run.calls == ["-m Classes.networks.download_weights"]
    assert "Installing" not in run.stdout


def test_other_requirements_are_installed(place):
    place.run()
    with open(place.project / "Required" / "requirements-serving.txt", "a") as file:
        file.write("six\n")
    assert place.run().calls == [INSTALL_ALL, "-m Classes.networks.download_weights"]


def test_a_package_that_was_removed_is_installed_again(place):
    place.run()
    assert place.run(FAKE_MISSING="1").calls[0] == INSTALL_ALL


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_it_works_from_any_folder_and_in_a_path_with_spaces(place, folder):
    run = place.run(folder=place.project / folder)
    assert run.returncode == 0
    assert (place.project / ".venv" / "bin" / "python").exists()


def test_cdpath_does_not_lead_it_astray(place, tmp_path):
    (tmp_path / "elsewhere" / "my project").mkdir(parents=True)
    place.run(folder=tmp_path, CDPATH=str(tmp_path / "elsewhere"))
    assert (place.project / ".venv").exists()


@pytest.mark.parametrize("arguments", [["Rum"], ["--run"], ["Run", "now"], ["Demo", "now"], ["", "Run"]])
def test_anything_else_is_told_the_usage(place, arguments):
    run = place.run(*arguments)
    assert run.stderr.startswith("usage: sh Setup.sh [Demo | Run | Test")
    assert run.returncode == 2
    assert run.calls == []


@pytest.mark.parametrize("word", ["--help", "-h", "help", "Help"])
def test_the_help_explains_each_word_and_installs_nothing(place, word):
    run = place.run(word)
    explained = {line.split()[0] for line in run.stdout.splitlines() if line.startswith("  ")}
    assert explained == {"(no", "Demo", "Run", "Test"}
    assert (run.returncode, run.stderr, run.calls) == (0, "", [])
    assert max(map(len, run.stdout.splitlines())) < 80


@pytest.mark.parametrize(("word", "last"), [("run", "Classifier.py"), ("RUN", "Classifier.py"), ("tEst", TESTS)])
def test_words_can_be_written_in_any_case(place, word, last):
    assert place.run(word).calls[-1] == last


def test_the_demo_installs_only_what_serving_needs(place):
    place._script("nvidia-smi", "#!/bin/sh\nexit 0\n")
    assert place.run("Demo").calls == [
        "made by python3",
        INSTALL_SERVING,
        DEMO_SERVER,
    ]
    assert place.run("demo").calls == [DEMO_SERVER]


def test_the_demo_uses_the_packages_of_a_full_installation(place):
    place.run()
    assert place.run("Demo").calls == [DEMO_SERVER]


def test_only_the_last_script_of_a_run_says_what_is_next(place):
    place._script("inside", INSIDE.replace('echo "$*" >>', 'echo "$* ${ALL_SETUP_STEP-}" >>'))
    steps = [call.split()[-1] for call in place.run("Run").calls if ".py" in call]
    assert steps == ["middle"] * (len(steps) - 1) + ["last"]
    assert len(steps) == 5


def test_tests_need_their_own_packages_and_no_weights(place):
    assert place.run("Test").calls == [
        "made by python3",
        INSTALL_ALL,
        INSTALL + "requirements-dev.txt --compile",
        TESTS,
    ]
    assert place.run("Test", "-x", "tests/inference/test_model_card.py").calls == [
        f"{TESTS} -x tests/inference/test_model_card.py"
    ]


def test_the_exit_code_of_the_tests_is_its_own(place):
    assert place.run("Test", FAKE_FAILS=TESTS).returncode == 1


def test_the_newest_named_python_serves_where_python3_does_not(place):
    (place.fakes / "python3").unlink()
    place.python("python3.11")
    place.python("python3.12")
    assert place.run().calls[0] == "made by python3.12"


@pytest.mark.parametrize("found", [True, False])
def test_without_a_supported_python_one_line_says_what_to_install(place, found):
    if not found:
        (place.fakes / "python3").unlink()
    run = place.run(FAKE_VERSION="1")
    assert "3.10" in run.stderr
    assert "3.13" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert run.returncode == 1
    assert not (place.project / ".venv").exists()


def test_without_the_venv_module_one_line_says_what_to_install(place):
    run = place.run(FAKE_VENV="1")
    assert run.stderr.startswith("Error: ")
    assert "sudo apt install python3-venv" in run.stderr
    assert run.returncode == 1


def test_an_incomplete_environment_is_replaced(place):
    (place.project / ".venv" / "lib").mkdir(parents=True)
    run = place.run()
    assert run.calls[0] == "made by python3"
    assert not (place.project / ".venv" / "lib").exists()


def test_an_environment_of_an_unsupported_python_is_replaced(place):
    place.run()
    assert place.run(FAKE_INSIDE="1").calls[:2] == ["made by python3", INSTALL_ALL]


def test_the_python_of_an_active_environment_does_not_replace_it(place):
    place.run()
    active = place.project / ".venv" / "bin"
    shutil.copy(active / "python", active / "python3")
    run = place.run(FAKE_INSIDE="1", PATH=f"{active}:{place.fakes}", FAKE_VERSION="1")
    assert "3.13" in run.stderr
    assert active.exists()


def test_a_failing_pip_is_one_line_and_installed_the_next_time(place):
    run = place.run(FAKE_PIP="1")
    assert len(run.stderr.splitlines()) == 1
    assert "Required/requirements.txt" in run.stderr
    assert "Logs/Setup.log" in run.stderr
    assert (place.project / "Logs" / "Setup.log").read_text() == "pip: no route to host\n"
    assert run.returncode == 1
    assert INSTALL_ALL in place.run().calls


def test_without_a_network_the_set_up_goes_on(place):
    run = place.run(FAKE_FETCH="1")
    assert run.returncode == 0
    assert "Ready." in run.stdout


def main_job(run):
    return run.calls[run.calls.index("-m Classes.networks.download_weights") + 1 :]


def test_without_images_the_main_job_draws_its_own(place):
    calls = main_job(place.run("Run"))
    assert calls == ["Data.py Demo", "Data.py", "Trainer.py", "Validation.py", "Classifier.py"]


@pytest.mark.parametrize("times", [1, 2])
def test_without_weights_either_a_narrow_network_is_trained(place, times):
    for _ in range(times):
        run = place.run("Run", FAKE_FETCH="1")
    calls = main_job(run)
    assert calls[-3].startswith("Trainer.py" + DEMO)
    assert [call for call in calls if call == "Data.py Demo"] == ["Data.py Demo"] * (times == 1)


@pytest.mark.parametrize("with_synthetic", [False, True])
@pytest.mark.parametrize("fetched", ["0", "1"])
def test_real_images_are_trained_on_as_configured(place, with_synthetic, fetched):
    (place.project / "Model" / "Data" / "0" / "Im 047_0.jpg").touch()
    if with_synthetic:
        (place.project / "Model" / "Data" / "1" / "Synthetic_0001_1.png").touch()
    calls = main_job(place.run("Run", FAKE_FETCH=fetched))
    assert calls == ["Data.py", "Trainer.py", "Validation.py", "Classifier.py"]


@pytest.mark.parametrize("name", ["fold_0/all/UID_1_all.bmp", "ALL_IDB2/img/Im001_1.tif"])
def test_nested_images_are_never_replaced_by_synthetic_ones(place, name):
    path = place.project / "Model" / "Data" / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert "Data.py Demo" not in place.run("Run").calls


@pytest.mark.parametrize(
    "name", ["Captured/2026/cell.png", "Inbox/cell.png", "1/Inbox [2]/cell.png", "0/Thumbs.db", "__MACOSX/0/._cell.png"]
)
def test_captured_images_and_system_files_are_no_data(place, name):
    path = place.project / "Model" / "Data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if "Inbox" in name:
        (path.parent / "Captured.jsonl").touch()
    assert "Data.py Demo" in place.run("Run").calls


def test_shards_beside_the_class_folders_are_no_images(place):
    (place.project / "Model" / "Data" / "ALL_manifest.json").touch()
    assert "Data.py Demo" in place.run("Run").calls


def test_the_main_job_ends_with_what_fails(place):
    run = place.run("Run", FAKE_FAILS="Trainer.py")
    assert run.calls[-1] == "Trainer.py"
    assert run.stderr == "Error: as asked\n"
    assert run.returncode == 1


def test_it_asks_for_settings_that_exist(place):
    from Classes import Helpers

    call = next(call for call in place.run("Run", FAKE_FETCH="1").calls if call.startswith("Trainer.py"))
    settings = re.findall(r"--set (\S+)", call)
    assert len(settings) >= 2
    assert Helpers.load_config(None, settings)["DepthMultiplier"] < 1


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_can_read_it(shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    command = [shell, "sh", "-n"] if shell == "busybox" else [shell, "-n"]
    assert subprocess.run([*command, PROJECT / "Setup.sh"], capture_output=True).stderr == b""


def test_windows_line_ends_are_cleaned_as_documented(place):
    script = place.project / "Setup.sh"
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))
    assert place.run().returncode != 0
    subprocess.run(["sed", "-i", r"s/\r//", "Setup.sh"], cwd=place.project, check=True)
    assert place.run().returncode == 0


def requirements(name):
    lines = (PROJECT / "Required" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "requirements-serving.txt", "requirements-dev.txt", "requirements-docs.txt"],
)
def test_every_version_is_pinned(name):
    for line in requirements(name):
        assert re.fullmatch(r'-r requirements-\w+\.txt|[\w-]+==[\d.]+(; python_version (<|>=) "3\.\d+")?', line)


def test_serving_installs_without_tensorflow():
    names = {line.partition("==")[0] for line in requirements("requirements-serving.txt")}
    assert names >= {"jsonschema", "numpy", "openvino", "pillow", "rich"}
    assert not names & {"tensorflow", "tf_keras", "keras", "scipy", "scikit-learn", "matplotlib"}


def test_every_package_that_a_script_checks_for_is_pinned():
    from Classes.common import cli

    files = ("requirements.txt", "requirements-serving.txt")
    named = {line.partition("==")[0] for name in files for line in requirements(name)}
    named -= {"-r requirements-serving.txt"}
    distributions = {"PIL": "pillow", "sklearn": "scikit-learn", "tf_slim": "tf-slim"}
    distributions |= {"prometheus_client": "prometheus-client", "yaml": "pyyaml"}
    asked = {distributions.get(name, name) for name in (*cli.TRAINING, *cli.SERVER)}
    assert asked <= named
    # Optional: only a server with a broker needs it.
    assert "paho-mqtt" in named
    training = {line.partition("==")[0] for line in requirements("requirements.txt")} - {"-r requirements-serving.txt"}
    assert training <= asked
