"""Jobs on a Dask cluster: who is lost, the results are the same, and a run that cannot continue says what to do."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys

import distributed
import psutil
import pytest

from Classes import Helpers
from Classes.common.errors import ALLError, ConfigurationError, DataError
from Classes.jobs import dask_cluster, run_job
from Classes.jobs.dask_worker import Answer
from Classes.jobs.executor import Work
from Classes.jobs.items import Item, Unit
from Classes.jobs.job_folder import KILLED
from tests.support import waiting
from tests.support.tasks import computed

UNIT = Unit((Item("a", {"number": 0}),))


class Client:
    """What the executor uses of a distributed.Client; `answers` are results, exceptions or None: canceled."""

    def __init__(self, answers=(), threads=None, checks=None):
        self.status = "running"
        self.threads = {"tcp://one": 2} if threads is None else threads
        self.submitted = []
        self.sizes = []
        self.canceled = []
        self._answers, self._checks = list(answers), checks or {}

    def nthreads(self):
        return self.threads

    def run(self, function, *_arguments, on_error):
        return self._checks

    def submit(self, _function, call, key):
        self.submitted.append(key)
        self.sizes.append(len(call.units))
        answer = self._answers.pop(0)
        future = concurrent.futures.Future()
        future.key = key
        if answer is None:
            future.cancel()
            future.set_running_or_notify_cancel()
        elif isinstance(answer, ALLError) and answer.code == "cluster_versions":
            # A refusal is a result.
            future.set_result(answer)
        elif isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer != "pending":
            # A list of answers is one per unit.
            future.set_result(answer[: len(call.units)])
        return future

    def cancel(self, futures, force):
        self.canceled += futures

    def close(self, timeout):
        self.status = "closed"


@pytest.fixture
def executor(tmp_path, monkeypatch):
    """Return an executor, and the client of a cluster that gives these answers."""
    monkeypatch.setattr(dask_cluster, "LOOK", 0)
    monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT", 0)

    def made(*answers, **options):
        client = Client(answers, **options)
        return dask_cluster.DaskExecutor(Work("a:B", {}, str(tmp_path)), [], "tcp://x", client), client

    return made


def killed_worker():
    return distributed.KilledWorker("unit", None, 3)


def units(count):
    return [Unit((Item(f"item {number}", {"number": number}),)) for number in range(count)]


def finished(seconds=0.0):
    """The answer to a call of up to 100 units."""
    return 100 * [Answer(seconds=seconds)]


def test_the_number_of_calls_follows_the_workers(executor):
    opened, client = executor(*20 * [finished()])
    given = units(20)
    for unit in given:
        opened.submit(unit)
    assert opened.next_outcome().unit == given[0]
    # Two per thread; their units may take long, so each has one.
    assert client.sizes == 4 * [1]
    client.threads = {"tcp://one": 2, "tcp://two": 3}
    assert [opened.next_outcome().unit for _ in given[1:]] == given[1:]
    assert client.sizes == 20 * [1]


def test_short_units_travel_together_and_the_last_ones_alone(executor):
    opened, client = executor(*100 * [finished(seconds=0.1)], threads={"tcp://one": 1})
    given = units(40)
    for unit in given:
        opened.submit(unit)
    assert [opened.next_outcome().unit for _ in given] == given
    sizes = client.sizes
    # A second has ten; the number falls as there is less left.
    assert sizes[:3] == [1, 1, 10] and sizes[-1] == 1
    assert sizes[2:] == sorted(sizes[2:], reverse=True) and sum(sizes) == 40


def test_units_of_a_lost_call_are_sent_again_and_the_one_that_died_is_known(executor):
    died = [Answer(seconds=0.1), Answer(died=True), *finished(0.1)]
    opened, _ = executor(finished(0.1), finished(0.1), killed_worker(), *10 * [died], threads={"tcp://one": 1})
    given = units(20)
    for unit in given:
        opened.submit(unit)
    outcomes = [opened.next_outcome() for _ in given]
    assert sorted(outcome.unit.key for outcome in outcomes) == sorted(unit.key for unit in given)
    # The lost call had neither of the first two units.
    assert next(outcome.unit for outcome in outcomes if outcome.died) in given[2:]


def test_a_unit_is_not_to_blame_for_the_end_of_its_worker(executor):
    opened, client = executor(killed_worker(), killed_worker(), finished())
    opened.submit(UNIT)
    outcome = opened.next_outcome()
    assert outcome.unit == UNIT and not outcome.died
    assert len(set(client.submitted)) == 3


def test_a_unit_is_not_given_to_workers_for_ever(executor):
    opened, _ = executor(*(killed_worker() for _ in range(20)))
    opened.submit(UNIT)
    with pytest.raises(ALLError) as error:
        opened.next_outcome()
    assert error.value.code == "cluster_workers_lost" and "a" in str(error.value)


def test_the_end_of_a_child_is_reported(executor):
    opened, _ = executor([Answer(died=True)])
    opened.submit(UNIT)
    assert opened.next_outcome().died


def test_an_error_of_a_unit_and_a_refusal_of_a_worker_end_the_run(executor):
    opened, _ = executor(DataError("no more"), ConfigurationError("other", "cluster_versions"))
    opened.submit(UNIT)
    with pytest.raises(DataError):
        opened.next_outcome()
    opened.submit(UNIT)
    with pytest.raises(ConfigurationError) as error:
        opened.next_outcome()
    assert error.value.code == "cluster_versions"


@pytest.mark.parametrize(
    "answer", [ConfigurationError("other", "cluster_versions"), ModuleNotFoundError("No module named 'Classes'")]
)
def test_workers_are_checked_before_the_start(executor, answer):
    with pytest.raises(ConfigurationError) as error:
        executor(checks={"tcp://one": None, "tcp://two": answer})
    assert error.value.code == "cluster_versions"


def test_a_unit_is_sent_again_after_the_connection_was_lost_and_found(executor):
    opened, _ = executor(None, finished())
    opened.submit(UNIT)
    assert opened.next_outcome().unit == UNIT


def test_without_a_scheduler_or_workers_the_run_ends(executor, monkeypatch):
    opened, client = executor("pending")
    opened.submit(UNIT)
    client.status = "connecting"
    with pytest.raises(ALLError) as error:
        opened.next_outcome()
    assert error.value.code == "cluster_lost"
    client.status, client.threads = "running", {}
    monkeypatch.setattr(dask_cluster, "WORKER_TIMEOUT", 0)
    with pytest.raises(ALLError) as error:
        opened.next_outcome()
    assert error.value.code == "cluster_no_workers"


def test_a_run_that_ends_cancels_its_units(executor, tmp_path):
    opened, client = executor(finished(), "pending")
    for unit in units(2):
        opened.submit(unit)
    opened.next_outcome()
    opened.close()
    assert len(client.canceled) == 1 and client.status == "closed"
    assert not list(tmp_path.iterdir())


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words, "--no-dashboard"], cwd=Helpers.PROJECT, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The path of the scheduler file of a cluster of one worker with two threads, and that worker's process."""
    folder = tmp_path_factory.mktemp("cluster")
    path = str(folder / "scheduler.json")
    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", path)
    worker = start(
        "worker", "--scheduler-file", path, "--nthreads", "2", "--host", "127.0.0.1", "--local-directory", str(folder)
    )
    try:
        waiting.until(lambda: pathlib.Path(path).exists(), ended=lambda: scheduler.poll() is not None)
        with distributed.Client(scheduler_file=path, timeout=waiting.LIMIT, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=waiting.LIMIT)
        yield path, worker
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(waiting.LIMIT)


