"""Find, type and count the white cells of photographed fields: the loop of Classifier.py Field."""

import functools
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.common import image_lines, input_files, logs, terminal, translation
from Classes.common.config import Configuration
from Classes.common.errors import GraphError
from Classes.common.translation import gettext as _
from Classes.fields import field_models, field_outputs, field_records, field_task, field_texts
from Classes.fields.blast_model import BlastCard
from Classes.fields.field_outputs import FieldOutputs
from Classes.inference import task_settings
from Classes.inference.model_card import ModelCard, load_model_card
from Classes.jobs import run_loop
from Classes.jobs.items import Item
from Classes.jobs.open_executors import start_processes_early
from Classes.jobs.run_job import Job, start_job
from Classes.jobs.shards import Shard

log = logging.getLogger("Classifier")


def classify_fields(
    configuration: Configuration,
    card: ModelCard,
    finder: str | os.PathLike[str],
    sources: Sequence[str],
    outputs: FieldOutputs,
    scale: float | None = None,
    shard: Shard | None = None,
) -> int:
    """Find, type and count the white cells of fields.

    Args:
      configuration: Configuration; `ALLGraph` is the model of blasts, if it exists.
      card: of the model of cell types.
      finder: card of the cell finder.
      sources: files and folders.
      outputs: what to write.
      scale: micrometers per pixel; None: from the file or the image.
      shard: analyze only this share; the share that ends last writes the tables and the report.
    Returns:
      exit code: 0, or 1 if a photograph has no result.
    Raises:
      ALLError: no images, no model, no device, or an output cannot be written.
    """
    field_models.require_cell_types(card)
    outputs = outputs.prepared(card.condition)
    files = input_files.resolve_inputs(configuration, sources)
    outputs.folders.prepare()
    configuration = task_settings.with_own_process(configuration)
    start_processes_early(configuration, field_task.TASK, task_settings.LATE_MODULES, len(files))
    blasts = find_blast_model(configuration)
    settings = field_task.make_settings(
        configuration,
        card,
        blasts.card if blasts else None,
        pathlib.Path(finder),
        outputs.folders,
        scale,
        draws_pictures=outputs.html is not None,
    )
    job = Job(field_task.TASK, settings, field_task.make_items(files))
    with start_job(configuration, job, shard) as run:
        run.once("crops_checked", outputs.folders.require_empty)
        log.info(Helpers.DISCLAIMER)
        shown = _ShownFields()
        write = functools.partial(field_outputs.write_outputs, run, outputs, card, blasts)
        failed = run_loop.compute_and_write(run, shard, shown.show, write, log)
    return int((shown.failed if failed is None else failed) > 0)


class _ShownFields:
    """Shows and logs each field as it is finished.

    Attributes:
      failed: number of photographs without a result.
    """

    def __init__(self) -> None:
        self.failed = 0

    def show(self, item: Item, result: dict[str, Any], lines: image_lines.ImageLines) -> None:
        """Show a field."""
        record = field_records.read_record(item.name, result)
        name = pathlib.PurePath(item.name).name
        if record.field is None:
            self.failed += 1
            log.error("%s (%s)", record.error, record.code, extra=logs.LOG_ONLY)
            lines.show_parts(name, (_("No result"), "magenta"))
            terminal.say(f"  {translation.localize(record.error)}", "magenta")
            return
        field = record.field
        with translation.use_language(translation.ENGLISH):
            log.info("%s: %s; %s", item.name, field_texts.describe_counts(field), field_texts.describe_scale(field))
            if field.stain_matched:
                log.info("%s: stain matched to that of the training images; types are less certain", item.name)
        review = field_texts.describe_review(field)
        # A narrow terminal cuts the end, which the table repeats for all fields.
        lines.show_parts(
            name,
            (", ".join(filter(None, [field_texts.describe_number(field), review])), "yellow" if review else ""),
            (f"  {field_texts.describe_scale(field)}", "dim"),
            (f"  {field_texts.describe_types(field)}", ""),
        )


def find_blast_model(configuration: Configuration) -> BlastCard | None:
    """Return the user's model of blasts; None if there is none that knows real cells."""
    try:
        card = load_model_card(configuration.card)
    except GraphError as error:
        if error.code not in ("no_model", "cell_type_model"):
            raise
        log.info("No model of blasts (%s), so blasts are not counted.", configuration.card)
        return None
    if card.synthetic:
        log.warning(
            "%s was trained on synthetic smears, so it is not used and blasts are not counted.", card.graph_path
        )
        return None
    log.info("Blasts are detected by %s.", card.graph_path)
    return BlastCard(card)
