"""Stores uploaded images for later labelling, if `Capture` is set, up to a configured size.

A background thread writes them, so that no response waits for the disk. A regular stop writes everything that is still
queued; a kill loses it.
"""

import contextlib
import json
import logging
import os
import pathlib
import queue
import re
import threading
from typing import Any

from Classes.common import atomic_files, input_files, provenance, temp_files
from Classes.common.errors import system_reason
from Classes.serving.predictor import PredictionResult

LOG_NAME = input_files.CAPTURE_LOG

# Fraction of the size that is freed if the folder is full. Freeing rewrites the log, so it should happen rarely.
FREED_FRACTION = 0.1

# Maximum size of the log: a fraction of the images' maximum, but at least MIN_LOG_SIZE bytes.
LOG_FRACTION, MIN_LOG_SIZE = 0.1, 1 << 20

# Maximum number of queued results, and of bytes of their images.
MAX_QUEUED, MAX_QUEUED_BYTES = 1000, 64 << 20

# Seconds that a stopping server waits for the disk.
CLOSE_TIMEOUT = 30

log = logging.getLogger("ClassifierServer")


class UploadStore:
    """A folder with one file `<SHA-256>.<format>` per distinct image, and a log with one line per result.

    Args:
      folder: created if it is missing.
      max_bytes: maximum size of all images together; the oldest are deleted first.
    """

    def __init__(self, folder: pathlib.Path, max_bytes: int):
        # Only the owner may read images of patients.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temp_files.remove_stale_temp_files(folder)
        # Data.py recognizes the folder by it, whatever its own CaptureDir is.
        (folder / LOG_NAME).touch()
        self._folder, self._max_bytes = folder, max_bytes
        self._failing = self._dropping = False
        files = [(path, path.stat()) for path in folder.iterdir() if _is_image(path)]
        files.sort(key=lambda each: each[1].st_mtime_ns)
        # {file name: bytes}, oldest first.
        self._sizes = {path.name: stat.st_size for path, stat in files}
        self._queue: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue(MAX_QUEUED)
        self._lock = threading.Lock()
        self._queued_bytes = 0
        self._writer = threading.Thread(target=self._write_loop, name="upload store", daemon=True)
        self._writer.start()

    def add(self, result: PredictionResult, model_name: str, model: str, request_id: str) -> None:
        """Queue a log line for a result, and its image unless it is stored already; never block.

        If the queue is full because the disk is slow, log a warning and store nothing.

        Args:
          result: the prediction and the uploaded bytes.
          model_name: name of the model.
          model: SHA-256 of its graph.
          request_id: as in the access log.
        """
        line = {
            "time": provenance.utc_now_iso("milliseconds"),
            "file": f"{result.sha256}.{result.image_info.format}",
            "sha256": result.sha256,
            "verdict": result.prediction.description,
            "class": result.prediction.label,
            "group": result.prediction.group,
            "probabilities": result.prediction.probabilities,
            "engine": result.backend,
            "precision": result.precision,
            "model": model,
            "model_name": model_name,
            "request_id": request_id,
        }
        size = len(result.content)
        with self._lock:
            with contextlib.suppress(queue.Full):
                if self._queued_bytes + size <= max(MAX_QUEUED_BYTES, size):
                    self._queue.put_nowait((line, result.content))
                    self._queued_bytes += size
                    return
            first, self._dropping = not self._dropping, True
        if first:
            log.warning("%s: the disk is too slow. Some images are not captured until it catches up.", self._folder)

    def flush(self) -> None:
        """Wait until everything queued so far is written."""
        self._queue.join()

    def close(self) -> None:
        """Write what is queued and stop the background thread; `add` must not be called afterwards."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_TIMEOUT)
            self._writer.join(CLOSE_TIMEOUT)
        if self._writer.is_alive():
            log.warning("%s: the disk does not respond; about %d results are lost", self._folder, self._queue.qsize())

    def _write_loop(self) -> None:
        """Write queued results until None arrives."""
        while (entry := self._queue.get()) is not None:
            try:
                self._write(*entry)
                self._failing = False
            except OSError as error:
                if not self._failing:
                    log.warning(
                        "%s: %s. Images are not captured until the folder can be written.",
                        self._folder,
                        system_reason(error),
                    )
                self._failing = True
            finally:
                with self._lock:
                    self._queued_bytes -= len(entry[1])
                    self._dropping &= bool(self._queued_bytes)
                self._queue.task_done()
        self._queue.task_done()

    def _write(self, line: dict[str, Any], content: bytes) -> None:
        name = line["file"]
        new = name not in self._sizes
        if new and len(content) > self._max_bytes:
            return
        try:
            if new:
                self._make_room(len(content))
                atomic_files.write_atomic(self._folder / name, content)
            self._append_to_log(line)
        except OSError:
            # Remove an image without a log line, so that it is captured the next time.
            if new:
                self._sizes.pop(name, None)
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
            raise
        self._sizes[name] = len(content)

    def _make_room(self, size: int) -> None:
        if sum(self._sizes.values()) + size <= self._max_bytes:
            return
        while self._sizes and sum(self._sizes.values()) + size > self._max_bytes * (1 - FREED_FRACTION):
            oldest = next(iter(self._sizes))
            (self._folder / oldest).unlink(missing_ok=True)
            del self._sizes[oldest]
        self._compact_log()

    def _compact_log(self, max_bytes: int | None = None) -> None:
        """Remove the lines of deleted images and, to reach `max_bytes`, old lines.

        The last line of each pair of image and model is removed after all others.
        """
        path = self._folder / LOG_NAME
        if not path.exists():
            return
        text = path.read_text(encoding="ascii", errors="replace")
        lines = [
            (line, key)
            for line in text.splitlines(keepends=True)
            if (key := _line_key(line)) is not None and key[0] in self._sizes
        ]
        if max_bytes is not None:
            last = {key: index for index, (_, key) in enumerate(lines)}
            order = sorted(range(len(lines)), key=lambda index: (last[lines[index][1]] == index, index), reverse=True)
            kept, size = set(), 0
            for index in order:
                size += len(lines[index][0])
                if size > max_bytes:
                    break
                kept.add(index)
            lines = [line for index, line in enumerate(lines) if index in kept]
        atomic_files.write_atomic(path, "".join(line for line, _ in lines))

    def _append_to_log(self, line: dict[str, Any]) -> None:
        max_bytes = max(MIN_LOG_SIZE, int(self._max_bytes * LOG_FRACTION))
        with open(self._folder / LOG_NAME, "a+b") as file:
            # If a kill or a full disk cut the last line, end it, so that the new line stays readable.
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            cut = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * cut + json.dumps(line).encode("ascii") + b"\n")
        if end > max_bytes:
            self._sizes.setdefault(line["file"], 0)
            self._compact_log(int(max_bytes * (1 - FREED_FRACTION)))


def _is_image(path: pathlib.Path) -> bool:
    # Other files in the folder are neither counted nor deleted.
    return re.fullmatch(r"[0-9a-f]{64}\.[A-Za-z0-9]+", path.name) is not None and path.is_file()


def _line_key(line: str) -> tuple[str, str | None] | None:
    """Return (file, model) of a log line, or None if the line is incomplete."""
    try:
        fields = json.loads(line)
        return fields["file"], fields.get("model")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
