import os
import sys

import pytest

from Classes.common import config
from Classes.common.errors import ConfigurationError
from Classes.evaluation import board, runs


class StartedError(Exception):
    """The process would be replaced now."""


@pytest.fixture
def started(monkeypatch):
    """Return the command that TensorBoard would be started with."""

    def start(*settings):
        with pytest.raises(StartedError) as caught:
            board.run_tensorboard(config.load_config(settings=settings))
        return caught.value.args

    def replace(program, command):
        raise StartedError(program, *command)

    monkeypatch.setattr(os, "execv", replace)
    return start


def test_tensorboard_of_this_python_shows_all_runs(started, tmp_path):
    runs.create_run(config.load_config(settings=[f"NetworkPath={tmp_path}"]), {})

    program, *command = started(f"NetworkPath={tmp_path}")

    assert program == sys.executable
    assert command[1:] == ["-m", "tensorboard.main", "--logdir", str(tmp_path / "Model/Runs")]


def test_without_kept_runs_the_training_folder_is_shown(started, tmp_path):
    (tmp_path / "Model/_logs").mkdir(parents=True)
    (tmp_path / "Model/_logs/events.out.tfevents.1").touch()

    assert started(f"NetworkPath={tmp_path}", "RunsDir=")[-1] == str(tmp_path / "Model/_logs")


def test_before_any_training_the_error_says_so(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        board.run_tensorboard(config.load_config(settings=[f"NetworkPath={tmp_path}"]))

    assert caught.value.code == "no_runs"
