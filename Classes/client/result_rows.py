"""The rows of the result table from what a server answers; the same as the rows of Classifier.py."""

import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from Classes.common import input_files, result_table
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition

# (image, what response.parse_response returns for it)
Result = tuple[pathlib.Path, dict[str, Any]]

log = logging.getLogger("ClassifierServerClient")


def table_rows(
    scheme: ClassScheme,
    titles: Mapping[str, str],
    condition: Condition,
    truths: Mapping[pathlib.Path, str | None],
    results: Sequence[Result],
) -> list[result_table.Row]:
    """Return one row per result, and log why a person should look at an image.

    Args:
      scheme: the classes of the model.
      titles: {class: what people read in its place}; empty if there are none.
      condition: what is detected.
      truths: the true class of each image, or None.
      results: what the server answered.
    """
    rows = [_row(scheme, titles, path, truths[path], result) for path, result in results]
    for row in rows:
        result_table.log_warnings(row, condition, log)
    return rows


def _row(
    scheme: ClassScheme, titles: Mapping[str, str], path: pathlib.Path, truth: str | None, result: dict[str, Any]
) -> result_table.Row:
    row = result_table.new_row(input_files.display_path(path), truth, scheme.names, scheme)
    row |= {"date": result["date"]} | ({"class_title": None} if titles else {})
    if "error" in result:
        return row | {"error": result["error"]}
    label = result["class"]
    group = result["group"] or scheme.group_of(label)
    # A group is a known class too.
    class_correct = None if truth is None else truth in (label, group)
    detected = None if truth is None else scheme.is_positive(label) == scheme.is_positive(truth)
    copied = ("class", "verdict", "confidence", "low", "uncertain", "seconds", "engine", "precision", "remark")
    found = {
        **{name: result[name] for name in (*copied, "outcome", "reasons", "class_confidence", "group_confidence")},
        **{f"probability_{name}": result["probabilities"].get(name) for name in scheme.names},
        "all_probability": _positive_probability(scheme, result),
        "correct": detected if scheme.positive else class_correct,
        "class_correct": class_correct,
        "class_title": titles.get(label, label),
        "group": group,
        "model": result_table.model_name(None, result["model"]) if result["model"] else None,
    }
    # A row has the columns of its model.
    return row | {key: value for key, value in found.items() if key in row}


def _positive_probability(scheme: ClassScheme, result: dict[str, Any]) -> float | None:
    """Return the probability of disease; servers of older versions do not send it."""
    if result["positive_probability"] is not None:
        return result["positive_probability"]
    found = [result["probabilities"][name] for name in scheme.positive if name in result["probabilities"]]
    return min(1.0, sum(found)) if found else None
