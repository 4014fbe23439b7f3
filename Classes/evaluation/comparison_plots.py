"""Draw the curves of several runs into common plots."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy

from Classes.common import class_scheme
from Classes.common.translation import gettext as _
from Classes.evaluation import plots

# (column of results.csv, title) of the curves over the epochs.
CURVES = ("validation_loss", "validation_accuracy", "validation_auc", "train_loss")

# Runs in a plot; more lines would look alike.
MAX_RUNS = 10


def draw_comparison(compared: Sequence[dict[str, Any]], measured: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (title, <svg> element) of each plot.

    Args:
      compared: runs with "name" and "results".
      measured: the runs that have metrics.
    """
    titles = {
        "validation_loss": _("Validation loss by epoch"),
        "validation_accuracy": _("Validation accuracy by epoch"),
        "validation_auc": _("Validation ROC AUC by epoch"),
        "train_loss": _("Training loss by epoch"),
    }
    found = []
    with tempfile.TemporaryDirectory(prefix="ALL-") as folder:
        for column in CURVES:
            curves = {run["name"]: _curve(run["results"], column) for run in compared[-MAX_RUNS:]}
            curves = {name: points for name, points in curves.items() if points}
            if curves:
                path = pathlib.Path(folder, f"{column}.png")
                plots.plot_curves(path, curves, "epoch", column.replace("_", " "))
                found.append((titles[column], plots.inline_svg(path, titles[column])))
        curves = {run["name"]: _roc_points(run["metrics"]) for run in measured[-MAX_RUNS:]}
        curves = {name: points for name, points in curves.items() if points}
        if curves:
            path = pathlib.Path(folder, "roc.png")
            plots.plot_curves(path, curves, "false positive rate (1 - specificity)", "sensitivity", unit=True)
            found.append((_("ROC curves"), plots.inline_svg(path, _("ROC curves"))))
    return found


def _curve(rows: Sequence[dict[str, float | None]], column: str) -> list[tuple[float, float]]:
    pairs = [(row.get("epoch"), row.get(column)) for row in rows]
    return [(epoch, value) for epoch, value in pairs if epoch is not None and value is not None]


def _roc_points(metrics: dict[str, Any]) -> list[tuple[float, float]]:
    """Return (1 - specificity, sensitivity) of all thresholds; empty without images of both classes."""
    from sklearn.metrics import roc_curve

    rows = metrics.get("predictions", ())
    positive = class_scheme.as_names(metrics["positive"]) if rows else ()
    labels = numpy.array([row["label"] in positive for row in rows], bool)
    if not labels.any() or labels.all():
        return []
    scores = [
        class_scheme.sum_columns([row["probabilities"][name] for name in positive], range(len(positive)))
        for row in rows
    ]
    false_rates, rates, _thresholds = roc_curve(labels, scores)
    return list(zip(false_rates.tolist(), rates.tolist(), strict=True))
