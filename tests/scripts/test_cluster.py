"""The job scripts, on a real queue of one machine where Slurm is installed."""

import os
import re
import shutil
import socket
import subprocess

import pytest

from Classes.Helpers import PROJECT
from tests.support import ports, waiting

JOBS = ("Classifier", "Data", "Slide", "Trainer", "Validation")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "qsub", "qstat", "scancel")

PYTHON = """#!/bin/sh
case "$*" in
-c*) echo 40; exit ;;
esac
echo "ran $*"
trap 'echo saved; exit 143' TERM
if [ -e slow ]; then echo started >started; while :; do sleep 0.1; done; fi
"""


@pytest.fixture
def project(tmp_path):
    """The scripts, with an interpreter that only says what it was asked for."""
    shutil.copytree(PROJECT / "Required" / "cluster", tmp_path / "Required" / "cluster")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "ran"),
    [
        ("Classifier", "Classifier.py"),
        ("Data", "Data.py"),
        ("Slide", "Classifier.py Slide"),
        ("Trainer", "Trainer.py --set Epochs=40"),
        ("Validation", "Validation.py"),
    ],
)
@pytest.mark.parametrize("variable", ["PBS_O_WORKDIR", "SLURM_SUBMIT_DIR"])
def test_a_job_runs_in_the_folder_it_was_submitted_from(project, name, ran, variable):
    environment = {"PATH": os.environ["PATH"], variable: str(project)}
    script = project / "Required" / "cluster" / name
    done = subprocess.run(
        ["sh", script], cwd="/", env=environment, capture_output=True, text=True, timeout=waiting.LIMIT
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"ran {ran}"


@pytest.mark.parametrize("name", ["Classifier", "Data", "Slide"])
@pytest.mark.parametrize("variable", ["SLURM_ARRAY_TASK_ID", "PBS_ARRAYID", "PBS_ARRAY_INDEX"])
def test_a_job_of_an_array_computes_its_share(project, name, variable):
    environment = {"PATH": os.environ["PATH"], "PBS_O_WORKDIR": str(project), "ALL_OPTIONS": "--set A=1", variable: "3"}
    script = project / "Required" / "cluster" / name
    ran = []
    for shares in ({}, {"SHARDS": "20"}):
        done = subprocess.run(
            ["sh", script, "my images"],
            env={**environment, **shares},
            capture_output=True,
            text=True,
            timeout=waiting.LIMIT,
        )
        ran.append(done.stdout.splitlines()[-1])

    first = {"Classifier": "Classifier.py", "Data": "Data.py", "Slide": "Classifier.py Slide"}[name]
    assert ran == [f"ran {first} my images --set A=1 --shard 3/{count}" for count in (8, 20)]


START = """#!/bin/sh
echo "${0##*/} $*"
while [ $# -gt 0 ]; do
    case $1 in
    -*) shift ;;
    *) break ;;
    esac
done
cd /
PBS_NODENUM=1 exec "$@"
"""


@pytest.mark.parametrize(
    ("started", "queue"),
    [
        ("srun --ntasks-per-node=1 .venv/bin/python Trainer.py --set Epochs=40", {"SLURM_JOB_NUM_NODES": "2"}),
        ("pbsdsh -u sh -c cd '", {"PBS_NODEFILE": "nodes"}),
    ],
)
def test_several_machines_start_a_worker_each(project, started, queue):
    programs = project / "bin"
    programs.mkdir()
    for name in ("srun", "pbsdsh"):
        # srun starts its tasks in the job's folder.
        (programs / name).write_text(START.replace("cd /\n", "") if name == "srun" else START)
        (programs / name).chmod(0o755)
    (project / "Logs").mkdir()
    (project / "nodes").write_text("node7\nnode7\nnode9\n")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PBS_O_WORKDIR": str(project), **queue}
    script = project / "Required" / "cluster" / "Trainer"
    done = subprocess.run(
        ["sh", script], cwd="/", env=environment, capture_output=True, text=True, timeout=waiting.LIMIT
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[1].startswith(started)
    assert done.stdout.splitlines()[-1].strip() == "ran Trainer.py --set Epochs=40"
    if "PBS_NODEFILE" in queue:
        assert (project / "Logs" / "nodes").read_text() == "node7\nnode7\nnode9\n"


@pytest.mark.parametrize("name", JOBS)
def test_both_queues_read_the_same_limits(name):
    text = (PROJECT / "Required" / "cluster" / name).read_text()

    assert re.search(r"#PBS -l walltime=(\S+)", text)[1] == re.search(r"#SBATCH --time=(\S+)", text)[1]
    # A job has the name of its script, so a copy may be named after the condition.
    assert not re.search(r"#PBS -N|--job-name", text)
    assert text.endswith("\n"), "a queue may leave out a last line without an end"


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """Slurm on this machine alone: munged, slurmctld and slurmd, started here and stopped afterwards."""
    if lacking := [name for name in NEEDED if not shutil.which(name)]:
        pytest.skip(f"no queue here ({', '.join(lacking)} missing); on Debian: slurm-wlm, slurm-wlm-torque")
    if os.geteuid():
        pytest.skip("slurmd wants to be root")
    folder = tmp_path_factory.mktemp("slurm")
    started, environment = [], {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    (folder / "slurm.conf").write_text(_configuration(folder))
    try:
        for command in (_munge(folder), ["slurmctld", "-D"], ["slurmd", "-D"]):
            started.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        try:
            waiting.until(lambda: "idle" in _output(environment, "sinfo", "-h", "-o", "%T"))
        except AssertionError:
            state = _output(environment, "sinfo", "-h", "-o", "%T").strip()
            pytest.skip(f"Slurm does not start here (state {state or 'unknown'})")
        yield environment
        _output(environment, "scancel", "--full", "--user=root")
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(waiting.LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _munge(folder):
    """The command that starts a munged with a socket of its own, so that it meets no other one."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    places = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    return ["munged", "--foreground", "--force", f"--key-file={key}", *places]


def _configuration(folder):
    host = socket.gethostname().split(".")[0]
    return f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports.free_port()}
SlurmdPort={ports.free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _output(environment, *command, folder=None):
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=waiting.LIMIT)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sbatch", "qsub"])
def test_a_real_queue_runs_the_training(project, queue, command):
    submitted = _output(queue, command, "Required/cluster/Trainer", folder=project)
    number = re.search(r"\d+", submitted)[0]

    assert re.search(r"Trainer", _output(queue, "qstat"))
    waiting.until(
        lambda: any("ran Trainer.py --set Epochs=40" in text for text in _texts(project, number)), "the job's end"
    )


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_first(project, queue):
    (project / "slow").touch()
    number = re.search(r"\d+", _output(queue, "sbatch", "Required/cluster/Trainer", folder=project))[0]
    waiting.until((project / "started").exists, "the job's start")

    _output(queue, "scancel", "--batch", "--signal=TERM", number)

    waiting.until(lambda: any("saved" in text for text in _texts(project, number)), "the saving")


def _texts(project, number):
    return [path.read_text() for path in project.glob(f"*{number}*") if path.is_file()]


def test_dask_knows_the_settings_of_its_configuration():
    dask_config = pytest.importorskip("dask.config")
    pytest.importorskip("distributed")
    (chosen,) = dask_config.collect_yaml([str(PROJECT / "Required" / "cluster" / "dask.yaml")])

    def leaves(values, path=""):
        for name, value in values.items():
            yield from leaves(value, f"{path}{name}.") if isinstance(value, dict) else [(f"{path}{name}", value)]

    found = dict(leaves(chosen))
    assert found["distributed.worker.profile.enabled"] is False
    # A name that Dask does not know would have no effect.
    assert all(dask_config.get(name, "unknown") != "unknown" for name in found)
