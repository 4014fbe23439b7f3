"""What a run says about its job: what is finished already, what other shares have left, and what killed its process."""

import logging
from collections.abc import Sequence

from Classes.common import logs, terminal, translation
from Classes.common.errors import ImageError, escape_control_chars
from Classes.common.translation import Message, ngettext
from Classes.common.translation import gettext as _
from Classes.jobs.run_job import JobRun

# Code of an image that ended its process twice.
KILLED_PROCESS = "killed_process"

# Files that are named in one line.
MAX_NAMES = 20


def show_start(run: JobRun, log: logging.Logger) -> None:
    """Say how many images an earlier run has finished, if any."""
    if run.finished_before:
        text = translation.mark("Continuing: {done} of {given} images are finished.")
        values = {"done": run.finished_before, "given": len(run.own_items)}
        log.info("%s", text.format(**values))
        terminal.say(_(text).format(**values))


def show_stopped(log: logging.Logger) -> None:
    """Say how to continue a run that was stopped."""
    text = translation.mark("The same command continues where this run stopped.")
    log.info(text)
    terminal.say(_(text), "yellow")


def show_unfinished(count: int, log: logging.Logger) -> None:
    """Say how many images other shares have left, so that this run writes no results."""
    with translation.use_language(translation.ENGLISH):
        log.info("%s", _unfinished_text(count))
    terminal.say(_unfinished_text(count), "yellow")


def _unfinished_text(count: int) -> str:
    text = ngettext(
        "{count} image of other shares is not finished. The share that ends last writes the results.",
        "{count} images of other shares are not finished. The share that ends last writes the results.",
        count,
    )
    return text.format(count=count)


def killed_error(name: str) -> ImageError:
    """Return the error of an image that ended its process twice."""
    message = Message(
        "{name}: the process that read this image ended twice. Free some memory, or leave the image out.", name=name
    )
    return ImageError(message, KILLED_PROCESS)


def show_killed(names: Sequence[str], log: logging.Logger) -> None:
    """Name the images that ended their process twice, if any."""
    if not names:
        return
    shown = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    log.error("No result, because the process ended twice: %s", shown, extra=logs.LOG_ONLY)
    terminal.say(
        _("No result, because the process ended twice: {names}").format(names=escape_control_chars(shown)), "magenta"
    )
