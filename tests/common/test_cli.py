import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from Classes import Helpers
from Classes.common import cli, config_schema, error_messages, paths, provenance
from Classes.common.errors import ConfigurationError, DataError
from Classes.Helpers import PROJECT
from tests.support import waiting
from tests.support.folders import toys
from tests.support.processes import python

SCRIPTS = sorted(path.name for path in PROJECT.glob("*.py"))


@pytest.fixture
def project(tmp_path):
    """A copy of the project's door, with one script that needs a package nobody has."""
    folder = tmp_path / "my project"
    shutil.copytree(PROJECT / "Classes" / "common", folder / "Classes" / "common")
    shutil.copy(PROJECT / "Classes" / "__init__.py", folder / "Classes")
    (folder / "Script.py").write_text(
        '"""A script.\n\npython3 Script.py\n"""\n'
        "import sys\nfrom Classes.common import cli\n\n"
        "def main():\n"
        "    cli.base_parser(__doc__).parse_args()\n"
        "    import no_such_package\n\n"
        'if __name__ == "__main__":\n'
        '    sys.exit(cli.run_cli(main, ("json", "no_such_package")))\n'
    )
    return folder


def interpreter(project, script):
    """Put a .venv into `project` whose interpreter is a shell script."""
    path = project / ".venv" / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


def start(project, *arguments, **options):
    """Run with an interpreter that has the standard library alone."""
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=waiting.LIMIT, **options)


def test_a_script_hands_over_to_the_environment_with_all_its_arguments(project):
    interpreter(project, 'printf "%s\\n" "$@"; exit 7')
    run = start(project, "-X", "dev", "Script.py", "--set", "Key=a b")
    assert run.stdout.splitlines() == ["-S", "-X", "dev", "Script.py", "--set", "Key=a b"]
    assert run.returncode == 7


def test_a_module_is_handed_over_as_a_module(project):
    interpreter(project, 'printf "%s " "$@"')
    assert start(project, "-m", "Script").stdout == "-S -m Script "


def test_a_script_hands_over_from_any_folder(project, tmp_path):
    interpreter(project, 'printf "%s " "$@"')
    run = start(tmp_path, str(project / "Script.py"))
    assert run.stdout == f"-S {project / 'Script.py'} "


def test_without_an_environment_one_line_says_what_to_run(project):
    run = start(project, "Script.py")
    assert run.stderr == f"Error: no_such_package: not installed; run sh {project / 'Setup.sh'} first\n"
    assert run.stdout == ""
    assert run.returncode == 1


def test_an_environment_that_lacks_the_package_too_is_the_same_line(project):
    interpreter(project, f'exec "{sys.executable}" "$@"')
    run = start(project, "Script.py")
    assert run.stderr == f"Error: no_such_package: not installed; run sh {project / 'Setup.sh'} first\n"
    assert run.returncode == 1


