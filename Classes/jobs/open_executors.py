"""Choose and open what computes a job; it can stay open for the next job with the same task and settings."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from Classes.common.config import Configuration
from Classes.jobs import fork_server
from Classes.jobs.executor import Executor, InProcessExecutor, Work
from Classes.jobs.items import Item
from Classes.jobs.worker_pool import WorkerPool, share_cores


class OpenExecutors:
    """Opens executors; the last one can stay open until another is needed, so that its models are loaded once.

    Args:
      configuration: `Processes` and `Cluster` are used.
      keep: keep the last one open until `close`.
    """

    def __init__(self, configuration: Configuration, keep: bool = True) -> None:
        self._configuration, self._keep = configuration, keep
        self._last: tuple[Work, int, Executor] | None = None

    @contextlib.contextmanager
    def open(self, work: Work, items: Sequence[Item], units: int, left: int) -> Iterator[Executor]:
        """Open an executor for a job.

        Args:
          work: the job.
          items: of the job.
          units: number of its units.
          left: how many of them are not finished.
        Raises:
          ALLError: the cluster cannot compute, see dask_cluster.DaskExecutor.
        """
        processes = 0 if self._configuration["Cluster"] else min(self._configuration["Processes"], left)
        if self._last is not None:
            former, count, _executor = self._last
            # One unit needs no other processes than there are.
            if former != work or (count != processes and units > 1):
                self.close()
        if self._last is None:
            self._last = work, processes, self._make(work, items, units, processes)
        keep = False
        try:
            yield self._last[2]
            keep = self._keep
        finally:
            # After an error, units may be in progress.
            if not keep:
                self.close()

    def close(self) -> None:
        """Close the executor that is open; units in progress are lost."""
        if self._last is not None:
            executor, self._last = self._last[2], None
            executor.close()

    def _make(self, work: Work, items: Sequence[Item], units: int, processes: int) -> Executor:
        if self._configuration["Cluster"]:
            # It needs the optional package distributed.
            from Classes.jobs.dask_cluster import DaskExecutor

            return DaskExecutor(work, items[:1], self._configuration["Cluster"])
        # For one unit, another process would only cost time: there is no unit that it could save.
        if units == 1 or not processes:
            return InProcessExecutor(work)
        return WorkerPool(work, processes)


def start_processes_early(
    configuration: Configuration, task: str, late: Iterable[str], units: int | None = None
) -> None:
    """Let the worker processes of a job load what they need while this process still prepares the job.

    Args:
      configuration: `Processes` and `Cluster` are used.
      task: import path of the task.
      late: names of the modules that it imports when it is opened.
      units: number of units of the job; None: several.
    """
    processes = min(configuration["Processes"], units or sys.maxsize)
    if processes and units != 1 and not configuration["Cluster"]:
        fork_server.start([task.partition(":")[0], *late], share_cores(processes)[0])
