"""Start TensorBoard on the runs."""

import logging
import os
import sys
from typing import NoReturn

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.evaluation import runs, tensorboard_events

log = logging.getLogger("Trainer")


def run_tensorboard(configuration: Configuration) -> NoReturn:
    """Replace this process by TensorBoard on `RunsDir`, or on `LogDir` if no runs are kept.

    Raises:
      ConfigurationError: `no_runs`: nothing was trained yet.
    """
    folder = runs.runs_folder(configuration)
    if folder is None or not runs.list_runs(folder):
        folder = configuration.path("LogDir")
        if not tensorboard_events.event_files(folder):
            raise ConfigurationError(
                Message("{folder}: contains no training run. Run python3 Trainer.py first.", folder=folder),
                code="no_runs",
            )
    log.info("TensorBoard shows the runs in %s. Open the address that it prints; Ctrl-C stops it.", folder)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # It is a program of this Python, which need not be on the PATH.
    os.execv(sys.executable, [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)])