def test_an_environment_whose_python_is_gone_is_none(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3.no-longer")
    assert "not installed; run sh" in start(project, "Script.py").stderr


def test_the_next_program_may_hand_over_again():
    script = (
        f"import os; from Classes.common import cli; os.environ[{cli.REEXEC_FLAG!r}] = '1'\n"
        f"cli.run_cli(lambda: print({cli.REEXEC_FLAG!r} in os.environ), ())"
    )
    assert python(script).stdout == "False\n"


def test_help_needs_nothing_installed(project):
    run = start(project, "Script.py", "--help")
    assert "python3 Script.py" in run.stdout
    assert run.returncode == 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_help_where_nothing_is_installed(name):
    run = start(PROJECT, name, "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert f"python3 {name}" in run.stdout
    assert "--confs PATH" in run.stdout
    assert "--set Key=value" in run.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_lists_exactly_the_keys_that_the_script_reads(name):
    listed = start(PROJECT, name, "--help").stdout
    for key in config_schema.keys().values():
        line = f"\n  {key.name}={json.dumps(key.rule['default'], ensure_ascii=False)}\n"
        assert (line in listed) == (name.removesuffix(".py") in key.rule.get("scripts", []))


@pytest.mark.parametrize("name", SCRIPTS)
def test_version_prints_the_version_and_the_commit(name):
    run = start(PROJECT, name, "--version")
    assert (run.returncode, run.stderr) == (0, "")
    assert provenance.version() in (PROJECT / "pyproject.toml").read_text()
    assert run.stdout.startswith(provenance.version())
    assert (provenance.git_commit() or "") in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "Epoch=5"], "there is no key Epoch; did you mean Epochs?"),
        (
            ["--confs", "missing.json"],
            "missing.json: No such file or directory. Name a configuration file with --confs PATH.",
        ),
    ],
)
def test_every_script_refuses_a_wrong_configuration_in_one_line(name, arguments, expected):
    run = subprocess.run(
        [sys.executable, PROJECT / name, *arguments], capture_output=True, text=True, timeout=waiting.LIMIT
    )
    assert run.stderr.startswith("Error: ")
    assert run.stderr.endswith(f"{expected}\n")
    assert len(run.stderr.splitlines()) == 1
    assert (run.returncode, run.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["Data.py", "Demo", "--strict"], "--strict is not for Demo"),
        (["Data.py", "Check", "--remove"], "--remove is for Demo only"),
        (["Classifier.py", "Devices", "--csv", "a.csv"], "Devices takes no images and writes no rows"),
        (["Classifier.py", "Devices", "a.png"], "Devices takes no images and writes no rows"),
    ],
)
def test_an_option_without_an_effect_is_refused(arguments, expected):
    run = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=waiting.LIMIT
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.endswith(f"error: {expected}\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_happens_at_import(name):
    script = (
        f"import importlib, sys; importlib.import_module({name.removesuffix('.py')!r})\n"
        "print('numpy' in sys.modules, 'tensorflow' in sys.modules)"
    )
    run = python(script)
    assert (run.stdout, run.stderr) == ("False False\n", "")


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (DataError("x.png: no image"), "Error: x.png: no image", 1),
        (ConfigurationError("Epochs is 0"), "Error: Epochs is 0", 2),
        (DataError("a\nERROR forged"), "Error: a\\x0aERROR forged", 1),
        (OSError(28, "No space left on device", "a.pb"), "Error: a.pb: No space left on device; free some space", 1),
        (OSError(28, "No space left on device"), "Error: writing: No space left on device; free some space and run", 1),
        (PermissionError(13, "Permission denied", "a.pb"), "Error: a.pb: Permission denied", 1),
        (MemoryError(), "Error: not enough memory; close other programs, or lower BatchSize or Workers", 1),
        (KeyboardInterrupt(), "Stopped.", 130),
        (KeyError("size"), "Error: KeyError in test_cli.py, line ", 1),
        (OSError("no number"), "Error: OSError in test_cli.py, line ", 1),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(capsys, error, line, code):
    assert cli.run_cli(raising(error), ()) == code
    captured = capsys.readouterr()
    assert captured.err.strip().startswith(line)
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.ESTALE, errno.EROFS, 9999]
)
@pytest.mark.parametrize("file", ["/share/run.json", None])
def test_every_error_of_the_system_names_a_file_and_a_remedy(number, file):
    strerror = os.strerror(number)
    try:
        raise OSError(number, strerror, file) if file else OSError(number, strerror)
    except OSError as error:
        told, code = error_messages.error_message(error)
    before, _, remedy = told.partition(f"{strerror}; ")
    assert code == 1
    assert (file or __file__) in before
    assert remedy


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A site-packages folder into which a test puts packages that do not load."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        (
            "raise ImportError('Traceback:\\n  1\\nImportError: GLIBC_2.28 not found\\n\\nSee it.')",
            "GLIBC_2.28",
        ),
        ("import ctypes; ctypes.CDLL('libnone.so.7')", "libnone.so.7"),
        ("raise RuntimeError('this processor lacks X86_V2')", "X86_V2"),
        ("from brokenpackage_all import nothing", "nothing"),
        ("import another_package_that_is_missing", "another_package_that_is_missing"),
    ],
)
def test_a_package_that_does_not_load_is_no_defect_of_ours(packages, content, reason):
    (packages / "brokenpackage_all.py").write_text(content)
    sys.modules.pop("brokenpackage_all", None)
    try:
        importlib.import_module("brokenpackage_all")
    except Exception as error:
        told, code = error_messages.error_message(error)
    assert code == 1
    assert "brokenpackage_all" in told
    assert reason in told
    assert "\n" not in told
    assert "defect" not in told


def test_a_module_of_ours_that_does_not_load_is_one():
    try:
        from Classes.common.cli import no_such_name  # noqa: F401
    except ImportError as error:
        assert "defect of the toolkit" in error_messages.error_message(error)[0]


WINDOWS = {**os.environ, "PYTHONPATH": str(PROJECT / "tests" / "windows")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_on_windows_every_script_has_help(name):
    run = subprocess.run([sys.executable, PROJECT / name, "--help"], capture_output=True, text=True, env=WINDOWS)
    assert (run.returncode, run.stderr) == (0, "")
    assert f"python3 {name}" in run.stdout


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "Client.py"])
def test_on_windows_all_but_the_client_is_one_line(name):
    run = subprocess.run([sys.executable, PROJECT / name], capture_output=True, text=True, env=WINDOWS)
    assert (run.returncode, run.stdout) == (1, "")
    assert len(run.stderr.splitlines()) == 1
    assert "Client.py" in run.stderr


def test_what_goes_right_is_the_code_of_main():
    assert cli.run_cli(lambda: 0, ()) == 0
    assert cli.run_cli(lambda: 3, ()) == 3


