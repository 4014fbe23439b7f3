"""Training by several workers: the same result as by one, and what is taken from a queue's variables."""

import functools
import json
import os
import re
import signal
import subprocess
import sys

import numpy
import pytest
import tensorflow as tf

from Classes import Data
from Classes.common.errors import CheckpointError, ConfigurationError, TrainingError
from Classes.Helpers import PROJECT
from Classes.networks import checkpoint_files
from Classes.training import distributed, mixed_precision
from tests.support import ports, processes, small_networks, smears, waiting

pytestmark = pytest.mark.slow

# Steps so small that float error stays float error: steps ten times as long carry it over a ReLU's kink, and from there
# it grows.
QUICK = ("Epochs=2", "LearningRate=0.0001", "Shards=2", "BatchSize=8", "SaveSeconds=1")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project folder with sharded toy smears and a random backbone to start from."""
    folder = tmp_path_factory.mktemp("project")
    smears.fill(folder, per_class=20)
    Data.prepare_dataset(small_networks.configuration(folder, *QUICK))
    checkpoint_files.save_checkpoint(folder / "Model/Pretrained", 1, small_networks.arrays(classes=7))
    return folder


def settings(prepared, folder, *more):
    """Those of a run with a checkpoint folder, features and a model of its own."""
    own = [f"{key}={folder / name}" for key, name in (("LogDir", "log"), ("ALLGraph", "ALLGraph.pb"))]
    return [
        f"NetworkPath={prepared}",
        f"FeatureCache={folder / 'features'}",
        *small_networks.SMALL,
        *QUICK,
        *own,
        *more,
    ]


def start(settings, workers=1):
    """Trainer.py as so many processes."""
    addresses = [f"127.0.0.1:{ports.free_port()}" for _ in range(workers)]
    command = [sys.executable, str(PROJECT / "Trainer.py"), *(part for text in settings for part in ("--set", text))]
    started = []
    for index in range(workers):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(cluster)} if workers > 1 else dict(os.environ)
        started.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT
            )
        )
    return started


def ended(processes, seconds=waiting.LONG_LIMIT):
    """[(exit code, what it said)] of processes that are expected to end by themselves."""
    try:
        texts = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


def trained(prepared, folder, *more, workers=1):
    """The last checkpoint of a run."""
    folder.mkdir()
    results = ended(start(settings(prepared, folder, *more), workers))
    assert [code for code, _ in results] == [0] * workers, results
    return checkpoint_files.latest_checkpoint(folder / "log"), results


def losses(results):
    """{step: loss} of the chief's lines."""
    lines = re.findall(r"Glb Stp (\d+): Loss: ([\d.]+)", results[0][1])
    assert lines
    return {int(step): float(loss) for step, loss in lines}


def assert_close(these, those):
    """Every variable of those is in these, optimiser and averages included, within a thousandth of its own size."""
    for name, values in those.items():
        values = values.astype("float64")
        difference = numpy.linalg.norm(these[name] - values)
        assert difference <= 1e-3 * numpy.linalg.norm(values), (name, difference)
        numpy.testing.assert_allclose(these[name], values, rtol=2e-3, atol=2e-4, err_msg=name)


END_TO_END = ("TrainableScopes=Mixed_7c", "GradientClip=1", "EmaDecay=0.5", "GradientAccumulationSteps=2")
LAST_LAYER = ("TrainableScopes=Logits",)


@pytest.fixture(scope="module")
def by_one(prepared, tmp_path_factory):
    """What one worker learned with some settings; each is trained once."""
    return functools.cache(lambda more: trained(prepared, tmp_path_factory.mktemp("alone") / "one", *more))


@pytest.mark.parametrize("more", [END_TO_END, LAST_LAYER])
def test_two_workers_learn_what_one_learns(prepared, by_one, tmp_path, more):
    (steps, one), alone = by_one(more)
    (same, two), results = trained(prepared, tmp_path / "two", *more, workers=2)

    assert steps == same > 0
    assert losses(results) == pytest.approx(losses(alone), rel=2e-3)
    assert one.keys() == two.keys()
    assert_close(two, one)
    assert "Worker 1 of 2" in results[0][1]
    assert "Froze 378 variables" in results[0][1]
    assert "Froze" not in results[1][1]


