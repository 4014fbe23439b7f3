"""Runs of jobs: whoever computes the units, the results are the same, and nothing is computed twice."""

import concurrent.futures
import multiprocessing
import random
import threading

import pytest

from Classes import Helpers
from Classes.common.errors import ALLError, DataError, EngineError
from Classes.jobs import run_job
from Classes.jobs.items import Item, file_item
from Classes.jobs.job_folder import KILLED
from Classes.jobs.shards import Shard
from tests.support import waiting
from tests.support.tasks import computed

TASK = "tests.support.tasks:Squares"


@pytest.fixture
def configure(tmp_path):
    def made(processes=0):
        return Helpers.load_config(settings=[f"NetworkPath={tmp_path}", f"Processes={processes}"])

    return made


@pytest.fixture
def log(tmp_path):
    return tmp_path / "computed.txt"


def numbers(*names):
    return [Item(name, {"number": number}) for number, name in enumerate(names)]


def run(configuration, job, shard=None, remove=True):
    """Return (the results that were reported, all results in order, unfinished items)."""
    reported = []
    with run_job.start_job(configuration, job, shard) as started:
        started.compute(lambda item, result: reported.append((item.name, result)))
        results = [result for _, result in started.results()]
        unfinished = started.unfinished
        if remove:
            started.remove()
    return reported, results, unfinished


SQUARES = [{"square": number**2} for number in range(5)]


@pytest.mark.parametrize("processes", [0, 1, 2])
@pytest.mark.parametrize("items_per_unit", [1, 2])
def test_results_are_in_order_and_the_folder_goes(configure, log, tmp_path, processes, items_per_unit):
    job = run_job.Job(TASK, {"log": str(log)}, numbers(*"abcde"), items_per_unit)
    reported, results, unfinished = run(configure(processes), job)
    assert results == SQUARES and unfinished == 0
    assert sorted(reported) == sorted(zip("abcde", SQUARES, strict=True))
    assert sorted(computed(log)) == list("abcde")
    assert not list((tmp_path / "Model" / "Jobs").iterdir())


def test_shards_in_any_order(configure, log, tmp_path):
    job = run_job.Job(TASK, {"log": str(log)}, numbers(*"abcde"))
    left = []
    for number in random.Random(1).sample([1, 2, 3], 3):
        _, results, unfinished = run(configure(), job, Shard(number, 3))
        left.append(unfinished)
    assert results == SQUARES
    assert left[-1] == 0 < min(left[:-1])
    assert sorted(computed(log)) == list("abcde")
    # A run without a share merges what the shares have left, and removes it.
    assert list((tmp_path / "Model" / "Jobs").glob("*/parts/*.json"))
    assert run(configure(), job) == ([], SQUARES, 0)
    assert not list((tmp_path / "Model" / "Jobs").iterdir())
    assert sorted(computed(log)) == list("abcde")


def test_shares_that_need_the_same_item_compute_it_once(configure, log):
    job = run_job.Job("tests.support.tasks:Sleeps", {"log": str(log)}, 2 * [Item("plan", {"seconds": 0.2})])
    both = threading.Barrier(2)

    def compute(number):
        with run_job.start_job(configure(), job, Shard(number, 2)) as started:
            both.wait(waiting.LIMIT)
            with started.lock(job.items[0], lambda: None):
                started.compute(lambda item, result: None)
            return [result for _, result in started.results()]

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert list(threads.map(compute, [1, 2])) == 2 * [2 * [{"name": "plan"}]]
    assert computed(log) == ["plan"]


def test_finished_units_are_not_computed_again(configure, log):
    items = numbers("a", "b", "stop", "d", "e")
    with pytest.raises(DataError):
        run(configure(), run_job.Job(TASK, {"log": str(log)}, items))
    assert computed(log) == ["a", "b", "stop"]
    log.write_text("")
    # The input that stopped the run was replaced; that makes another item, and the others stay as they are.
    items[2] = Item("c", {"number": 2})
    reported, results, _ = run(configure(), run_job.Job(TASK, {"log": str(log)}, items))
    assert computed(log) == ["c", "d", "e"]
    assert [name for name, _ in reported] == ["c", "d", "e"]
    assert results == SQUARES


@pytest.mark.parametrize("damage", ["", "cut", "changed"])
def test_a_damaged_part_file_is_computed_again(configure, log, damage):
    job = run_job.Job(TASK, {"log": str(log)}, numbers(*"abcde"))
    run(configure(), job, remove=False)
    log.write_text("")
    with run_job.start_job(configure(), job) as started:
        part = sorted((started.folder.path / "parts").glob("*.json"))[0]
    text = part.read_text()
    part.write_text({"": "", "cut": text[:-1], "changed": text.replace("square", "circle")}[damage])
    assert run(configure(), job)[1] == SQUARES
    assert len(computed(log)) == 1


