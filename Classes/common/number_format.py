"""Numbers and dates in the form of the reader's language, for reports and pages.

The forms are entries of the message catalogue, so that a language is still one file. Imports only the standard library.
Log lines, the API, CSV and JSON have the forms of programs.
"""

import datetime
import re

from Classes.common.translation import gettext as _
from Classes.common.translation import pgettext

# From this probability on, one decimal would show 100 %.
MOST_CONFIDENT = 0.9995

# A decimal point between digits, but not in a version such as 2.21.0, in an address, in a date, or in a setting such as
# TargetSensitivity=0.95, which is typed like that.
_DECIMAL_POINT = re.compile(r"(?<![\w.=])(\d+)\.(\d+)(?![.\w]*\.?\d)")


def format_number(value: float, layout: str = "") -> str:
    """Return a number with the marks of the current language.

    Args:
      value: the number.
      layout: as of `format`, such as ".3f" or ",.0f".
    """
    marks = {".": pgettext("decimal mark", "."), ",": pgettext("thousands separator", ",")}
    return "".join(marks.get(character, character) for character in format(value, layout))


def format_confidence(probability: float) -> str:
    """Return a probability of a model in percent; from 99.95 % on it is "> 99.9 %", because no result is certain."""
    certain = probability >= MOST_CONFIDENT
    percent = _("{percent} %").format(percent=format_number(99.9 if certain else 100 * probability, ".1f"))
    return f"> {percent}" if certain else percent


def localize_numbers(text: str) -> str:
    """Return a text with the decimal mark of the current language in its numbers, such as "0.967 (0.95 to 0.98)"."""
    mark = pgettext("decimal mark", ".")
    return _DECIMAL_POINT.sub(rf"\1{mark}\2", text) if mark != "." else text


def format_date(moment: datetime.date | datetime.datetime) -> str:
    """Return a date, or a date and time, in the form of the current language."""
    # Translators: a form of Python's strftime.
    time = pgettext("form of a date and time", "%Y-%m-%d %H:%M")
    # Translators: a form of Python's strftime.
    date = pgettext("form of a date", "%Y-%m-%d")
    return moment.strftime(time if isinstance(moment, datetime.datetime) else date)


def format_moment(text: str) -> str:
    """Return a moment in ISO 8601, such as "2026-11-26T18:03:59+00:00", in the form of the current language.

    Keep the time zone of the text. Return a text that is not a date unchanged.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return " ".join(filter(None, [format_date(moment), moment.tzname()]))
