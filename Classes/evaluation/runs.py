"""Keep every run in a folder of its own, `RunsDir`/<number>-<date>, and point `latest` beside `RunsDir` to the newest.

A run's folder contains run.json (what was trained when and with which code), settings.json (the configuration, which
--confs reads), results.csv (a row per epoch), TensorBoard events in train/, validation/ and evaluation/, the checkpoint
and the frozen graph, and what Validation.py writes: metrics.json, plots, report and model card. Every file is complete
at any time, because it is written under another name and renamed.
"""

import contextlib
import csv
import io
import logging
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from Classes.common import atomic_files, file_system, json_files, provenance, temp_files
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message

RUN, SETTINGS, RESULTS, METRICS = "run.json", "settings.json", "results.csv", "metrics.json"

# The link, or the file on a file system without links, that names the newest run.
LATEST = "latest"

NAME = re.compile(r"(\d{3,})-\d{4}-\d{2}-\d{2}")

log = logging.getLogger("Trainer")


def runs_folder(configuration: Configuration) -> pathlib.Path | None:
    """Return `RunsDir`; None if no runs are kept."""
    return configuration.path("RunsDir") if configuration["RunsDir"] else None


def create_run(configuration: Configuration, about: Mapping[str, Any]) -> pathlib.Path | None:
    """Create the folder of a new run, write run.json and settings.json, and point `latest` to it.

    Args:
      configuration: Configuration.
      about: entries of run.json; "created", "commit" and "versions" are added.
    Returns:
      The folder; None if `RunsDir` is empty.
    """
    runs = runs_folder(configuration)
    if runs is None:
        return None
    file_system.make_folder(runs)
    while True:
        number = 1 + max((_number(folder) for folder in list_runs(runs)), default=0)
        folder = runs / f"{number:03}-{time.strftime('%Y-%m-%d')}"
        # Another run may have taken the number in the meantime.
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    update_run(configuration, folder, about)
    return folder


