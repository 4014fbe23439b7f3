"""Decode the images of a run as a job, which a killed run continues, and keep their descriptors."""

import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from Classes.common import logs
from Classes.common.config import Configuration
from Classes.common.errors import system_reason
from Classes.common.translation import gettext as _
from Classes.dataset.descriptor_store import DescriptorStore
from Classes.imaging import decode
from Classes.jobs import items, run_job
from Classes.jobs.shards import Shard

TASK = "Classes.dataset.decode_task:DecodeTask"

# Images that are decoded in less than a second. A data set of no more is decoded in this process.
IMAGES_PER_UNIT = 500

log = logging.getLogger("Data")

# (path as text, which takes a sixth of the memory of a pathlib.Path; name; whether it is of the test folder)
Input = tuple[str, str, bool]


class Decoding:
    """Decodes images, and remembers their descriptors and part files.

    Args:
      configuration: Configuration.
      audit: also measure what only the audit needs.

    Attributes:
      audit: as given.
      store: descriptors of the images that were read.
    """

    def __init__(self, configuration: Configuration, audit: bool = False) -> None:
        limits = decode.decode_limits(configuration)
        self._configuration = configuration
        self.audit = audit
        self._settings = {
            "limits": [limits.max_pixels, limits.max_side, limits.sample_bits],
            "audit": audit,
            "workers": configuration["Workers"],
        }
        self._remove: list[Callable[[], None]] = []
        # Hashes of the lists that were read, and results that need no job.
        self._lists: set[int] = set()
        self._known: dict[str, dict[str, Any]] = {}
        self.store = DescriptorStore()

    def read(self, inputs: Sequence[Input]) -> Iterator[dict[str, Any]]:
        """Yield the result of decode_task.DecodeTask for each image, in order; KILLED if it ended its process.

        A list that is read again comes from its part files.
        """
        known, job = self._job(inputs)
        with run_job.start_job(self._configuration, job) as run:
            if hash(tuple(inputs)) not in self._lists:
                self._compute(run, len(job.items))
            results = (result for _item, result in run.results())
            for result in known:
                yield result or next(results)
            self._lists.add(hash(tuple(inputs)))
            self._remove.append(run.folder.remove)

    def reuse(self, inputs: Sequence[Input]) -> None:
        """Take over what part files have of some images, so that `read` does not decode these files again.

        Only of images that can be used: the reason why another one cannot names it as this list does.
        """
        _known, job = self._job(inputs)
        with run_job.start_job(self._configuration, job) as run:
            results = {item.data["path"]: result for item, result in run.results()}
        self._known |= {path: result for path, result in results.items() if "fingerprint" in result}

    def compute_share(self, lists: Sequence[Sequence[Input]], shard: Shard) -> bool:
        """Decode a share of each list that will be read, and return whether no other share is left."""
        left = 0
        for inputs in lists:
            with run_job.start_job(self._configuration, self._job(inputs)[1], shard) as run:
                self._compute(run, len(run.own_items))
                left += run.unfinished
        if left:
            log.info("Share %s is decoded. %d images are left to others; the last run writes the shards.", shard, left)
        return not left

    def remove_parts(self) -> None:
        """Remove the part files, after everything that follows from them was written."""
        for remove in self._remove:
            remove()
        self._remove.clear()

    def _compute(self, run: run_job.JobRun, total: int) -> None:
        if run.finished_before:
            log.info("%d of %d images were decoded by an earlier run.", run.finished_before, total)
        with logs.progress(total=total, desc=_("Images"), unit="image") as bar:
            bar.update(run.finished_before)
            run.compute(lambda _item, _result: bar.update())

    def _job(self, inputs: Sequence[Input]) -> tuple[list[dict[str, Any] | None], run_job.Job]:
        """Return the result of each file that is known or cannot be examined, None of others, and the job of these."""
        known: list[dict[str, Any] | None] = []
        chosen = []
        for path, name, test in inputs:
            result = self._known.get(path)
            if not result:
                try:
                    chosen.append(_item(path, name, test))
                except OSError as error:
                    # For example, the file has just been deleted.
                    result = {"reason": f"{name}: {system_reason(error)}"}
            known.append(result)
        return known, run_job.Job(TASK, self._settings, chosen, IMAGES_PER_UNIT)


def _item(path: str, name: str, test: bool) -> items.Item:
    status = pathlib.Path(path).stat()
    about = {"path": path, "file": name, "size": status.st_size, "modified": status.st_mtime_ns}
    return items.Item(name, {**about, "test": True} if test else about)
