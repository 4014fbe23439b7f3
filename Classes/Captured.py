"""The images that were sent, kept for later labelling: only when switched on, never more than the configured size."""

import contextlib
import datetime
import json
import logging
import os
import re
import threading

from Classes import Files

LOG = "Captured.jsonl"

# When the folder is full, so much of it is freed at once, since the log is then written anew.
FREED = 0.1

log = logging.getLogger("ClassifierServer")


class Captured:
    """A folder of `<SHA-256>.<format>` files with the bytes that were sent, each content once, and a log of verdicts.

    Args:
      folder: pathlib.Path; made when it is missing.
      most: bytes that the images may have together; the oldest go first.
    """

    def __init__(self, folder, most):
        # Cells of patients are nobody else's business.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        Files.sweep(folder)
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._failing = False
        found = [(path, path.stat()) for path in folder.iterdir() if _is_image(path)]
        found.sort(key=lambda each: each[1].st_mtime_ns)
        # {file name: bytes}, the oldest first.
        self._sizes = {path.name: stat.st_size for path, stat in found}

    def keep(self, finding, model, request_id):
        """Keep an image that is not there yet; a full disk is told once and never stops an answer.

        Args:
          finding: Examination.Finding.
          model: SHA-256 of the graph that gave the verdict.
          request_id: as in the access log.
        """
        name = f"{finding.sha256}.{finding.facts.format}"
        size = len(finding.content)
        with self._lock:
            if name in self._sizes or size > self._most:
                return
            try:
                self._make_room(size)
                Files.write(self._folder / name, finding.content)
                self._note(name, finding, model, request_id)
                self._sizes[name] = size
                self._failing = False
            except OSError as error:
                # An image without its line in the log would never get one.
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
                if not self._failing:
                    log.warning("%s: %s; images are not captured until it can be written", self._folder, error.strerror)
                self._failing = True

    def _make_room(self, size):
        if sum(self._sizes.values()) + size <= self._most:
            return
        while self._sizes and sum(self._sizes.values()) + size > self._most * (1 - FREED):
            oldest = next(iter(self._sizes))
            (self._folder / oldest).unlink(missing_ok=True)
            del self._sizes[oldest]
        self._forget()

    def _forget(self):
        """Take the lines of images that are gone out of the log."""
        path = self._folder / LOG
        if path.exists():
            lines = path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
            Files.write(path, "".join(line for line in lines if _file(line) in self._sizes))

    def _note(self, name, finding, model, request_id):
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "file": name,
            "sha256": finding.sha256,
            "verdict": finding.verdict.finding,
            "class": finding.verdict.label,
            "probabilities": finding.verdict.probabilities,
            "engine": finding.engine,
            "precision": finding.precision,
            "model": model,
            "request_id": request_id,
        }
        with open(self._folder / LOG, "a+b") as file:
            # A line that a kill or a full disk cut off must not take the next one with it.
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            cut = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * cut + json.dumps(line).encode("ascii") + b"\n")


def _is_image(path):
    # Not any file: what else lies in the folder is never counted, and never removed to make room.
    return re.fullmatch(r"[0-9a-f]{64}\.[A-Za-z0-9]+", path.name) is not None and path.is_file()


def _file(line):
    try:
        return json.loads(line)["file"]
    except (ValueError, KeyError, TypeError):
        # The end of a run that was killed while it wrote.
        return None