def update_run(configuration: Configuration, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
    """Write run.json and settings.json of a run that starts or continues, and point `latest` to it.

    Temporary files that killed runs left in the folders of runs are removed.
    """
    remove_stale_temp_files(folder.parent)
    metadata = provenance.run_metadata(configuration)
    json_files.write_json(folder / SETTINGS, metadata.pop("configuration"))
    started = read_run(folder).get("created")
    json_files.write_json(folder / RUN, {**metadata, **about, "created": started or metadata["created"]})
    _point_latest(folder)


def remove_stale_temp_files(runs: pathlib.Path) -> None:
    """Remove temporary files of killed runs from `RunsDir`, the folders of all runs, and the folder of `latest`."""
    # All of them: a run that was killed before it had a run.json is never continued.
    for folder in (runs.parent, runs, *list_runs(runs)):
        temp_files.remove_stale_temp_files(folder)


def amend_run(folder: pathlib.Path, **changes: Any) -> None:
    """Change entries of run.json."""
    json_files.write_json(folder / RUN, {**read_run(folder), **changes})


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Return the content of run.json; empty if it is missing or damaged."""
    return _read(folder / RUN)


def read_metrics(folder: pathlib.Path) -> dict[str, Any]:
    """Return the content of metrics.json if it is of the run's present model, else an empty dict."""
    metrics = _read(folder / METRICS)
    return metrics if metrics and metrics.get("graph_sha256") == read_run(folder).get("graph_sha256") else {}


def read_settings(folder: pathlib.Path) -> dict[str, Any]:
    """Return {key: value} of the configuration of a run; empty if it is missing or damaged."""
    sections = _read(folder / SETTINGS)
    return {key: value for values in sections.values() if isinstance(values, dict) for key, value in values.items()}


def read_results(folder: pathlib.Path) -> list[dict[str, float | None]]:
    """Return the rows of results.csv, in the order of the epochs; an empty cell is None."""
    try:
        rows = list(csv.DictReader(io.StringIO((folder / RESULTS).read_text(encoding="utf-8"))))
        return [{name: float(value) if value else None for name, value in row.items()} for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def write_results(folder: pathlib.Path, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Write results.csv; all rows have the columns of the first."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    # Seven digits: float32 has no more.
    writer.writerows({key: "" if value is None else f"{value:.7g}" for key, value in row.items()} for row in rows)
    atomic_files.write_atomic(folder / RESULTS, text.getvalue())


def list_runs(runs: pathlib.Path) -> list[pathlib.Path]:
    """Return the folders of all runs, the oldest first."""
    with contextlib.suppress(OSError):
        return sorted((path for path in runs.iterdir() if NAME.fullmatch(path.name) and path.is_dir()), key=_number)
    return []


def find_run(configuration: Configuration, graph_sha256: str) -> pathlib.Path | None:
    """Return the newest run that made a frozen graph, or None."""
    runs = runs_folder(configuration)
    found = (
        [folder for folder in list_runs(runs) if read_run(folder).get("graph_sha256") == graph_sha256] if runs else []
    )
    return found[-1] if found else None


def choose_runs(configuration: Configuration, names: Sequence[str]) -> list[pathlib.Path]:
    """Return the folders of runs that a person names.

    Args:
      configuration: Configuration.
      names: numbers ("3"), names ("003-2026-11-26"), "latest" or paths; none: all runs.
    Raises:
      ConfigurationError: `no_runs`: there is no such run, or none at all.
    """
    runs = runs_folder(configuration)
    # A run that was killed while it began has no run.json, and nothing to show.
    known = [folder for folder in list_runs(runs) if (folder / RUN).is_file()] if runs else []
    if not names and not known:
        if runs is None:
            raise ConfigurationError(Message("RunsDir is empty, so no runs are kept."), code="no_runs")
        message = Message("{folder}: contains no runs. Run python3 Trainer.py first.", folder=runs)
        raise ConfigurationError(message, code="no_runs")
    return [_find(name, runs, known) for name in names] if names else known


def _find(name: str, runs: pathlib.Path | None, known: Sequence[pathlib.Path]) -> pathlib.Path:
    for folder in known:
        if name == folder.name or (name.isdecimal() and int(name) == _number(folder)):
            return folder
    latest = latest_run(runs) if runs and name == LATEST else None
    folder = latest or pathlib.Path(name)
    if (folder / RUN).is_file():
        return folder.resolve()
    names = ", ".join(each.name for each in known[-5:]) or "none"
    message = Message("{name}: there is no such run. The newest runs: {names}.", name=name, names=names)
    raise ConfigurationError(message, code="no_runs")


def latest_run(runs: pathlib.Path) -> pathlib.Path | None:
    """Return the run that `latest` names, or None."""
    latest = runs.parent / LATEST
    with contextlib.suppress(OSError, UnicodeDecodeError):
        folder = latest.resolve() if latest.is_dir() else runs.parent / latest.read_text(encoding="utf-8").strip()
        return folder if (folder / RUN).is_file() else None
    return None


def keep_files(folder: pathlib.Path, paths: Iterable[pathlib.Path], link: bool = False) -> None:
    """Copy files into a run's folder; files that do not exist are left out.

    Args:
      folder: of the run.
      paths: the files, which keep their names.
      link: make hard links, which take no space as long as the original is kept. Only for files that are never changed
        in place. A file system without hard links gets copies.
    """
    for path in paths:
        if not path.is_file():
            continue
        with atomic_files.atomic_replace(folder / path.name) as temporary:
            if link:
                temporary.unlink()
                with contextlib.suppress(OSError):
                    os.link(path.resolve(), temporary)
            if not link or not temporary.exists():
                shutil.copyfile(path, temporary)


def remove_old_models(configuration: Configuration, newest: pathlib.Path) -> None:
    """Remove checkpoint and frozen graph from all but the last `RunsWithModel` runs; everything else stays.

    Args:
      configuration: Configuration.
      newest: the run that has just ended; it counts as the last.
    """
    others = [folder for folder in list_runs(newest.parent) if folder.name != newest.name and _model_files(folder)]
    keep = configuration["RunsWithModel"]
    old = others[: max(0, len(others) - (keep - 1))] if keep else [*others, newest]
    for folder in old:
        for path in _model_files(folder):
            path.unlink(missing_ok=True)
        log.info("Removed the checkpoint and the frozen graph of run %s (RunsWithModel=%d).", folder.name, keep)


def _model_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [*folder.glob("model.ckpt-*"), *folder.glob("*.pb")]


def _number(folder: pathlib.Path) -> int:
    return int(folder.name.partition("-")[0])


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = json_files.read_json(path)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _point_latest(folder: pathlib.Path) -> None:
    """Make `latest` a relative link to a run, or a file with its path if links are not possible."""
    latest = folder.parent.parent / LATEST
    target = f"{folder.parent.name}/{folder.name}"
    if latest.exists() and not latest.is_symlink() and not _is_our_file(latest, folder.parent.name):
        log.warning("%s: not written by this program, so it stays as it is. The newest run is %s.", latest, folder)
        return
    temporary = temp_files.temp_path_for(latest)
    try:
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(latest)
    except (OSError, NotImplementedError):
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if latest.is_symlink():
            latest.unlink()
        atomic_files.write_atomic(latest, f"{target}\n")


def _is_our_file(latest: pathlib.Path, runs: str) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        parts = latest.read_text(encoding="utf-8").strip().split("/")
        return len(parts) == 2 and parts[0] == runs and NAME.fullmatch(parts[1]) is not None
    return False
