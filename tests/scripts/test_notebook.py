"""The tutorial Trainer.ipynb, run from its first cell to its last on synthetic smears, by a real kernel."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from Classes.Helpers import PROJECT

pytestmark = pytest.mark.slow

SMALL = {"DepthMultiplier": 0.125, "EpochsDevCloud": 2, "ImageSize": 139, "Pretrained": "none", "Shards": 2}
QUEUES = ("qsub", "sbatch")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The notebook after its run, in a copy of the project where no queue is found."""
    project = tmp_path_factory.mktemp("cluster") / "project"
    _copy(project)
    environment = {**os.environ, "PATH": str(_programs(project.parent / "bin")), "JUPYTER_PLATFORM_DIRS": "1"}
    command = "import nbclient.cli; nbclient.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--inplace", "--timeout=300", "Trainer.ipynb"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((project / "Trainer.ipynb").read_text()), project


def _copy(project):
    """The files a clone has, an installed .venv, and a configuration that trains in seconds."""
    project.mkdir()
    for name in ("pyproject.toml", "Setup.sh", "Trainer.ipynb"):
        shutil.copy(PROJECT / name, project)
    for path in PROJECT.glob("*.py"):
        shutil.copy(path, project)
    for name in ("Classes", "Required"):
        shutil.copytree(PROJECT / name, project / name)
    for name in ("Model/Data/0", "Model/Data/1", "Model/Test", "Model/Pretrained", "Logs"):
        (project / name).mkdir(parents=True)
    (project / "Required" / "confs.json").write_text(json.dumps({"Classifier": SMALL}))
    venv.create(project / ".venv", symlinks=True)
    inside = next((project / ".venv" / "lib").glob("python*/site-packages"))
    (inside / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    installed = "".join(each.read_text() for each in sorted((project / "Required").glob("requirements*.txt")))
    (project / ".venv" / "requirements.txt.done").write_text(installed)


def _programs(folder):
    """A folder with every program of the path but those that submit jobs."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in pathlib.Path(place).glob("*"):
            if program.name not in QUEUES and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return folder


def _printed(notebook):
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return "".join("".join(output.get("text", ())) for output in outputs if output["output_type"] == "stream")


def test_every_cell_was_run_and_none_failed(ran):
    cells = [cell for cell in ran[0]["cells"] if cell["cell_type"] == "code"]

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


def test_it_goes_the_whole_way(ran):
    notebook, project = ran
    printed = _printed(notebook)

    assert "Completed sorting data!" in printed
    assert "Froze 378 variables" in printed
    assert "Sensitivity" in printed
    assert "synthetic" in printed
    assert "20 images" in printed
    assert (project / "Model" / "ALLGraph.pb").stat().st_size > 100_000


def test_its_plots_are_pictures(ran):
    shown = [
        output["data"]["image/png"]
        for cell in ran[0]["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == "display_data"
    ]

    assert len(shown) == 4


def test_a_verdict_is_for_research_only(ran):
    assert "esearch use only" in _printed(ran[0])


QSTAT = """#!/bin/sh
echo "Job ID                    Name             User            Time Use S Queue"
echo "------------------------- ---------------- --------------- -------- - -----"
[ -e done ] || echo "8390.c009                  ...DevCloud-Data u13339                 0 R batch"
echo >done
"""


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """The names of the cell that submits jobs, beside a queue that answers as a cluster's own did."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("qsub", "#!/bin/sh\necho 8390.c009\n"), ("qstat", QSTAT)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    cells = json.loads((PROJECT / "Trainer.ipynb").read_text())["cells"]
    names = {"Path": pathlib.Path}
    exec(next("".join(each["source"]) for each in cells if "def submit" in "".join(each["source"])), names)
    return names


def test_a_job_is_followed_until_the_queue_forgets_it(cell, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    number = cell["submit"]("Data", "-l", "walltime=01:00:00")
    cell["wait"](number)

    assert number == "8390"
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["R", "batch"]
    assert cell["status"](number) == ""


@pytest.mark.parametrize("name", ["ALL-Data.o8390", "Data.o8390", "slurm-8390.out"])
def test_the_end_of_a_jobs_output_is_shown_whatever_the_queue_calls_it(cell, capsys, tmp_path, name):
    (tmp_path / name).write_text("first\nlast\n")
    cell["output"]("Data", "8390", lines=1)

    assert capsys.readouterr().out == f"--- {name}\nlast\n"


def test_a_job_that_is_refused_says_why(cell, tmp_path):
    (tmp_path / "bin" / "qsub").write_text("#!/bin/sh\necho 'qsub: no such queue' >&2\nexit 1\n")

    with pytest.raises(RuntimeError, match="no such queue"):
        cell["submit"]("Data")


def test_it_is_kept_without_outputs():
    notebook = json.loads((PROJECT / "Trainer.ipynb").read_text())

    assert not any(cell.get("outputs") for cell in notebook["cells"])