def test_two_trainings_at_once_use_the_same_features(prepared, tmp_path):
    pairs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        shared = [f"{key}={tmp_path / key}" for key in ("FeatureCache", "JobDir")]
        pairs.append(start(settings(prepared, tmp_path / name, *LAST_LAYER, *shared), workers=2))
    results = [result for pair in pairs for result in ended(pair)]
    assert [code for code, _ in results] == [0] * 4, results


# Two devices of one machine, as two graphics processors are, with the loss multiplied as there.
MIRRORED = """
import sys
from Classes.common import cli
cli.import_tensorflow()
import tensorflow as tf
from Classes.training import distributed, mixed_precision, train; from Classes import Helpers
[processor] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, 2 * [tf.config.LogicalDeviceConfiguration()])
distributed.open_strategy = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
mixed_precision.resolve_precision = lambda *_: "f16"
train.train_and_freeze(Helpers.load_config(None, sys.argv[1:]))
"""


def test_two_devices_of_one_machine_learn_what_one_learns(prepared, by_one, tmp_path):
    (steps, one), _ = by_one(END_TO_END)
    (tmp_path / "two").mkdir()
    done = processes.python(MIRRORED, settings(prepared, tmp_path / "two", *END_TO_END), timeout=waiting.LONG_LIMIT)
    assert done.returncode == 0, done.stderr
    same, two = checkpoint_files.latest_checkpoint(tmp_path / "two" / "log")

    assert steps == same > 0
    assert one.keys() == two.keys() - mixed_precision.INITIAL_STATE.keys()
    assert 2 * two["loss_scale_steps"] == steps
    assert_close(two, one)


def test_a_worker_that_dies_ends_the_others_in_one_line_and_all_go_on_at_the_last_checkpoint(prepared, tmp_path):
    more = settings(prepared, tmp_path, "Network=AllCNN", "Epochs=4000")
    chief, other = start(more, workers=2)
    waiting.until(lambda: checkpoint_files.saved_steps(tmp_path / "log"), ended=lambda: chief.poll() is not None)
    other.send_signal(signal.SIGKILL)
    (code, text), _ = ended([chief, other])

    assert code not in (0, None)
    assert "another worker has ended" in text.splitlines()[-1]
    assert "Traceback" not in text
    before = checkpoint_files.saved_steps(tmp_path / "log")[-1]
    epochs = -(-before // 3) + 1
    results = ended(start([*more, f"Epochs={epochs}"], workers=2))
    assert [code for code, _ in results] == [0, 0], results
    assert "Continuing after step" in results[0][1]
    assert checkpoint_files.saved_steps(tmp_path / "log")[-1] == epochs * 3


def test_a_batch_that_the_images_do_not_fill_is_rejected_by_several_devices(prepared, tmp_path):
    more = settings(prepared, tmp_path, "Network=AllCNN", "BatchSize=64")
    done = processes.python(MIRRORED, more, timeout=waiting.LONG_LIMIT)

    assert done.returncode
    assert "BatchSize is 64" in done.stderr


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (tf.errors.UnavailableError(None, None, "gone"), "worker_lost"),
        (tf.errors.ResourceExhaustedError(None, None, "disk"), "checkpoint"),
    ],
)
def test_only_errors_that_a_lost_worker_causes_are_reported_as_one(monkeypatch, cause, code):
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda _: (0, 2))
    with pytest.raises((CheckpointError, TrainingError)) as raised, distributed.translate_peer_failure(None):
        raise CheckpointError("could not be written; free some space") from cause

    assert raised.value.code == code


