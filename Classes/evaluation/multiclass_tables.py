"""Format the metrics of several classes for a terminal, a page and the model card."""

import math
from collections.abc import Sequence
from typing import Any

from Classes.common import terminal
from Classes.common.errors import escape_control_chars
from Classes.common.translation import Message
from Classes.evaluation import classification_metrics
from Classes.evaluation.multiclass_metrics import CLASS_METRICS, OVERALL_METRICS

# Confusions that are listed; the confusion matrix has all.
MAX_CONFUSIONS = 5

# Columns of a terminal without a size, such as a pipe, and the least room for names beside the metrics.
_PLAIN_WIDTH, _NAME_WIDTH = 120, 12

# Percentages closer to a whole number than this differ from it by rounding only.
_ROUNDING = 1e-9


def class_rows(metrics: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of a table for people: (class, images, each of CLASS_METRICS in percent with its interval).

    Args:
      metrics: from `multiclass_metrics.evaluate_multiclass`.
    """
    return [
        (escape_control_chars(name), str(row["support"]), *(percent(row.get(key)) for key in CLASS_METRICS))
        for name, row in metrics["classes"].items()
    ]


def class_head(first: str) -> tuple[str, ...]:
    """Return the head of `class_rows`; `first` says what a row is."""
    return (first, Message("images"), *CLASS_METRICS.values())


def overall_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the rows of a table for people: (name, value, interval, details) of each of OVERALL_METRICS."""
    return [
        (name, *classification_metrics.format_metric(metrics[key]))
        for key, name in OVERALL_METRICS.items()
        if key in metrics
    ]


def calibration_sentence(metrics: dict[str, Any]) -> Message | None:
    """Return how reliable the confidence of the predicted class is; None without images."""
    after, before = metrics["calibration"]["after"], metrics["calibration"]["before"]
    if after["ece"] is None:
        return None
    values = {"error": after["ece"], "chance": after["chance"]}
    if before is None:
        return Message(
            "Expected calibration error of the predicted class {error:.4f}; {chance:.4f} is expected by chance.",
            **values,
        )
    return Message(
        "Expected calibration error of the predicted class {error:.4f}, {before:.4f} without the temperature; "
        "{chance:.4f} is expected by chance.",
        before=before["ece"],
        **values,
    )


def confusions(metrics: dict[str, Any], count: int = MAX_CONFUSIONS) -> list[tuple[str, str, int, int]]:
    """Return the most frequent errors: (true class, predicted class, number of images, images of the true class)."""
    names, matrix = list(metrics["classes"]), metrics["confusion"]
    found = [
        (names[true], names[called], number, sum(row))
        for true, row in enumerate(matrix)
        for called, number in enumerate(row)
        if true != called and number
    ]
    return sorted(found, key=lambda each: -each[2])[:count]


def confusion_sentences(metrics: dict[str, Any]) -> list[Message]:
    """Return the most frequent errors as sentences."""
    return [
        Message(
            "{count} of {total} images of {true} were called {predicted}.",
            count=count, total=total, true=escape_control_chars(true), predicted=escape_control_chars(predicted),
        )
        for true, predicted, count, total in confusions(metrics)
    ]  # fmt: skip


def notes(metrics: dict[str, Any]) -> list[Message]:
    """Return why some metrics of a class are unknown, as sentences."""
    sentences: dict[str, list[str]] = {}
    for name, row in metrics["classes"].items():
        for key in CLASS_METRICS:
            if row.get(key) and row[key]["value"] is None:
                sentences.setdefault(row[key]["note"], []).append(escape_control_chars(name))
    return [
        Message(
            "{classes}: {reason}.",
            classes=", ".join(dict.fromkeys(names)),
            reason=classification_metrics.note_message(reason),
        )
        for reason, names in sentences.items()
    ]


def percent(metric: dict[str, Any] | None) -> str:
    """Return a metric in percent with its interval, rounded outwards, such as "96.3 (92-98)", or a dash."""
    if not metric or metric["value"] is None:
        return "-"
    value = f"{100 * metric['value']:.1f}"
    if not metric["interval"]:
        return value
    low, high = (100 * end for end in metric["interval"])
    return f"{value} ({math.floor(low + _ROUNDING)}-{math.ceil(high - _ROUNDING)})"


def format_table(metrics: dict[str, Any], first: str, width: int | None = None) -> list[str]:
    """Return the metrics of classes as lines of text for a terminal.

    Args:
      metrics: from `multiclass_metrics.evaluate_multiclass`.
      first: what a row is, such as "class".
      width: columns of the terminal; None: as wide as the terminal.
    """
    rows = [tuple(map(terminal.shown, row)) for row in [class_head(first), *class_rows(metrics)]]
    if width is None:
        width = terminal.width() if terminal.is_active() else _PLAIN_WIDTH
    lines = [*_aligned(rows, width), "", Message("In percent, with 95 % intervals."), *notes(metrics), ""]
    overall = [tuple(map(terminal.shown, row)) for row in overall_rows(metrics)]
    names = max(_columns(row[0]) for row in overall)
    for name, value, interval, rest in overall:
        lines.append(f"{_padded(name, names)} {value:>8}   {interval:17} {rest}".rstrip())
    sentence = calibration_sentence(metrics)
    lines += ["", sentence] if sentence else []
    return [*lines, *confusion_sentences(metrics)]


def format_both(metrics: dict[str, Any], width: int | None = None) -> list[str]:
    """Return the metrics of classes and of their groups as lines of text; see `format_table`.

    Args:
      metrics: from `multiclass_metrics.evaluate_scheme`.
    """
    lines = format_table(metrics, Message("class"), width)
    if metrics["groups"]:
        title = Message("Groups of classes, whose probabilities add up:")
        lines += ["", title, "", *format_table(metrics["groups"], Message("group"), width)]
    return lines


def _aligned(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Return rows as lines; a name that is too long gets its own line."""
    columns = [max(_columns(row[place]) for row in rows) for place in range(1, len(rows[0]))]
    room = max(width - sum(columns) - len(columns), _NAME_WIDTH)
    names = min(room, max(_columns(row[0]) for row in rows))
    lines = []
    for name, *cells in rows:
        if _columns(name) > names:
            lines.append(name)
            name = ""
        values = "".join(f" {cell:>{each}}" for cell, each in zip(cells, columns, strict=True))
        lines.append(_padded(name, names) + values)
    return lines


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - _columns(text))


def _columns(text: str) -> int:
    """Return how many columns a text takes on a terminal; a Chinese character takes two."""
    import rich.cells

    return rich.cells.cell_len(text)
