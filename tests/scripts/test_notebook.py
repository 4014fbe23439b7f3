"""The tutorial Trainer.ipynb, run from its first cell to its last on synthetic smears, by a real kernel.

With Condition=AML, as in the document that it comes from.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from Classes.Helpers import PROJECT
from tests.support import waiting

pytestmark = pytest.mark.slow

SMALL = {
    "Condition": "AML",
    "DepthMultiplier": 0.125,
    "EpochsDevCloud": 2,
    "ImageSize": 139,
    "Pretrained": "none",
    "Shards": 2,
}
QUEUES = ("qsub", "sbatch")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The notebook after its run, in a copy of the project where no queue is found."""
    project = tmp_path_factory.mktemp("cluster") / "project"
    _copy(project)
    environment = {**os.environ, "PATH": str(_programs(project.parent / "bin")), "JUPYTER_PLATFORM_DIRS": "1"}
    command = "import nbclient.cli; nbclient.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--inplace", f"--timeout={waiting.LONG_LIMIT}", "Trainer.ipynb"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=waiting.LONG_LIMIT,
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
    assert (project / "Model" / "AMLGraph.pb").stat().st_size > 100_000


def test_it_prints_the_lines_of_the_document(ran):
    notebook, project = ran
    printed = _printed(notebook) + "".join((project / f"{job}.o1").read_text() for job in ("Data", "Trainer"))

    for pattern in (
        r"Completed sorting data!",
        r"Final Loss: \d\.\d+",
        r"Final Accuracy: \d\.\d+",
        r"Finished training! Saving model to disk now\.",
        r"Froze 378 variables\.",
        r"AML (in)?correctly (not )?detected with (LOW )?confidence of \d\.\d+",
        r"With AML: 10 images, detected in \d+\. Without AML: 10 images",
    ):
        assert re.search(pattern, printed), pattern


def test_every_file_is_named_after_the_condition(ran):
    model = ran[1] / "Model"

    for name in ("AMLGraph.json", "Data/AML_manifest.json", "Data/AML_train_00000-of-00002.tfrecord"):
        assert (model / name).is_file(), name
    assert not [path for path in ran[1].rglob("ALL*") if ".venv" not in path.parts]


# The name of the first system, in its log lines.
OTHER_MEANING = r"AML & ALL Detection System"


def test_no_text_names_another_condition(ran):
    notebook, project = ran
    files = [
        path
        for pattern in ("Logs/*.log", "Model/*.md", "Model/*.json", "Model/*/*.json")
        for path in project.glob(pattern)
    ]
    files += [*project.glob("Model/Report/*.html"), *project.glob("Model/Runs/*/*.csv")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files} | {"notebook": _printed(notebook)}

    assert {"Data.html", "Report.html", "MODEL_CARD.md", "AMLGraph.json", "metrics.json", "Classifier.log"} <= set(
        texts
    )
    for name, text in texts.items():
        found = re.findall(r".{0,40}\b(?:ALL|Lymphoblastic)\b.{0,40}", text.replace(OTHER_MEANING, ""))
        assert not found, (name, found[:3])
    assert "Acute Myeloid Leukemia" in texts["MODEL_CARD.md"]
    assert "AML detection" in texts["Report.html"]
    assert json.loads(texts["AMLGraph.json"])["condition"]["short"] == "AML"


COMPILER = """#!/bin/sh
echo "$@" >"{project}/compiled"
"""


def test_the_compiler_of_the_stick_gets_the_names_of_the_document(ran, tmp_path):
    project = ran[1]
    compiler = tmp_path / "mvNCCompile"
    compiler.write_text(COMPILER.format(project=project))
    compiler.chmod(0o755)
    command = [sys.executable, "Trainer.py", "Compile", "--set", f"StickCompiler={compiler}"]

    subprocess.run(command, cwd=project, capture_output=True, timeout=waiting.LIMIT)

    # AMLGraph.pb -in=input -on=InceptionV3/Predictions/Softmax -o AML.graph
    arguments = (project / "compiled").read_text().split()
    assert arguments[-5:] == ["AMLGraph.pb", "-in=input", "-on=InceptionV3/Predictions/Softmax", "-o", "AML.graph"]


@contextlib.contextmanager
def _serving(project):
    """Server.py with the model of the notebook; its address."""
    command = [sys.executable, "-u", "Server.py", "--set", "Port=0", "--set", "Precision=f32"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        finally:
            process.kill()


def test_server_and_client_answer_for_the_condition(ran, tmp_path):
    project = ran[1]
    with _serving(project) as address:
        command = [sys.executable, "Client.py", "Test", "--server", address, "--csv", str(tmp_path / "t.csv")]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=waiting.LIMIT)

    assert done.returncode == 0, done.stderr
    assert re.search(r"AML (not )?detected with a (LOW )?confidence of \d\.\d+ in \d", done.stdout)
    assert "With AML: 10 images" in done.stdout
    assert "AML probability (%)" in (tmp_path / "t.csv").read_text()


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


@pytest.mark.parametrize("name", ["AML-DevCloud-Data.o8390", "Data.o8390", "slurm-8390.out"])
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
