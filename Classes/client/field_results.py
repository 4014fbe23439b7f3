"""Client.py Send --field: send photographed fields, and show and write their cells and counts."""

import concurrent.futures
import contextlib
import json
import logging
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from Classes import Helpers
from Classes.client import connection, field_pictures, response, send_images
from Classes.common import (
    blast_fraction,
    cell_counts,
    cell_texts,
    field_summary,
    image_lines,
    input_files,
    json_files,
    logs,
    output_folders,
    table_files,
    terminal,
    translation,
)
from Classes.common.config import Configuration
from Classes.common.translation import gettext as _

# Bytes of a response, without and with pictures, and number of cells, above what the API sends for a field.
MAX_RESPONSE_BYTES, MAX_PICTURE_BYTES, MAX_CELLS = 16 << 20, 256 << 20, 10_000

# What a cell must have, and the rest of its columns is only checked for its kind.
_NEEDED = {
    "cell": (int,),
    "group": (str,),
    "blast": (bool, type(None)),
    "unlike_training": (bool,),
    "needs_review": (bool,),
}

log = logging.getLogger("ClassifierServerClient")


def send_fields(
    configuration: Configuration,
    sources: Sequence[str],
    *,
    server: str | None = None,
    concurrency: int = 2,
    timeout: float | None = None,
    retries: int = 12,
    csv_path: str | os.PathLike[str] | None = None,
    json_path: str | os.PathLike[str] | None = None,
    model: str = "",
    scale: float | None = None,
    pictures: field_pictures.PictureFolders = field_pictures.NONE,
) -> int:
    """Send photographed fields, show their counts and the differential of all cells.

    Args:
      configuration: Configuration.
      sources: files and folders.
      server, timeout, retries, model: as for send_images.send_images.
      concurrency: number of fields sent at the same time; the server counts one at a time.
      csv_path, json_path: where to write one row per cell, or None.
      scale: micrometers per pixel; None: from the file or the image.
      pictures: where to write overlays and cells.
    Returns:
      exit code: 0, or 1 if a photograph has no result.
    Raises:
      ALLError: there is nothing to send, no server, or an output cannot be written.
    """
    tables = table_files.TableFiles(csv_path, json_path).prepared(configuration.condition)
    files = input_files.resolve_inputs(configuration, sources)
    pictures.prepare()
    address = server or send_images.server_url(configuration)
    sender = send_images.open_sender(configuration, address, timeout, retries, model)
    log.info(Helpers.DISCLAIMER)
    with contextlib.closing(sender):
        sender.check_reachable()
        version = sender.server_info().version
        query = {**({} if scale is None else {"scale": str(scale)}), **pictures.query()}
        found, interrupt = _send_all(sender, files, concurrency, query, pictures)
    results = [(input_files.display_path(path), found[path]) for path in files if path in found]
    counts = _count(results)
    _write(tables, results, counts, version)
    _show_end(results, counts, len(files), tables, pictures, address)
    if interrupt is not None:
        raise interrupt
    return 1 if any("error" in result for _name, result in results) else 0


def parse_field(path: object, status: int, body: bytes) -> dict[str, Any]:
    """Parse the response for a field; never raise.

    Returns:
      the answer with checked counts and cells; or {"error": text, "code": text or None}.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    fields = fields if isinstance(fields, dict) else {}
    if status == 200:
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            return _checked(fields)
        fields = {}
    try:
        reason, code = response.parse_text(fields["message"]), response.parse_text(fields["code"])
    except (LookupError, TypeError):
        reason, code = "the response is not one of this API", None
    return {"error": f"{path}: {reason} (HTTP {status})", "code": code}


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what is used of an answer; raise ValueError, LookupError or TypeError if it is not one of this API."""
    cells = fields["cells"]
    if not isinstance(cells, list) or len(cells) > MAX_CELLS:
        raise ValueError("cells")
    checked = [{response.parse_text(name): _plain(value) for name, value in cell.items()} for cell in cells]
    for cell in checked:
        if any(type(cell[name]) not in kinds for name, kinds in _NEEDED.items()):
            raise TypeError("cell")
    scale, models = _plain(fields["um_per_pixel"]), fields["models"]
    if not isinstance(scale, float | int | None):
        raise TypeError("um_per_pixel")
    row = {
        name: _plain(value)
        for name, value in fields.items()
        if name not in ("message", *field_pictures.NAMES) and not isinstance(value, dict | list)
    }
    blasts = models["blasts"]
    kind = None if blasts is None else response.parse_text((fields["counts"]["blasts"] or {"type": "blast"})["type"])
    rates = [
        None if blasts is None else blast_fraction.measured_rate(blasts.get(name))
        for name in ("sensitivity", "specificity")
    ]
    return {
        "row": row,
        "cells": checked,
        "scale": scale,
        "source": response.parse_text(fields["scale_source"]),
        "blast": kind,
        "rates": rates,
        "models": models,
        "pictures": field_pictures.parse_pictures(fields, len(cells)),
    }


