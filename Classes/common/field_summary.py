"""The end of a run over photographed fields, the same in the classifier and the client."""

import logging

from Classes.common import logs, terminal, translation
from Classes.common.cell_counts import RunCounts
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext


def show_summary(
    counts: RunCounts, log: logging.Logger, *, fields: int, given: int, failed: int, matched: int, cells: int
) -> str:
    """Print the differential and what to know about the fields, log it in English, and return the closing sentence.

    Args:
      counts: of the cells of all fields.
      log: of the script.
      fields: photographs that the run has tried.
      given: photographs that it was to try.
      failed: photographs without a result.
      matched: fields whose stain was matched to that of the training images.
      cells: white cells that were found.
    """
    for line in ["", *counts.lines(), ""]:
        terminal.say(line)
    with translation.use_language(translation.ENGLISH):
        for line in counts.lines():
            log.info("%s", line)
    if failed:
        text = "%d photographs have no result; they are named above"
        text = "%d photograph has no result; it is named above" if failed == 1 else text
        log.error(text, failed, extra=logs.LOG_ONLY)
    if matched:
        log.info("Fields whose stain was matched to that of the training images: %d of %d", matched, fields)
        stain = ngettext(
            "{count} field has another stain than the training images. It was matched, but types are less certain.",
            "{count} fields have another stain than the training images. It was matched, but types are less certain.",
            matched,
        )
        terminal.say(stain.format(count=matched), "yellow")
    if fields < given:
        terminal.say(_("Stopped after {done} of {given} images.").format(done=fields, given=given), "yellow")
    text = ngettext("{count} field, {cells} white cells.", "{count} fields, {cells} white cells.", fields)
    return text.format(count=fields, cells=cells)
