"""What people see on a terminal: the first line, progress bars, text of the terminal's width, and the last lines.

If standard output is not a terminal, or with --plain, the log lines are shown instead (logs.py), and `is_active` is
false. rich draws everything, and respects NO_COLOR. It is imported only for a terminal.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from Classes.common import provenance
from Classes.common.number_format import format_number, localize_numbers
from Classes.common.translation import gettext as _
from Classes.common.translation import localize

if TYPE_CHECKING:
    import rich.console

# Set by `sh Setup.sh Run` for the scripts that it runs: what to do next is shown only by the last one, "last".
STEP = "ALL_SETUP_STEP"

# Lines at the end of a script: the result, the files, and the next command.
MAX_LAST_LINES = 5

_plain = False


def set_plain(plain: bool) -> None:
    """Show log lines also on a terminal, or no longer."""
    global _plain
    _plain = plain
    _console_of.cache_clear()


def is_active() -> bool:
    """Return whether standard output is a terminal that shows texts for people."""
    capable = os.name == "nt" or os.environ.get("TERM", "") not in ("", "dumb")
    return capable and not _plain and sys.stdout.isatty()


def show_start(script: str) -> None:
    """Show what was started, before anything slow is imported."""
    if is_active():
        version = provenance.version()
        say(
            _("Leukemia toolkit {version} · {script} · research use only, not a diagnosis").format(
                version=version, script=script
            ),
            "bold",
        )


def console(errors: bool = False) -> "rich.console.Console":
    """Return the console of standard output, or of standard error; bars and texts share the screen through it."""
    stream = sys.stderr if errors else sys.stdout
    # A bar replaces these while it is shown.
    return _console_of(getattr(stream, "rich_proxied_file", stream))


def width() -> int:
    """Return the number of columns of the terminal."""
    return console().width


def say(text: object, style: str = "") -> None:
    """Show a text, wrapped at words; nothing if `is_active` is false.

    Args:
      style: of rich, such as "bold" or "yellow".
    """
    if is_active():
        import rich.text

        console().print(rich.text.Text(str(text), style=style))


def say_fitted(*parts: tuple[str, str]) -> None:
    """Show (text, style) parts on one line, shortened at its end; nothing if `is_active` is false."""
    if is_active():
        import rich.text

        console().print(rich.text.Text.assemble(*parts), no_wrap=True, overflow="ellipsis", crop=True)


def show_end(
    result: str, files: Iterable[tuple[str, str | os.PathLike[str]]] = (), next_command: str = "", style: str = "bold"
) -> None:
    """Show the last lines of a script: the result, links to files, and what to do next.

    In the middle of `sh Setup.sh Run` only the result is shown.

    Args:
      result: one sentence.
      files: (what it is, path) of each file; at most MAX_LAST_LINES - 2 are shown, and only if they exist.
      next_command: a command, or "".
    """
    if not is_active():
        return
    if os.environ.get(STEP, "last") != "last":
        say(result, style)
        return
    found = [(name, pathlib.Path(path)) for name, path in files if os.path.lexists(path)]
    rows = [(name, _link(path)) for name, path in found[: MAX_LAST_LINES - 2]]
    if next_command:
        rows.append((_("Next"), next_command))
    show_rows(result, rows, style)


def show_rows(text: str, rows: Sequence[tuple[str, str]], style: str = "bold") -> None:
    """Show a sentence, and below it (name, value) rows; nothing if `is_active` is false."""
    if is_active():
        say(text, style)
        column = max((len(name) for name, _value in rows), default=0)
        for name, value in rows:
            _show_row(name.ljust(column), value)


def shown(text: str) -> str:
    """Return a text as it is printed: on a terminal in the reader's language, elsewhere in English."""
    return localize_numbers(localize(text)) if is_active() else str(text)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; on a terminal wrapped at words, and those that are a Message in the reader's language."""
    for line in lines:
        if is_active():
            say(shown(line))
        else:
            print(line)


def shorten(text: str, length: int) -> str:
    """Return a text of at most `length` characters, shortened in its middle."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def format_duration(seconds: float, digits: int = 2) -> str:
    """Return a duration for people: "0.42 s", "12.50 s", "6 min 28 s" or "2 h 5 min".

    Args:
      digits: of seconds below a minute, after the decimal mark.
    """
    if round(seconds, digits) < 60:
        return _("{seconds} s").format(seconds=format_number(seconds, f".{digits}f"))
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _("{minutes} min {seconds} s").format(minutes=minutes, seconds=rest)
    hours, minutes = divmod(minutes, 60)
    return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes)


@functools.lru_cache(maxsize=2)
def _console_of(stream: Any) -> "rich.console.Console":
    import rich.console

    class Console(rich.console.Console):
        def show_cursor(self, show: bool = True) -> bool:
            # A killed process could not show a hidden cursor again.
            return False

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _link(path: pathlib.Path) -> str:
    """Return the address of a file, which most terminals open with a click."""
    return path.resolve().as_uri()


def _show_row(name: str, value: str) -> None:
    import rich.text

    text = rich.text.Text(f"  {name}  ")
    room = width() - text.cell_len
    if value.startswith("file://"):
        # An address that the terminal wraps cannot be clicked; the short form carries it invisibly.
        path = os.path.relpath(pathlib.Path(value.removeprefix("file://")))
        shown = value if len(value) <= room else shorten(path, room)
        text.append(shown, style=f"cyan link {value}")
    else:
        text.append(value, style="cyan")
    console().print(text)
