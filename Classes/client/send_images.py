"""Client.py: send images to the API, and log and write the results."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from Classes import Helpers
from Classes.client import result_rows, server_models
from Classes.client.connection import Sender
from Classes.client.response import MAX_TEXT_LENGTH
from Classes.client.result_rows import Result
from Classes.common import (
    class_scheme,
    conditions,
    image_lines,
    input_files,
    known_classes,
    logs,
    result_table,
    summary,
    table_files,
    terminal,
)
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.config import Configuration
from Classes.common.errors import escape_control_chars
from Classes.common.translation import gettext as _

# Seconds for the transmission, in addition to the server's request timeout.
TIMEOUT_MARGIN = 5

# Limits of a model of cell types that are shown before its results; Client.py Models shows all.
SHOWN_LIMITS = 2

# Shows the line of an image, given by name, with its result.
ShowLine = Callable[[image_lines.ImageLines, str, dict[str, Any]], None]

log = logging.getLogger("ClassifierServerClient")


def send_images(
    configuration: Configuration,
    sources: Sequence[str | os.PathLike[str]] = (),
    *,
    server: str | None = None,
    concurrency: int = 4,
    timeout: float | None = None,
    retries: int = 12,
    csv_path: str | os.PathLike[str] | None = None,
    json_path: str | os.PathLike[str] | None = None,
    labels: str = known_classes.AUTO,
    xlsx_path: str | os.PathLike[str] | None = None,
    parquet_path: str | os.PathLike[str] | None = None,
    csv_locale: str = table_files.ENGLISH,
    model: str = "",
) -> int:
    """Send images, log the results, and compare them with the classes in the file names.

    Args:
      configuration: Configuration.
      sources: files and folders; none means `TestImagePath`.
      server: address of the API, such as https://lab.example.org; None: `Domain`, or `IP` and `Port`.
      concurrency: number of images sent at the same time.
      timeout: seconds to wait for a response; None: `RequestTimeout` and TIMEOUT_MARGIN.
      retries: number of times that one image is sent again.
      csv_path, json_path, xlsx_path, parquet_path: where to write the result table, or None.
      labels: where the true classes are known from, one of known_classes.SOURCES.
      csv_locale: see table_files.TableFiles.
      model: name of the model on the server; "": its default.
    Returns:
      exit code: 0, or 1 if an image has no result.
    Raises:
      ALLError: there is nothing to send, or no server.
    """
    paths = (csv_path, json_path, xlsx_path, parquet_path)
    tables = table_files.TableFiles(*paths, csv_locale).prepared(configuration.condition)
    files, skipped = input_files.find_inputs(configuration, sources)
    address = server or server_url(configuration)
    with contextlib.closing(open_sender(configuration, address, timeout, retries, model)) as sender:
        target = _ask_server(configuration, sender, model, address)
        results, interrupt = _send_all(sender, files, concurrency, target.show)
    condition = _condition(configuration, results, target.conditions)
    scheme = target.scheme if target.served else ClassScheme(tuple(_class_names(results)), target.scheme.positive)
    # All files, because a name without a class counts although the image was not sent before Ctrl-C.
    known = known_classes.find_known_classes(files, scheme, condition, labels)
    rows = _rows(target, scheme, condition, dict(zip(files, known.classes, strict=True)), results)
    found = summary.summarize(rows, len(files), skipped, known.note, condition=condition, scheme=scheme)
    _write(tables, rows, results, found, address)
    _raise_interrupt(interrupt, len(files) - len(results), len(files))
    return int(any(row["error"] for row in rows))


def _write(
    tables: table_files.TableFiles,
    rows: Sequence[result_table.Row],
    results: Sequence[Result],
    found: summary.Summary,
    address: str,
) -> None:
    """Write the tables, and show and log the summary."""
    table_files.write_tables(tables, rows, _model_fields(results), found, log)
    result_table.log_summary(rows, found, log)
    shown = [(kind.upper(), path) for kind, path in tables.paths.items()]
    # The server's page has the same results as pictures.
    image_lines.show_summary(found, shown, f"{address}/")


@dataclasses.dataclass(frozen=True)
class _Target:
    """The server and the model to which images are sent.

    Attributes:
      version: of the server's software.
      served: the model; None if the server does not list its models.
      scheme: its classes.
      conditions: what it detects; several if the model is unknown.
    """

    version: str | None
    served: server_models.ServedModel | None
    scheme: ClassScheme
    conditions: Sequence[Condition]

    def show(self, lines: image_lines.ImageLines, name: str, result: dict[str, Any]) -> None:
        """Show the line of an image."""
        served = self.served
        titles = {name: served.title(name) for name in served.titles} if served else {}
        condition = conditions.from_result(result.get("verdict", ""), self.conditions)
        lines.show_classes(name, result, self.scheme, titles, condition)


def _rows(
    target: _Target,
    scheme: ClassScheme,
    condition: Condition,
    truths: dict[pathlib.Path, str | None],
    results: Sequence[Result],
) -> list[result_table.Row]:
    """Return a row per result, and warn if they are of a model of synthetic images."""
    rows = result_rows.table_rows(scheme, target.served.titles if target.served else {}, condition, truths, results)
    if any(result.get("synthetic") for _path, result in results):
        log.warning(Helpers.SYNTHETIC)
    for row in rows:
        row["software_version"] = None if row["error"] else target.version
    return rows


def _ask_server(configuration: Configuration, sender: Sender, model: str, address: str) -> _Target:
    """Return what the server says of itself and of the model, and show what the model has never seen."""
    log.info("Classifier class initialization complete.")
    log.info(Helpers.DISCLAIMER)
    sender.check_reachable()
    info = sender.server_info()
    served = server_models.choose_model(sender.models(), model, address)
    _show_limits(served)
    described = info.conditions if served is None or served.condition is None else (served.condition,)
    return _Target(info.version, served, served.scheme if served else _former_scheme(configuration), described)


def list_models(
    configuration: Configuration, server: str | None = None, timeout: float | None = None, retries: int = 12
) -> int:
    """Print the models of a server; return exit code 0.

    Raises:
      ALLError: there is no server, or it has no list of models.
    """
    address = server or server_url(configuration)
    with contextlib.closing(open_sender(configuration, address, timeout, retries)) as sender:
        sender.check_reachable()
        return server_models.print_models(sender.models(), address)


def open_sender(
    configuration: Configuration, server: str, timeout: float | None, retries: int, model: str = ""
) -> Sender:
    """Return a Sender; its timeout is by default `RequestTimeout` and TIMEOUT_MARGIN."""
    # It would log a warning for every retry.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return Sender(configuration, server, timeout or configuration["RequestTimeout"] + TIMEOUT_MARGIN, retries, model)


def _former_scheme(configuration: Configuration) -> ClassScheme:
    """Return the classes of the first system, for a server that does not list its models."""
    return ClassScheme(("0", "1"), class_scheme.configured_positive(configuration))


def _show_limits(served: server_models.ServedModel | None) -> None:
    """Log and show what a model of cell types has never seen."""
    if served is not None and served.condition is None:
        for limit in served.limits[:SHOWN_LIMITS]:
            log.info(limit)
            terminal.say(_(limit))


def _raise_interrupt(interrupt: KeyboardInterrupt | None, unsent: int, total: int) -> None:
    if interrupt is not None:
        log.warning("%d of %d images were not sent", unsent, total, extra=logs.LOG_ONLY)
        raise interrupt


def server_url(configuration: Configuration) -> str:
    """Return the configured address of the API, without a slash at the end."""
    domain = configuration["Domain"].rstrip("/")
    if domain:
        return domain if "://" in domain else f"https://{domain}"
    # A server that listens on all addresses also listens on this machine's loopback address.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(configuration.address, configuration.address)
    return f"http://{f'[{host}]' if ':' in host else host}:{configuration['Port']}"


def _send_all(
    sender: Sender, files: Sequence[pathlib.Path], concurrency: int, show: ShowLine
) -> tuple[list[Result], KeyboardInterrupt | None]:
    """Send files; return the results in the order of the files, and the exception if Ctrl-C ended the run early."""
    results: dict[pathlib.Path, dict[str, Any]] = {}
    interrupt = None
    pool = concurrent.futures.ThreadPoolExecutor(concurrency)
    try:
        futures = {pool.submit(sender.send, path): path for path in files}
        with image_lines.ImageLines(map(str, files)) as lines:
            for future in concurrent.futures.as_completed(futures):
                path = futures[future]
                results[path] = result = {**_future_result(path, future), "date": result_table.local_time()}
                show(lines, path.name, result)
                if "error" in result:
                    log.error("%s", result["error"], extra=logs.LOG_ONLY)
                else:
                    log.info("%s: %s", input_files.display_path(path), result["message"])
    except KeyboardInterrupt as error:
        interrupt = error
        log.warning("Stopped; waiting for responses to the images already sent.")
    finally:
        pool.shutdown(cancel_futures=True)
    return [(path, results[path]) for path in files if path in results], interrupt


def _future_result(path: pathlib.Path, future: concurrent.futures.Future[dict[str, Any]]) -> dict[str, Any]:
    """Return a thread's result; even a bug costs only one image."""
    try:
        return future.result()
    except Exception as error:
        log.debug("%s", path, exc_info=error)
        return {"error": f"{path}: {type(error).__name__}: {escape_control_chars(error)[:MAX_TEXT_LENGTH]}"}


def _condition(configuration: Configuration, results: Sequence[Result], described: Sequence[Condition]) -> Condition:
    """Return the condition of the first result; without results, of the server or of the configuration."""
    for _path, result in results:
        if "error" not in result:
            return conditions.from_result(result["verdict"], described)
    return described[0] if described else configuration.condition


def _class_names(results: Sequence[Result]) -> list[str]:
    # The most frequent classes, so that a single odd response does not decide the columns.
    counts = collections.Counter(
        tuple(result["probabilities"]) for _path, result in results if result.get("probabilities")
    )
    return list(counts.most_common(1)[0][0]) if counts else ["0", "1"]


def _model_fields(results: Sequence[Result]) -> dict[str, Any] | None:
    """Return the fields that identify the model, from the first result; None without results."""
    fields = (
        {key: result.get(key) for key in ("model", "synthetic")} for _path, result in results if "error" not in result
    )
    return next(fields, None)
