"""Compare runs: their metrics and intervals, the settings in which they differ, and their curves."""

import json
import logging
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import markupsafe
import numpy

from Classes import Helpers
from Classes.common import atomic_files, class_scheme, config_schema, html, provenance, statistics, temp_files, terminal
from Classes.common.conditions import Condition
from Classes.common.config import Configuration
from Classes.common.translation import Message, localize, ngettext
from Classes.common.translation import gettext as _
from Classes.evaluation import classification_metrics, comparison_plots, headline, runs

# Metrics in the table of a terminal; the page has all.
SHOWN_METRICS = ("accuracy", "sensitivity", "specificity", "roc_auc")

# Metrics of the classes, besides those of disease or not: where they are in metrics.json, and what they are called.
CLASS_METRICS = {
    ("color_baseline", "accuracy"): Message("Color alone"),
    ("multiclass", "macro_f1"): Message("Macro-F1"),
    ("multiclass", "accuracy"): Message("Right class"),
    ("multiclass", "groups", "macro_f1"): Message("F1 of groups"),
    ("color_baseline", "multiclass", "accuracy"): Message("Color: class"),
}

# Sections whose settings say how a model was made and measured, other keys that do, and keys that only name places.
SECTIONS = ("Data", "Training", "Augmentation", "Evaluation")
OTHER_KEYS = ("RandomSeed", "Precision")
PATH_KEYS = ("RunsDir", "LogDir", "LogDirEval", "ReportDir", "DatasetDir", "TestImagePath", "ALLGraph", "FeatureCache")

PAGE = "Compare.html"

log = logging.getLogger("Validation")


