"""Find, type and count the white cells of slides and very large photographs: Classifier.py Slide."""

import collections
import contextlib
import functools
import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.common import cell_counts, input_files, logs, progress_bar, terminal, translation
from Classes.common.cell_counts import RunCounts
from Classes.common.config import Configuration
from Classes.common.errors import DataError, ImageError
from Classes.common.translation import Message, ngettext
from Classes.common.translation import gettext as _
from Classes.fields import (
    classify_fields,
    field_models,
    field_outputs,
    slide_plan,
    slide_records,
    slide_task,
    slide_texts,
)
from Classes.fields.blast_model import BlastCard
from Classes.fields.output_files import OutputFolders
from Classes.fields.slide_grid import spread_order
from Classes.fields.slide_outputs import SlideOutputs
from Classes.fields.slide_plan import SlidePlan
from Classes.fields.slide_records import SlideRecord
from Classes.imaging import decode
from Classes.inference import task_settings
from Classes.inference.model_card import ModelCard
from Classes.jobs import run_job, run_texts
from Classes.jobs.items import Item
from Classes.jobs.job_folder import KILLED
from Classes.jobs.open_executors import OpenExecutors, start_processes_early
from Classes.jobs.run_job import Job, JobRun
from Classes.jobs.shards import Shard

# Rows and columns of squares in a band if a number of cells is wanted: small, so that few cells lie all over the slide.
SMALL_BAND = 4

_NO_LOCK: contextlib.AbstractContextManager[None] = contextlib.nullcontext()

log = logging.getLogger("Classifier")


