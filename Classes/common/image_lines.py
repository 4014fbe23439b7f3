"""One line per image on a terminal, as Classifier.py and Client.py show them, and the summary at their end."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from Classes.common import errors, outcome, progress_bar, terminal
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.number_format import format_confidence
from Classes.common.summary import MAX_NAMES, Summary
from Classes.common.translation import gettext as _
from Classes.common.translation import ngettext

STYLES = {outcome.POSITIVE: "red", outcome.NEGATIVE: "green", outcome.REVIEW: "yellow"}

# A longer file name is shortened in its middle.
MAX_NAME_LENGTH = 40


class ImageLines:
    """Shows the result of each image above a bar; a context manager. Shows nothing if there is no terminal.

    Args:
      names: file names as shown, of all images.
      finished: number of images that need no line, because an earlier run has shown them.
    """

    def __init__(self, names: Iterable[str], finished: int = 0) -> None:
        self._names = [pathlib.PurePath(name).name for name in names]
        self._shown = finished
        self._bar: progress_bar.ProgressBar = progress_bar.ProgressBar(
            total=len(self._names), desc=_("Images"), initial=finished
        )

    def __enter__(self) -> "ImageLines":
        return self

    def __exit__(self, *_raised: object) -> None:
        self._bar.close()

    def show(self, name: str, fields: dict[str, Any], condition: Condition, found: str = "") -> None:
        """Show the line of the next image.

        Args:
          name: of the file.
          fields: "outcome" and "confidence", or "error"; "correct" is None if the true class is not known.
          condition: what is detected.
          found: the predicted class, if there are several.
        """
        if fields.get("error"):
            self.show_error(name)
            return
        texts = [outcome.outcome_text(each, condition) for each in outcome.OUTCOMES]
        text = outcome.outcome_text(fields["outcome"], condition).ljust(max(map(len, texts)))
        wrong = _("wrong") if fields.get("correct") is False else ""
        self.show_text(name, text, STYLES[fields["outcome"]], fields["confidence"], wrong, found)

    def show_classes(
        self, name: str, fields: dict[str, Any], scheme: ClassScheme, titles: Mapping[str, str], condition: Condition
    ) -> None:
        """Show the line of the next image: whether the condition is detected, and the class if there are several.

        Args:
          name: of the file.
          fields: as in `show`, and "class" and "class_confidence".
          scheme: the classes.
          titles: {class: what people read in its place}; may lack some.
          condition: what is detected, if anything.
        """
        if fields.get("error"):
            self.show_error(name)
            return
        found = titles.get(fields["class"], fields["class"]) if scheme.several else ""
        if scheme.positive:
            self.show(name, fields, condition, found)
            return
        style = STYLES[outcome.REVIEW] if fields["outcome"] == outcome.REVIEW else ""
        wrong = _("wrong") if fields.get("correct") is False else ""
        width = max(len(titles.get(each, each)) for each in scheme.names)
        self.show_text(name, found.ljust(width), style, fields["class_confidence"], wrong)

    def show_error(self, name: str) -> None:
        """Show that the next image cannot be read."""
        self.show_parts(name, (_("Not readable"), "magenta"))

    def show_text(self, name: str, text: str, style: str, confidence: float, note: str = "", found: str = "") -> None:
        """Show the next image with a text, a confidence, and the predicted class if there is more to say."""
        # "> 99.9 %" is the longest.
        percent = format_confidence(confidence).rjust(8)
        more = (f"{found}  " if found else "", "")
        self.show_parts(name, (text, style), (f"  {percent}  ", ""), more, (note, "bold red"))

    def show_parts(self, name: str, *parts: tuple[str, str]) -> None:
        """Show the next image with (text, style) parts, on one line."""
        self._bar.update()
        self._shown += 1
        if terminal.is_active():
            total = str(len(self._names))
            room = min(MAX_NAME_LENGTH, max(map(len, self._names), default=0), max(8, terminal.width() // 2))
            shown = errors.escape_control_chars(terminal.shorten(pathlib.PurePath(name).name, room)).ljust(room)
            terminal.say_fitted((f"[{self._shown:>{len(total)}}/{total}] {shown}  ", ""), *parts)


def show_summary(
    summary: Summary, files: Iterable[tuple[str, str | os.PathLike[str] | None]], next_command: str, extra: str = ""
) -> None:
    """Show the summary of a run at the end of a script, see terminal.show_end.

    Args:
      files: (what it is, path or None).
      extra: a further sentence of the result.
    """
    if not terminal.is_active():
        return
    if summary.stopped:
        done = summary.read + len(summary.failed)
        terminal.say(_("Stopped after {done} of {given} images.").format(done=done, given=summary.given), "yellow")
    if summary.review:
        terminal.say(outcome.outcome_text(outcome.REVIEW, summary.condition), "bold")
    _show_names(summary)
    for line in (*summary.class_lines(), *summary.accuracy_lines()):
        terminal.say(line)
    parts = [f"{number} {name}" for name, number in _counted(summary)]
    result = ngettext("{count} image: {parts}.", "{count} images: {parts}.", summary.read + len(summary.failed))
    text = result.format(count=summary.read + len(summary.failed), parts=", ".join(parts))
    found = [(name, path) for name, path in files if path]
    if extra:
        terminal.say(extra, "bold")
    terminal.show_end(text, found, next_command)


def _show_names(summary: Summary) -> None:
    """Show which images need review, and why, one line each."""
    found = [(pathlib.PurePath(name).name, reasons) for name, reasons in summary.review[:MAX_NAMES]]
    # At 80 columns, most reasons fit beside it.
    room = min(MAX_NAME_LENGTH // 2 + 5, max((len(name) for name, _reasons in found), default=0))
    for name, reasons in found:
        shown = errors.escape_control_chars(terminal.shorten(name, room)).ljust(room)
        texts = " ".join(outcome.reason_text(each, summary.condition) for each in reasons)
        terminal.say_fitted((f"{shown}  ", ""), (texts, STYLES[outcome.REVIEW]))
    # The line that counts the others.
    for line in list(summary.review_lines())[MAX_NAMES:]:
        terminal.say(line, STYLES[outcome.REVIEW])
    if summary.failed:
        names = ", ".join(summary.failed[:MAX_NAMES]) + (", …" if len(summary.failed) > MAX_NAMES else "")
        terminal.say(_("Not readable: {names}").format(names=names), "magenta")
    if summary.skipped:
        terminal.say(_("Skipped files: {count}").format(count=len(summary.skipped)))


def _counted(summary: Summary) -> list[tuple[str, int]]:
    """Return (what, number) without the number of images that were read, and without failures if there are none."""
    counts = summary.counts()[1:]
    counts = counts if summary.failed else counts[:-1]
    if summary.detects:
        return counts
    # A model without a condition finds groups; reviews are mentioned only if there are any.
    named = [(name, number) for name, number in summary.groups or summary.classes]
    return [*named, *(each for each in counts if each[1])]