def compare_runs(configuration: Configuration, names: Sequence[str]) -> int:
    """Print a table of runs and write a page with their curves; return exit code 0.

    Args:
      configuration: Configuration.
      names: see runs.choose_runs; none: all runs.
    Raises:
      ConfigurationError: `no_runs`: there is no such run.
    """
    log.info(Helpers.DISCLAIMER)
    compared = [read_run(folder) for folder in runs.choose_runs(configuration, names)]
    differing = differing_settings(compared)
    terminal.print_lines(["", *format_table(compared, differing, shutil.get_terminal_size().columns), ""])
    folder = runs.runs_folder(configuration) or configuration.path("ReportDir")
    temp_files.remove_stale_temp_files(folder)
    atomic_files.write_atomic(folder / PAGE, render_page(compared, differing, configuration.condition))
    log.info("Wrote %s", folder / PAGE)
    count = len(compared)
    result = ngettext("{count} run compared.", "{count} runs compared.", count).format(count=count)
    terminal.show_end(result, [(_("Comparison"), folder / PAGE)], "python3 Trainer.py Board")
    return 0


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Return what is known about a run: name, folder, about, settings, results and metrics."""
    return {
        "name": folder.name,
        "folder": folder,
        "about": runs.read_run(folder),
        "settings": runs.read_settings(folder),
        "results": runs.read_results(folder),
        "metrics": runs.read_metrics(folder),
    }


def differing_settings(compared: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return {key: value of each run as text} of the settings in which runs differ, without the paths of files."""
    known = config_schema.keys()
    keys = dict.fromkeys(
        key for run in compared for key in run["settings"] if key in known and _is_compared(known[key])
    )
    found = {key: [_setting(run["settings"], known[key]) for run in compared] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _is_compared(key: config_schema.Key) -> bool:
    return (key.section in SECTIONS and key.name not in PATH_KEYS) or key.name in OTHER_KEYS


def _setting(settings: dict[str, Any], key: config_schema.Key) -> str:
    # A key that did not exist yet when a run was made now has the default that the run had.
    value = settings.get(key.name, key.rule["default"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def paired_difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, tuple[float, float] | None] | None:
    """Return how much more often `other` is wrong than `one` on the same images, with its 95 % interval.

    Args:
      one, other: metrics as in metrics.json.
    Returns:
      (difference of the error rates, interval or None); None if they were not measured on the same images.
    """
    first, second = ({row["sha256"]: row for row in each.get("predictions", ())} for each in (one, other))
    if not first or first.keys() != second.keys():
        return None
    names = sorted(first)
    differences = [int(_is_wrong(second[name], other)) - int(_is_wrong(first[name], one)) for name in names]
    groups = [first[name]["group"] for name in names]
    return float(numpy.mean(differences)), statistics.paired_difference(differences, groups)


def _is_wrong(row: dict[str, Any], metrics: dict[str, Any]) -> bool:
    """Return whether a prediction is wrong, at the operating point on which the metrics are based."""
    measured, positive = row.get("cross_fitted", row), class_scheme.as_names(metrics["positive"])
    if not positive:
        return bool(measured["predicted"] != row["label"])
    return bool(measured["detected"]) != (row["label"] in positive)


def format_table(compared: Sequence[dict[str, Any]], differing: dict[str, list[str]], width: int) -> list[str]:
    """Return metrics and differing settings of runs as lines of text that fit into `width` columns."""
    names = [localize(classification_metrics.METRIC_NAMES[key]) for key in SHOWN_METRICS]
    lines = []
    # A row per run; a terminal of 80 columns has room for the run and four metrics.
    name_width = max(len(run["name"]) for run in compared)
    lines.append(f"{_('run'):{name_width}}  " + "".join(f"{name:>16}" for name in names))
    for run in compared:
        cells = [short_metric(run["metrics"].get(key)) for key in SHOWN_METRICS]
        rest = "".join(f"{cell:>16}" for cell in cells) if run["metrics"] else "  " + state(run)
        lines.append(f"{run['name']:{name_width}}  {rest}")
    lines += _class_table(compared, name_width)
    lines += ["", _("Metrics are in percent, with 95 % intervals."), *notes(compared)]
    if differing:
        lines += ["", _("Settings that differ:")]
        key_width = max(map(len, differing))
        space = max(10, (width - key_width - 2) // len(compared) - 2)
        lines.append(" " * key_width + "".join(f"  {run['name'][:space]:{space}}" for run in compared).rstrip())
        for key, values in differing.items():
            lines.append(f"{key:{key_width}}" + "".join(f"  {value[:space]:{space}}" for value in values).rstrip())
    return lines


def _class_table(compared: Sequence[dict[str, Any]], name_width: int) -> list[str]:
    """Return a second table with what color alone reaches and the metrics of several classes, if any run has them."""
    columns = dict(list(class_columns(compared).items())[: len(SHOWN_METRICS)])
    lines = ["", f"{_('run'):{name_width}}  " + "".join(f"{localize(name):>16}" for name in columns.values())]
    for run in compared:
        if run["metrics"]:
            cells = [short_metric(_lookup(run["metrics"], path)) for path in columns]
            lines.append(f"{run['name']:{name_width}}  " + "".join(f"{cell:>16}" for cell in cells))
    return lines if columns else []


def class_columns(compared: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], Message]:
    """Return the CLASS_METRICS that at least one run has."""
    return {
        path: name for path, name in CLASS_METRICS.items() if any(_lookup(run["metrics"], path) for run in compared)
    }


def _lookup(metrics: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    """Return a metric inside metrics.json; None if an earlier version, or another kind of model, has none."""
    found: Any = metrics
    for key in path:
        found = (found or {}).get(key)
    return found


def notes(compared: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a reader of the table must know: the images, and paired differences to the first run."""
    measured = [run for run in compared if run["metrics"]]
    if not measured:
        return [_("No run has metrics yet. Run python3 Validation.py after Trainer.py.")]
    found = [_("The intervals of two runs are not independent if the images are the same.")] * (len(measured) > 1)
    first = measured[0]
    for run in measured[1:]:
        difference = paired_difference(first["metrics"], run["metrics"])
        if difference is None:
            text = _("{run} was measured on other images than {first}: their metrics cannot be compared.")
            found.append(text.format(run=run["name"], first=first["name"]))
            continue
        value, interval = difference
        shown = _("{low} to {high}").format(low=_points(interval[0]), high=_points(interval[1])) if interval else "-"
        text = _(
            "Error rate of {run} minus that of {first}, on the same images: {value} points (95 % interval {interval})."
        )
        found.append(text.format(run=run["name"], first=first["name"], value=_points(value), interval=shown))
    return found


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def short_metric(metric: dict[str, Any] | None) -> str:
    """Return a metric as percent with its interval, such as "96.3 (92-98)"."""
    if not metric or metric["value"] is None:
        return "-"
    value = f"{100 * metric['value']:.1f}"
    return value + (" ({:.0f}-{:.0f})".format(*(100 * end for end in metric["interval"])) if metric["interval"] else "")


def state(run: dict[str, Any]) -> str:
    """Return why a run has no metrics."""
    if not run["about"].get("finished"):
        return _("not finished")
    return _("not evaluated: run Validation.py while it is the current model")


def render_page(compared: Sequence[dict[str, Any]], differing: dict[str, list[str]], condition: Condition) -> str:
    """Return the comparison as an HTML page that contains its plots."""
    measured = [run for run in compared if run["metrics"]]
    metric_rows = [
        (localize(name), *(_metric_cell(run["metrics"].get(key)) for run in measured))
        for key, name in classification_metrics.METRIC_NAMES.items()
        if any(run["metrics"].get(key) for run in measured)
    ]
    metric_rows += [
        (localize(name), *(_metric_cell(_lookup(run["metrics"], path)) for run in measured))
        for path, name in class_columns(measured).items()
    ]
    detecting = [run for run in measured if run["metrics"].get("roc_auc")]
    best = max(detecting, key=lambda run: run["metrics"]["roc_auc"]["value"] or 0, default=None)
    return html.render(
        "Classes.evaluation",
        "compare.html",
        title=_("{condition} detection: comparison of runs").format(condition=condition.label),
        created=provenance.utc_now_iso(),
        disclaimer=Helpers.DISCLAIMER,
        compared=compared,
        measured=measured,
        best=best,
        state=state,
        notes=notes(compared),
        metric_rows=metric_rows,
        setting_rows=[(key, *values) for key, values in differing.items()],
        synthetic=[run["name"] for run in compared if run["about"].get("synthetic")],
        plots=[
            (title, markupsafe.Markup(plot)) for title, plot in comparison_plots.draw_comparison(compared, measured)
        ],
        accuracy=headline.format_with_interval,
    )


def _metric_cell(metric: dict[str, Any] | None) -> str:
    if not metric:
        return "-"
    value, interval, _details = classification_metrics.format_metric(metric)  # type: ignore[arg-type]
    return f"{value} ({interval})" if metric["interval"] else value