def _plain(value: Any) -> Any:
    """Return a text, number, flag or null in a form that can be written."""
    if isinstance(value, str):
        return response.parse_text(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(value)


def _send_all(
    sender: connection.Sender,
    files: Sequence[pathlib.Path],
    concurrency: int,
    query: dict[str, str],
    pictures: field_pictures.PictureFolders,
) -> tuple[dict[pathlib.Path, dict[str, Any]], KeyboardInterrupt | None]:
    """Send files; return their results, and the exception if Ctrl-C ended the run early."""
    found: dict[pathlib.Path, dict[str, Any]] = {}
    pool = concurrent.futures.ThreadPoolExecutor(concurrency)
    interrupt = None
    try:
        limit = MAX_PICTURE_BYTES if pictures.query() else MAX_RESPONSE_BYTES
        stems = dict(zip(files, output_folders.unique_stems(files), strict=True))
        futures = {pool.submit(sender.send_field, path, query, parse_field, limit): path for path in files}
        with image_lines.ImageLines(map(str, files)) as lines:
            for future in concurrent.futures.as_completed(futures):
                # Without the future, its pictures leave the memory.
                path = futures.pop(future)
                found[path] = future.result()
                pictures.write(found[path].pop("pictures", None), found[path].get("cells", ()), stems[path])
                _show_field(lines, path, found[path])
    except KeyboardInterrupt as error:
        interrupt = error
        log.warning("Stopped; waiting for responses to the images already sent.")
    finally:
        pool.shutdown(cancel_futures=True)
    return found, interrupt


def _show_field(lines: image_lines.ImageLines, path: pathlib.Path, result: dict[str, Any]) -> None:
    if "error" in result:
        log.error("%s", result["error"], extra=logs.LOG_ONLY)
        lines.show_parts(path.name, (_("No result"), "magenta"))
        terminal.say(f"  {result['error']}", "magenta")
        return
    cells = result["cells"]
    groups = [cell["group"] for cell in cells]
    reviewed = sum(cell["needs_review"] for cell in cells)
    with translation.use_language(translation.ENGLISH):
        log.info(
            "%s: %s; %s",
            input_files.display_path(path),
            cell_texts.describe_counts(groups, reviewed),
            cell_texts.describe_scale(result["scale"], result["source"]),
        )
    review = cell_texts.describe_review(reviewed)
    lines.show_parts(
        path.name,
        (", ".join(filter(None, [cell_texts.describe_number(len(cells)), review])), "yellow" if review else ""),
        (f"  {cell_texts.describe_scale(result['scale'], result['source'])}", "dim"),
        (f"  {cell_texts.describe_types(groups)}", ""),
    )


def _count(results: Sequence[tuple[str, dict[str, Any]]]) -> cell_counts.RunCounts:
    """Return the counts of the cells of all fields."""
    answers = [result for _name, result in results if "error" not in result]
    cells = [cell for result in answers for cell in result["cells"]]
    blast = next((result["blast"] for result in answers if result["blast"]), "")
    rates = answers[0]["rates"] if answers else [None, None]
    counted = [cell for cell in cells if cell["group"] not in cell_counts.NOT_COUNTED]
    return cell_counts.count_groups(
        [cell["group"] for cell in cells],
        blast,
        sum(cell["blast"] is True for cell in cells),
        sum(cell["unlike_training"] for cell in counted),
        *rates,
    )


def _write(
    tables: table_files.TableFiles,
    results: Sequence[tuple[str, dict[str, Any]]],
    counts: cell_counts.RunCounts,
    version: str | None,
) -> None:
    rows = [{**cell, "field": name} for name, result in results for cell in result.get("cells", ())]
    if tables.csv:
        table_files.write_plain_csv(tables.csv, rows, "field")
        log.info("Wrote %d rows to %s", len(rows), tables.csv)
    if tables.json:
        answers = [result for _name, result in results if "error" not in result]
        fields = [
            {**result["row"], "field": name, "code": None, "error": None}
            if "error" not in result
            else {"field": name, "white_cells": None, "code": result.get("code"), "error": result["error"]}
            for name, result in results
        ]
        content = {
            "notice": Helpers.DISCLAIMER,
            "software_version": version,
            "models": answers[0]["models"] if answers else None,
            "suggested": True,
            "counts": counts.to_json(),
            "fields": fields,
            "cells": rows,
        }
        json_files.write_json(tables.json, content, into=True)
        log.info("Wrote %d rows to %s", len(rows), tables.json)


def _show_end(
    results: Sequence[tuple[str, dict[str, Any]]],
    counts: cell_counts.RunCounts,
    given: int,
    tables: table_files.TableFiles,
    pictures: field_pictures.PictureFolders,
    address: str,
) -> None:
    """Print the differential, and log it in English."""
    sentence = field_summary.show_summary(
        counts,
        log,
        fields=len(results),
        given=given,
        failed=sum("error" in result for _name, result in results),
        matched=sum(result["row"].get("stain_matched") is True for _name, result in results if "error" not in result),
        cells=sum(len(result.get("cells", ())) for _name, result in results),
    )
    files: list[tuple[str, str | os.PathLike[str] | None]]
    files = [(kind.upper(), path) for kind, path in tables.paths.items()]
    files += [(_("Overlays"), pictures.overlay), (_("Cells"), pictures.crops)]
    terminal.show_end(sentence, [(name, path) for name, path in files if path], f"{address}/docs")
