"""The images that were sent, kept for later labelling: only when switched on, never more than the configured size.

A thread of its own writes them, so that no answer waits for a disk. A stop writes what waits, a kill loses it.
"""

import contextlib
import datetime
import json
import logging
import os
import queue
import re
import threading

from Classes.common import atomic_files

LOG_NAME = "Captured.jsonl"

# When the folder is full, so much of it is freed at once, since the log is then written anew.
FREED_FRACTION = 0.1

# Size of the log, as a share of the images' and at least; the oldest lines go first.
LOG_SHARE, LOG_LEAST = 0.1, 1 << 20

# What waits for the disk at most: answers, and bytes of their images.
WAITING, WAITING_BYTES = 1000, 64 << 20

# Seconds that a stopping server waits for the disk.
CLOSING = 30

log = logging.getLogger("ClassifierServer")


class UploadStore:
    """A folder of `<SHA-256>.<format>` files with the bytes that were sent, each content once, and a log of verdicts.

    Args:
      folder: pathlib.Path; made when it is missing.
      most: bytes that the images may have together; the oldest go first.
    """

    def __init__(self, folder, most):
        # Cells of patients are nobody else's business.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_files.remove_stale_temp_files(folder)
        self._folder, self._most = folder, most
        self._failing = self._dropping = False
        found = [(path, path.stat()) for path in folder.iterdir() if _is_image(path)]
        found.sort(key=lambda each: each[1].st_mtime_ns)
        # {file name: bytes}, the oldest first.
        self._sizes = {path.name: stat.st_size for path, stat in found}
        self._queue = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._waiting = 0
        self._writer = threading.Thread(target=self._write, name="captured", daemon=True)
        self._writer.start()

    def keep(self, finding, model, request_id):
        """Have an image that is not there yet, and in any case a line for its answer, written; never waits.

        If the disk is so slow that too much waits for it, this is not captured, and a warning is logged.

        Args:
          finding: predictor.PredictionResult.
          model: SHA-256 of the graph that gave the verdict.
          request_id: as in the access log.
        """
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "file": f"{finding.sha256}.{finding.facts.format}",
            "sha256": finding.sha256,
            "verdict": finding.verdict.finding,
            "class": finding.verdict.label,
            "probabilities": finding.verdict.probabilities,
            "engine": finding.engine,
            "precision": finding.precision,
            "model": model,
            "request_id": request_id,
        }
        with self._lock:
            fits = self._waiting + len(finding.content) <= max(WAITING_BYTES, len(finding.content))
            with contextlib.suppress(queue.Full):
                if fits:
                    self._queue.put_nowait((line, finding.content))
                    self._waiting += len(finding.content)
                    return
            first, self._dropping = not self._dropping, True
        if first:
            log.warning("%s: the disk is too slow; some images are not captured until it catches up", self._folder)

    def flush(self):
        """Wait until everything that was kept so far is written."""
        self._queue.join()

    def close(self):
        """Write what waits, and end; nothing may be kept from then on."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSING)
            self._writer.join(CLOSING)
        if self._writer.is_alive():
            log.warning("%s: the disk does not answer; about %d results are lost", self._folder, self._queue.qsize())

    def _write(self):
        """What the thread does: one entry after the other, until there is None."""
        while (entry := self._queue.get()) is not None:
            try:
                self._add(*entry)
                self._failing = False
            except OSError as error:
                if not self._failing:
                    log.warning("%s: %s; images are not captured until it can be written", self._folder, error.strerror)
                self._failing = True
            finally:
                with self._lock:
                    self._waiting -= len(entry[1])
                    self._dropping &= bool(self._waiting)
                self._queue.task_done()
        self._queue.task_done()

    def _add(self, line, content):
        name = line["file"]
        new = name not in self._sizes
        if new and len(content) > self._most:
            return
        try:
            if new:
                self._make_room(len(content))
                atomic_files.write_atomic(self._folder / name, content)
            self._note(line)
        except OSError:
            # An image without its line in the log is captured the next time.
            if new:
                self._sizes.pop(name, None)
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
            raise
        self._sizes[name] = len(content)

    def _make_room(self, size):
        if sum(self._sizes.values()) + size <= self._most:
            return
        while self._sizes and sum(self._sizes.values()) + size > self._most * (1 - FREED_FRACTION):
            oldest = next(iter(self._sizes))
            (self._folder / oldest).unlink(missing_ok=True)
            del self._sizes[oldest]
        self._forget()

    def _forget(self, most=None):
        """Take out of the log the lines of images that are gone; with a size in bytes also the oldest lines.

        Of the answers that one model gave to one image the last line stays the longest.
        """
        path = self._folder / LOG_NAME
        if not path.exists():
            return
        lines = path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
        found = [(line, key) for line in lines if (key := _key(line)) is not None and key[0] in self._sizes]
        if most is not None:
            last = {key: index for index, (_, key) in enumerate(found)}
            order = sorted(range(len(found)), key=lambda index: (last[found[index][1]] == index, index), reverse=True)
            kept, size = set(), 0
            for index in order:
                size += len(found[index][0])
                if size > most:
                    break
                kept.add(index)
            found = [each for index, each in enumerate(found) if index in kept]
        atomic_files.write_atomic(path, "".join(line for line, _ in found))

    def _note(self, line):
        most = max(LOG_LEAST, int(self._most * LOG_SHARE))
        with open(self._folder / LOG_NAME, "a+b") as file:
            # A line that a kill or a full disk cut off must not take the next one with it.
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            cut = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * cut + json.dumps(line).encode("ascii") + b"\n")
        if end > most:
            self._sizes.setdefault(line["file"], 0)
            self._forget(int(most * (1 - FREED_FRACTION)))


def _is_image(path):
    # Not any file: what else lies in the folder is never counted, and never removed to make room.
    return re.fullmatch(r"[0-9a-f]{64}\.[A-Za-z0-9]+", path.name) is not None and path.is_file()


def _key(line):
    """(file, model) of a line of the log; None for the end of a run that was killed while it wrote."""
    try:
        found = json.loads(line)
        return found["file"], found.get("model")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