@pytest.mark.parametrize("processes", [0, 2])
def test_equal_units_are_computed_once(configure, log, processes):
    items = [Item("a", {"number": 3}), Item("b", {"number": 4}), Item("a", {"number": 3})]
    reported, results, _ = run(configure(processes), run_job.Job(TASK, {"log": str(log)}, items))
    assert sorted(computed(log)) == ["a", "b"]
    assert results == [{"square": 9}, {"square": 16}, {"square": 9}]
    assert sorted(name for name, _ in reported) == ["a", "a", "b"]


def test_other_settings_are_another_job(configure, log):
    run(configure(), run_job.Job(TASK, {"log": str(log), "model": "a"}, numbers("a")), remove=False)
    run(configure(), run_job.Job(TASK, {"log": str(log), "model": "b"}, numbers("a")))
    assert computed(log) == ["a", "a"]


def test_a_file_that_changes_is_another_item(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"one")
    one = file_item(path)
    assert file_item(path) == one
    path.write_bytes(b"other")
    assert file_item(path) != one


@pytest.mark.parametrize("items_per_unit", [1, 3])
def test_an_item_that_ends_its_process_is_named(configure, log, items_per_unit):
    items = numbers("a", "kill", "c", "bad", "e")
    job = run_job.Job(TASK, {"log": str(log)}, items, items_per_unit)
    with run_job.start_job(configure(1), job) as started:
        reported = {}
        started.compute(lambda item, result: reported.update({item.name: result}))
        assert [item.name for item in started.killed()] == ["kill"]
        results = [result for _, result in started.results()]
    assert results == [{"square": 0}, KILLED, {"square": 4}, {"error": "bad"}, {"square": 16}]
    assert reported == dict(zip(["a", "kill", "c", "bad", "e"], results, strict=True))
    assert computed(log).count("kill") == (2 if items_per_unit == 1 else 3)


def test_an_error_in_a_worker_ends_the_run_as_itself(configure, log):
    job = run_job.Job(TASK, {"log": str(log)}, numbers("a", "stop", "c"))
    with pytest.raises(DataError) as error:
        run(configure(2), job)
    assert error.value.code == "data"


def test_a_worker_that_cannot_load_its_models_ends_the_run(configure, log):
    job = run_job.Job(TASK, {"log": str(log), "fails_to_open": True}, numbers("a", "b"))
    with pytest.raises(EngineError) as error:
        run(configure(1), job)
    assert error.value.code == "worker_failed"
    assert computed(log) == []


def start_elsewhere(settings, job, shard=None):
    """Return "started" or the code of the error of a run in another process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(start_here, settings, job, shard).result()


def start_here(settings, job, shard):
    try:
        with run_job.start_job(Helpers.load_config(settings=settings), job, shard):
            return "started"
    except ALLError as error:
        return error.code


def test_the_same_run_twice_at_once_is_refused(configure, log, tmp_path):
    job, settings = run_job.Job(TASK, {"log": str(log)}, numbers("a")), [f"NetworkPath={tmp_path}"]
    with run_job.start_job(configure(), job):
        assert start_elsewhere(settings, job) == "folder_in_use"
        assert start_elsewhere(settings, job, Shard(1, 2)) == "started"
    assert start_elsewhere(settings, job) == "started"


def test_without_workers_each_item_of_a_unit_is_kept(configure, log):
    job = run_job.Job(TASK, {"log": str(log)}, numbers("a", "b", "stop", "d"), items_per_unit=4)
    for names in (["a", "b", "stop"], ["stop"]):
        log.write_text("")
        with run_job.start_job(configure(), job) as started:
            reported = []
            with pytest.raises(DataError):
                started.compute(lambda item, result, kept=reported: kept.append(item.name))
            assert [(item.name, result) for item, result in started.results()] == [
                ("a", {"square": 0}),
                ("b", {"square": 1}),
            ]
            assert started.unfinished == 2
        assert computed(log) == names


def test_results_wait_for_their_turn(configure, log):
    items = numbers(*"abcd")
    with run_job.start_job(configure(), run_job.Job(TASK, {"log": str(log)}, items)) as started:
        order = started.in_order()
    given = [[item.name for item, _ in order.add(items[index], {})] for index in (1, 0, 3, 2)]
    assert given == [[], ["a", "b"], [], ["c", "d"]]


def test_a_check_is_made_until_it_has_succeeded(configure, log):
    job = run_job.Job(TASK, {"log": str(log)}, numbers("a"))
    made = []

    def fail():
        made.append("failed")
        raise DataError("no")

    with run_job.start_job(configure(), job) as started, pytest.raises(DataError):
        started.once("check", fail)
    for _ in range(2):
        with run_job.start_job(configure(), job) as started:
            started.once("check", lambda: made.append("passed"))
    assert made == ["failed", "passed"]
