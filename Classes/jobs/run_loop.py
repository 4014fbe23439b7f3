"""The loop of a run over images: compute, show each image, and write the results, even if the run was interrupted."""

import logging
from collections.abc import Callable
from typing import Any

from Classes.common import image_lines
from Classes.jobs import run_texts
from Classes.jobs.items import Item
from Classes.jobs.run_job import JobRun
from Classes.jobs.shards import Shard

# Shows an image with its result.
Show = Callable[[Item, dict[str, Any], image_lines.ImageLines], None]


def compute_and_write(
    run: JobRun, shard: Shard | None, show: Show, write: Callable[[], int], log: logging.Logger
) -> int | None:
    """Compute the images of a run and write the results; the part files go once all shares are finished.

    Args:
      run: the run.
      shard: the share that the run computes; None: everything.
      show: called for each image that is finished.
      write: writes the results that there are, and returns the number of images without one.
      log: of the command.
    Returns:
      the result of `write`; None if it was not called.
    """
    run_texts.show_start(run, log)
    failed: int | None = None
    finished = False
    try:
        with image_lines.ImageLines([item.name for item in run.own_items], run.finished_before) as lines:
            run.compute(lambda item, result: show(item, result, lines))
        finished = True
    finally:
        if shard and run.unfinished:
            run_texts.show_unfinished(run.unfinished, log)
        elif next(run.results(), None):
            # Keep what is done, also after Ctrl-C.
            failed = write()
        if not finished and next(run.results(), None):
            run_texts.show_stopped(log)
    if not run.unfinished:
        run.remove()
    return failed
