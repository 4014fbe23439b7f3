"""What computes a job stays open for the next job with the same task and settings, but for no other."""

import contextlib

import pytest

from Classes import Helpers
from Classes.common.errors import DataError
from Classes.jobs import run_job
from Classes.jobs.items import Item
from Classes.jobs.open_executors import OpenExecutors
from tests.support.tasks import computed


@pytest.fixture
def compute(tmp_path):
    """Compute items, named by the letters of a text, with the executors of the test; return the lines of the log."""
    log = tmp_path / "log"

    @contextlib.contextmanager
    def opened(processes):
        configuration = Helpers.load_config(settings=[f"NetworkPath={tmp_path}", f"Processes={processes}"])

        def computed_items(names, model="a"):
            items = [Item(name, {"number": 0}) for name in names]
            job = run_job.Job("tests.support.tasks:Squares", {"log": str(log), "model": model}, items)
            with run_job.start_job(configuration, job, executors=executors) as run:
                run.compute(lambda item, result: None)

        with contextlib.closing(OpenExecutors(configuration)) as executors:
            yield computed_items, lambda: log.read_text().splitlines()

    return opened


@pytest.mark.parametrize("processes", [0, 1])
def test_a_task_is_opened_once_for_all_jobs_with_its_settings(compute, processes):
    with compute(processes) as (run, lines):
        run("ab")
        # One unit alone is computed by the process that is there already.
        run("c")
        assert lines() == ["open", "a", "b", "c"]
        run("de", model="b")
        assert [line for line in lines() if line != "close"] == ["open", "a", "b", "c", "open", "d", "e"]


def test_several_processes_take_the_place_of_one(compute, tmp_path):
    with compute(2) as (run, lines):
        run(["a", "a"])
        run("bcde")
        assert lines().count("open") <= 3
    assert sorted(computed(tmp_path / "log")) == list("abcde")


@pytest.mark.parametrize("processes", [0, 1])
def test_after_an_error_the_task_is_opened_again(compute, processes):
    with compute(processes) as (run, lines):
        with pytest.raises(DataError):
            run(["a", "stop"])
        run("bc")
        assert [line for line in lines() if line != "close"] == ["open", "a", "stop", "open", "b", "c"]