def test_all_workers_stop_after_the_same_step_when_one_is_asked_to(prepared, tmp_path):
    more = settings(prepared, tmp_path, "Network=AllCNN", "Epochs=4000", "SaveSeconds=3600")
    chief, asked = start(more, workers=2)
    said = []
    for line in chief.stdout:
        said.append(line)
        if "Epoch 1:" in line:
            break
    asked.send_signal(signal.SIGTERM)
    (code, text), (other, others) = ended([chief, asked])

    # Who was not asked itself ends as by Ctrl-C.
    assert (code, other) == (130, 143), (*said, text, others)
    assert text.endswith("\nStopped.\n")
    assert "Traceback" not in text + others
    (step,) = checkpoint_files.saved_steps(tmp_path / "log")
    assert f"Stopped at step {step}; the same command goes on from there." in text


def test_alone_there_are_no_workers():
    assert distributed.worker_addresses({}) is None
    assert distributed.worker_addresses({"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "a"}) is None
    # An interactive step of a job with more tasks.
    assert (
        distributed.worker_addresses({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "a"})
        is None
    )
    assert distributed.rank_and_world_size(tf.distribute.get_strategy()) == (0, 1)
    assert distributed.is_chief(tf.distribute.get_strategy())


def test_tf_config_names_the_workers():
    text = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}})

    assert distributed.worker_addresses({"TF_CONFIG": text}) == (["a:1", "b:1"], 1)


@pytest.mark.parametrize(("kind", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_a_chief_is_the_first_of_the_workers(kind, index, place):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    text = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})

    assert distributed.worker_addresses({"TF_CONFIG": text}) == (["a:1", "b:1", "c:1"], place)


@pytest.mark.parametrize(
    "text",
    [
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}',
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": 3}, "task": {"index": 0}}',
    ],
)
def test_an_invalid_tf_config_is_rejected(text):
    with pytest.raises(ConfigurationError) as raised:
        distributed.worker_addresses({"TF_CONFIG": text})

    assert raised.value.code == "tf_config"


def test_an_index_outside_the_cluster_is_rejected():
    text = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 2}})

    with pytest.raises(ConfigurationError) as raised:
        distributed.worker_addresses({"TF_CONFIG": text})

    assert raised.value.code == "worker_index"


def test_slurm_names_the_workers(monkeypatch):
    for name, value in {
        "SLURM_PROCID": "2",
        "SLURM_NTASKS": "3",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "node[08-09]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
    }.items():
        monkeypatch.setenv(name, value)

    found = ["node08:12358", "node08:12359", "node09:12358"], 2
    assert distributed.worker_addresses(os.environ) == found


def test_pbs_names_the_workers(tmp_path):
    (tmp_path / "nodes").write_text("node7\nnode7\nnode9\nnode9\n")
    environment = {"PBS_NODEFILE": str(tmp_path / "nodes"), "PBS_NODENUM": "1"}

    assert distributed.worker_addresses(environment) == (["node7:12358", "node9:12358"], 1)
    (tmp_path / "nodes").write_text("node7\nnode7\n")
    assert distributed.worker_addresses({**environment, "PBS_NODENUM": "0"}) is None
    with pytest.raises(ConfigurationError) as raised:
        distributed.worker_addresses({**environment, "PBS_NODEFILE": str(tmp_path / "none")})

    assert raised.value.code == "pbs_nodefile"


def test_workers_on_one_machine_divide_its_cores(monkeypatch):
    given, taken = set(range(5)), []
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: given, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: taken.append(cores), raising=False)
    addresses = ["a:1", "b:1", "a:2"]

    for index in range(3):
        distributed.assign_cores(addresses, index)

    assert taken == [[0, 1], [0, 1, 2, 3, 4], [2, 3]]
    given.remove(4)
    distributed.assign_cores(addresses, 0)
    assert len(taken) == 3, "a queue has given this worker its cores"


class Sharing:
    """A strategy of several replicas, with the attributes that `local_rows` reads."""

    def __init__(self, replicas):
        self.num_replicas_in_sync = replicas
        self.cluster_resolver = None


def test_a_batch_that_cannot_be_divided_evenly_is_rejected():
    assert distributed.local_rows(Sharing(5), 10) == (0, 10)
    with pytest.raises(ConfigurationError) as raised:
        distributed.local_rows(Sharing(3), 10)

    assert raised.value.code == "batch_size"