@pytest.fixture
def configuration(cluster, tmp_path):
    return Helpers.load_config(settings=[f"NetworkPath={tmp_path}", f"Cluster={cluster[0]}"])


def run(configuration, job, on_result=lambda item, result: None):
    with run_job.start_job(configuration, job) as started:
        started.compute(on_result)
        killed = [item.name for item in started.killed()]
        results = [result for _, result in started.results()]
        started.remove()
    return results, killed


@pytest.mark.slow
@pytest.mark.parametrize("items_per_unit", [1, 2])
def test_a_unit_that_ends_its_process_is_named_and_the_worker_stays(configuration, tmp_path, items_per_unit):
    items = [Item(name, {"number": number}) for number, name in enumerate(["a", "kill", "c", "bad", "e"])]
    job = run_job.Job("tests.support.tasks:Squares", {"log": str(tmp_path / "log")}, items, items_per_unit)
    results, killed = run(configuration, job)
    assert results == [{"square": 0}, KILLED, {"square": 4}, {"error": "bad"}, {"square": 16}]
    assert killed == ["kill"]
    # A task stays open from unit to unit: each of the two threads has opened it, and again after each end of its child.
    opened = (tmp_path / "log").read_text().splitlines().count("open")
    assert opened <= 2 + (2 if items_per_unit == 1 else 3)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/environ").exists(), reason="needs /proc")
def test_what_computes_does_not_return_its_memory_to_the_system_after_each_array(configuration):
    items = [Item("MALLOC_TRIM_THRESHOLD_", {}), Item("PATH", {})]
    results, _ = run(configuration, run_job.Job("tests.support.tasks:Environment", {}, items))
    assert results == [{"value": None}, {"value": os.environ["PATH"]}]


@pytest.mark.slow
def test_an_error_that_ends_the_run_arrives_as_itself(configuration, tmp_path):
    items = [Item(name, {"number": 0}) for name in ("a", "stop", "c")]
    with pytest.raises(DataError) as error:
        run(configuration, run_job.Job("tests.support.tasks:Squares", {"log": str(tmp_path / "log")}, items))
    assert error.value.code == "data"


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_only_what_it_had_not_finished(configuration, cluster, tmp_path):
    names = [f"item {number}" for number in range(8)]
    items = [Item(name, {"seconds": 0.3}) for name in names]
    finished = set()

    def kill_once(item, _result):
        if not finished:
            # The processes of a worker are the children of the one that watches it.
            for child in psutil.Process(cluster[1].pid).children():
                if "spawn_main" in " ".join(child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)
            finished.update(path.stem for path in (tmp_path / "Model" / "Jobs").glob("*/parts/*.json"))

    job = run_job.Job("tests.support.tasks:Sleeps", {"log": str(tmp_path / "log")}, items)
    results, killed = run(configuration, job, kill_once)
    assert results == [{"name": name} for name in names] and not killed
    started = computed(tmp_path / "log")
    assert set(started) == set(names)
    assert finished and {started.count(item.name) for item in items if Unit((item,)).key in finished} == {1}