def test_a_wrong_option_leaves_as_argparse_does(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run_cli(lambda: cli.base_parser("A script.").parse_args(["--bogus"]), ())
    assert stop.value.code == 2
    assert "--bogus" in capsys.readouterr().err


def test_a_defect_names_the_log_that_has_its_traceback(configuration, tmp_path, capsys):
    Helpers.start_log(configuration, "Trainer")
    assert cli.run_cli(raising(ValueError("first\nsecond")), ()) == 1
    captured = capsys.readouterr()
    log = tmp_path / "Logs" / "Trainer.log"
    assert "ValueError in test_cli.py, line " in captured.err
    assert captured.err.endswith(
        f": first\\x0asecond; this is a defect of the toolkit, please report it with the end of {log}\n"
    )
    assert "Traceback" not in captured.err + captured.out
    lines = log.read_text().splitlines()
    assert any(line.endswith(" - Entry - ERROR - Traceback (most recent call last):") for line in lines)
    assert lines[-2].endswith(" - Entry - ERROR - ValueError: first")
    assert all(" - " in line for line in lines)


def test_a_reader_that_leaves_is_no_error():
    script = (
        "import sys; from Classes.common import cli\n"
        "print(cli.run_cli(lambda: [print(number) for number in range(10**6)], ()), file=sys.stderr)"
    )
    run = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" | head -n 1', sys.executable, script], cwd=PROJECT, capture_output=True, text=True
    )
    assert run.stdout == "0\n"
    assert run.stderr == "141\n"


def test_output_to_a_full_disk_is_one_line():
    script = "import sys; from Classes.common import cli\nsys.exit(cli.run_cli(lambda: print('a verdict'), ()))"
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-c", script], cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.stderr == "Error: writing: No space left on device; free some space and run this again\n"
    assert run.returncode == 1


def test_a_name_that_the_terminal_lacks_is_printed_all_the_same():
    script = "from Classes.common import cli\ncli.run_cli(lambda: print('März \\udcff 細胞'), ())"
    run = python(script, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (run.stdout, run.stderr) == ("M\\xe4rz \\udcff \\u7d30\\u80de\n", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_tidies_up(tmp_path, number, code):
    script = (
        "import sys, time; from Classes.common import cli, atomic_files\n"
        "def main():\n"
        f"    with atomic_files.atomic_replace({str(tmp_path / 'graph.pb')!r}):\n"
        "        print('writing', flush=True); time.sleep(60)\n"
        "sys.exit(cli.run_cli(main, ()))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        _, errors = process.communicate(timeout=waiting.LIMIT)
    assert errors == "\nStopped.\n"
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_tensorflow_comes_in_silence():
    script = "from Classes.common import cli; cli.import_tensorflow(); import sys; print('tensorflow' in sys.modules)"
    run = python(script)
    assert (run.stdout, run.stderr) == ("True\n", "")


def test_errors_are_heard_again_after_tensorflow_and_its_memory_grows(monkeypatch, capfd):
    def processors(kind):
        os.write(2, b"a remark on drivers\n")
        return [f"{kind}:0", f"{kind}:1"]

    growing = {}
    tensorflow = type(sys)("tensorflow")
    tensorflow.config = type(sys)("config")
    tensorflow.config.list_physical_devices = processors
    tensorflow.config.experimental = type(sys)("experimental")
    tensorflow.config.experimental.set_memory_growth = growing.__setitem__
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    cli.import_tensorflow()
    os.write(2, b"an error\n")
    assert capfd.readouterr().err == "an error\n"
    assert growing == {"GPU:0": True, "GPU:1": True}


@pytest.mark.parametrize("name", ["Trainer", "Validation"])
def test_the_training_doors_import_it_in_silence(name):
    assert "cli.import_tensorflow()" in (paths.PROJECT / f"{name}.py").read_text()


def test_data_imports_it_in_silence_after_the_images_were_checked(tmp_path):
    toys(tmp_path)
    script = (
        "import sys; from Classes.common import cli; import Data\n"
        "def imported():\n"
        "    print('tensorflow' in sys.modules)\n"
        "    raise SystemExit(7)\n"
        "cli.import_tensorflow = imported\n"
        f"Data.main(['--set', 'NetworkPath={tmp_path}'])"
    )
    run = python(script)
    assert (run.stdout.splitlines()[-1], run.returncode) == ("False", 7), run.stderr
    # The images were decoded by then, and nothing is written without it.
    assert (tmp_path / "Model/Jobs").exists()
    assert not list((tmp_path / "Model/Data").glob("*.tfrecord"))


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        # What a library made of the stop, and what kept the run from tidying up.
        (ImportError("numpy.core.multiarray failed to import"), "\nStopped.\n", 130),
        (OSError(28, "No space left on device", "a.index"), "Error: a.index: No space left on device; free some", 1),
    ],
)
def test_a_stop_that_comes_out_as_an_error(capsys, error, said, code):
    def main():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    assert cli.run_cli(main, ()) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(("times", "code"), [(1, 3), (2, -signal.SIGINT)])
def test_a_stop_on_the_way_out_changes_nothing_but_a_second_one_ends_it(times, code):
    script = (
        "import atexit, os, signal, sys; from Classes.common import cli\n"
        f"atexit.register(lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range({times})])\n"
        "sys.exit(cli.run_cli(lambda: 3, ()))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (code, "", "")