class SlideRun:
    """One run over slides.

    Args:
      configuration: Configuration.
      settings: of the SlideTask.
      folders: that are written at the end.
      wanted: number of cells per slide after which a slide is left; None: all of it is searched.
      shard: the share that this run computes; None: everything.
      executors: stay open from the plan to the search, and from slide to slide.
    """

    def __init__(
        self,
        configuration: Configuration,
        settings: dict[str, Any],
        folders: OutputFolders,
        wanted: int | None,
        shard: Shard | None,
        executors: OpenExecutors,
    ) -> None:
        self._configuration, self._settings, self._folders = configuration, settings, folders
        self._executors = executors
        self._wanted, self._shard = wanted, shard
        self._jobs: list[JobRun] = []
        # Units that other shares have left.
        self.unfinished = 0

    def classify(self, path: pathlib.Path, stack: contextlib.ExitStack) -> SlideRecord:
        """Search a slide; stack: keeps the jobs open until the results are written."""
        name = input_files.display_path(path)
        planned = self._plan(path)
        if "code" in planned or planned == KILLED:
            return SlideRecord(name, str(path), error=_error(name, planned))
        plan = slide_plan.plan_from_json(planned)
        small = (SMALL_BAND, SMALL_BAND) if self._wanted else ()
        items = slide_task.band_items(path.absolute(), plan, *small)
        squares = sum(_squares(item) for item in items)
        with translation.use_language(translation.ENGLISH):
            log.info("%s: %s", name, self._estimate(plan, squares))
        terminal.say(f"{path.name}: {self._estimate(plan, squares)}")
        bar: progress_bar.ProgressBar = progress_bar.ProgressBar(total=squares, desc=path.name)
        with bar:
            run = self._search(items, plan, bar, stack)
        self.unfinished += run.unfinished
        self._jobs.append(run)
        record = slide_records.read_record(name, str(path), planned["kind"], plan, run.results)
        record.unfinished = bool(run.unfinished)
        if record.codes.size and (record.codes == slide_records.NAMES.index("searched")).any():
            return record
        error = ImageError(
            Message(
                "{name}: no part of the slide is in focus and readable, so nothing was counted. Scan it again.",
                name=name,
            ),
            "no_sharp_part",
        )
        return record if run.unfinished else SlideRecord(name, str(path), error=error)

    def remove(self) -> None:
        """Remove the part files after the results were written."""
        for run in self._jobs:
            run.remove()

    def _plan(self, path: pathlib.Path) -> dict[str, Any]:
        # One copy per share, so that each share finds one in its share; all have the same part file.
        copies = self._shard.count if self._shard else 2
        with self._start_job([slide_task.plan_item(path.absolute())] * copies) as run:
            run.once("crops_checked", self._folders.require_empty)
            # Shares that start together need one plan: the others wait for it.
            with run.lock(run.items[0], functools.partial(_show_wait, path.name)) if self._shard else _NO_LOCK:
                run.compute(lambda _item, _result: None)
            return next(result for _item, result in run.results())

    def _start_job(self, items: Sequence[Item]) -> contextlib.AbstractContextManager[JobRun]:
        job = Job(slide_task.TASK, self._settings, items)
        return run_job.start_job(self._configuration, job, self._shard, self._executors)

    def _search(
        self, items: list[Item], plan: SlidePlan, bar: progress_bar.ProgressBar, stack: contextlib.ExitStack
    ) -> JobRun:
        """Search the bands, all of them or until there are enough cells, and return the run with its results."""
        if self._wanted:
            items = self._until_enough(items, plan, bar)
        run = stack.enter_context(self._start_job(items))
        run.compute(lambda item, _result: bar.update(_squares(item)))
        return run

    def _until_enough(self, items: list[Item], plan: SlidePlan, bar: progress_bar.ProgressBar) -> list[Item]:
        """Return the first bands, in an order that is spread over the slide, that have as many cells as are wanted."""
        assert self._wanted
        places = [(item.data["band"]["row"] // SMALL_BAND, item.data["band"]["column"] // SMALL_BAND) for item in items]
        order = [items[index] for index in spread_order(places)]
        expected = max(0.1, plan.cells_per_square * sum(map(_squares, items)) / len(items))
        count = found = 0
        while True:
            # How many bands are searched at once changes only the time.
            count = min(len(order), count + max(1, math.ceil((self._wanted - found) / expected)))
            found = taken = 0
            with self._start_job(order[:count]) as run:
                run.compute(lambda item, _result: bar.update(_squares(item)))
                for _item, result in run.results():
                    taken, found = taken + 1, found + len(result.get("cells", ()))
                    if found >= self._wanted:
                        break
            if found >= self._wanted or count == len(order):
                # From top to bottom again.
                chosen = {id(item) for item in order[:taken]}
                return [item for item in items if id(item) in chosen]

    def _estimate(self, plan: SlidePlan, squares: int) -> str:
        area = float(plan.grid.areas()[plan.codes == 0].sum())
        processes = max(1, min(self._configuration["Processes"], self._configuration.workers))
        seconds = plan.estimate(squares) / processes / (self._shard.count if self._shard else 1)
        if self._wanted and plan.cells_per_square:
            seconds *= min(1.0, self._wanted / plan.cells_per_square / max(1, squares))
        return _("{area} mm² to search, about {time}").format(
            area=slide_texts.format_area(area), time=slide_texts.describe_time(seconds)
        )


def classify_slides(
    configuration: Configuration,
    card: ModelCard,
    finder: pathlib.Path,
    sources: Sequence[str],
    outputs: SlideOutputs,
    scale: float | None = None,
    wanted: int | None = None,
    shard: Shard | None = None,
) -> int:
    """Find, type and count the white cells of slides.

    Args:
      configuration: Configuration; `ALLGraph` is the model of blasts, if it exists.
      card: of the model of cell types.
      finder: card of the cell finder.
      sources: files.
      outputs: what to write.
      scale: µm per pixel; None: from the file or the cells.
      wanted: number of cells per slide that are enough; None: the whole slide is searched.
      shard: compute only this share; the one that ends last writes the results.
    Returns:
      exit code: 0, or 1 if a slide has no result.
    Raises:
      ALLError: no slide, no model, no device, or an output cannot be written.
    """
    field_models.require_cell_types(card)
    outputs = outputs.prepared(card.condition)
    files = _find_slides(sources)
    configuration = task_settings.with_own_process(configuration)
    start_processes_early(configuration, slide_task.TASK, task_settings.LATE_MODULES)
    blasts = classify_fields.find_blast_model(configuration)
    settings = slide_task.make_settings(configuration, card, blasts.card if blasts else None, finder, scale)
    log.info(Helpers.DISCLAIMER)
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.closing(OpenExecutors(configuration)) as executors:
                run = SlideRun(configuration, settings, outputs.folders, wanted, shard, executors)
                records = [_show(run.classify(path, stack), wanted) for path in files]
        except BaseException:
            run_texts.show_stopped(log)
            raise
        if run.unfinished:
            run_texts.show_unfinished(run.unfinished, log)
            return 0
        counts = _count(records, blasts)
        models = field_outputs.describe_models(card, blasts)
        outputs.write(records, counts, models, decode.decode_limits(configuration), blasts.name if blasts else "")
        outputs.folders.remove_leftovers(outputs.csv, outputs.json, outputs.html)
        run.remove()
    _show_end(records, counts, outputs)
    return int(any(record.error is not None for record in records))


def _find_slides(sources: Sequence[str]) -> list[pathlib.Path]:
    """Return the files; a folder is refused, because slides keep their parts in folders.

    Raises:
      DataError: `no_such_source`.
    """
    files = list(dict.fromkeys(map(pathlib.Path, sources)))
    for path in files:
        if not path.is_file():
            raise DataError(
                Message("{source}: not a file. Name the files of the slides.", source=path), "no_such_source"
            )
    return files


def _error(name: str, result: dict[str, Any]) -> ImageError:
    if result == KILLED:
        return run_texts.killed_error(name)
    return ImageError(translation.from_json(result["error"]), result["code"])


def _show_wait(name: str) -> None:
    text = translation.mark("{name}: waiting for the share that plans this slide.")
    log.info("%s", text.format(name=name))
    terminal.say(_(text).format(name=name))


def _squares(item: Item) -> int:
    return int(sum(row.count("1") for row in item.data["band"]["searched"]))


def _show(record: SlideRecord, wanted: int | None) -> SlideRecord:
    """Show and log the line of a slide."""
    if record.error is not None:
        log.error("%s (%s)", record.error, record.error.code, extra=logs.LOG_ONLY)
        terminal.say(translation.localize(record.error), "magenta")
        return record
    with translation.use_language(translation.ENGLISH):
        log.info("%s: %s", record.name, slide_texts.describe_slide(record))
    terminal.say(f"{pathlib.PurePath(record.name).name}: {slide_texts.describe_slide(record)}")
    if wanted and (text := slide_texts.describe_stop(wanted, record.cells)):
        with translation.use_language(translation.ENGLISH):
            log.warning("%s: %s", record.name, slide_texts.describe_stop(wanted, record.cells), extra=logs.LOG_ONLY)
        terminal.say(text, "yellow")
    return record


def _count(records: Sequence[SlideRecord], blasts: BlastCard | None) -> RunCounts:
    groups: collections.Counter[str] = sum((record.groups for record in records), collections.Counter())
    if blasts is None:
        return cell_counts.count_groups(groups)
    positive, unlike = sum(record.blasts for record in records), sum(record.unlike for record in records)
    return cell_counts.count_groups(groups, blasts.name, positive, unlike, *blasts.rates)


def _show_end(records: Sequence[SlideRecord], counts: RunCounts, outputs: SlideOutputs) -> None:
    """Print the differential, and log it in English."""
    for line in ["", *counts.lines(), ""]:
        terminal.say(line)
    with translation.use_language(translation.ENGLISH):
        for line in counts.lines():
            log.info("%s", line)
    failed = sum(record.error is not None for record in records)
    if failed:
        text = ngettext("{count} slide has no result.", "{count} slides have no result.", failed)
        terminal.say(text.format(count=failed), "yellow")
    cells = sum(record.cells for record in records)
    sentence = ngettext("{count} slide, {cells} white cells.", "{count} slides, {cells} white cells.", len(records))
    folders = outputs.folders
    files = [(_("Report"), outputs.html), ("CSV", outputs.csv), ("JSON", outputs.json)]
    files += [(_("Density"), folders.overlay), ("GeoJSON", folders.geojson), (_("Cells"), folders.crops)]
    terminal.show_end(
        sentence.format(count=len(records), cells=cells),
        [(name, path) for name, path in files if path],
        "" if outputs.html else "python3 Classifier.py Slide --html report.html FILE",
    )
