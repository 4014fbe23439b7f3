"""The commands whose runs are units of work, and what they write: for job_resume.py and cluster.py."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

KINDS = ("field", "cells", "slide", "data")
HELP = (
    "field: photographed fields; cells: single cells, which get a type; slide: a slide; data: class folders for Data.py"
)

# Columns of single cells that say when and how fast an image was classified.
VOLATILE = ("seconds", "date")

# Of Data.py: the settings that the manifest lists, and when the audit was made.
VOLATILE_LINES = {
    "ALL_manifest.json": re.compile(rb'"(Processes|Cluster)": [^\n]+'),
    "Data.json": re.compile(rb'"(created|content_sha256)": [^\n]+'),
    "Data.html": re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC"),
}

# Seconds between two looks at the part files.
LOOK = 0.02


@dataclasses.dataclass
class JobCommand:
    """A command of one kind, with all outputs that it has.

    Attributes:
      kind: one of KINDS.
      sources: folder of the images; for "slide" the file.
      folder: for the outputs, the log and the job.
      settings: more of them, such as "PositiveClass=LY".
      tables_only: write only CSV and JSON.
    """

    kind: str
    sources: pathlib.Path
    folder: pathlib.Path
    settings: tuple[str, ...] = ()
    tables_only: bool = False

    @property
    def out(self) -> pathlib.Path:
        return self.folder / "out"

    def words(self, *options: str, project: pathlib.Path = PROJECT, jobs: bool = True) -> list[str]:
        """Return the command after the name of Python; `jobs`: the checkout knows JobDir."""
        settings = [f"Logs={self.folder}/Logs", *([f"JobDir={self.folder}/Jobs"] if jobs else []), *self.settings]
        if self.kind == "data":
            settings += [f"ImageDir={self.sources}", f"DatasetDir={self.out}/Data", f"ReportDir={self.out}/Report"]
            settings += ["AllowDatasetBias=true"]
        options = (*options, *(word for each in settings for word in ("--set", each)))
        if self.kind == "data":
            return [str(project / "Data.py"), *options]
        words = {"field": ["Field"], "slide": ["Slide"], "cells": ["--model", "WhiteCells"]}[self.kind]
        names = {"csv": "o.csv", "json": "o.json"}
        if self.kind != "cells" and not self.tables_only:
            names |= {"html": "o.html", "overlay": "overlay", "geojson": "geojson", "crops": "crops"}
        outputs = [word for name, file in names.items() for word in (f"--{name}", str(self.out / file))]
        return [str(project / "Classifier.py"), *words, *outputs, *options, str(self.sources)]

    def clear(self) -> None:
        """Remove outputs and job."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if self.kind == "data":
            (self.out / "Data").mkdir(exist_ok=True)

    def start(self, *options: str, before=(), cwd=None, **named) -> subprocess.Popen:
        """Start the command in a session of its own; before: words such as taskset; its output lands in output.txt."""
        self.prepare()
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(
                [*before, sys.executable, *self.words(*options, **named)],
                cwd=cwd or self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *options: str, **named) -> float:
        """Run to the end and return the seconds."""
        begin = time.perf_counter()
        self.check(self.start(*options, **named).wait())
        return time.perf_counter() - begin

    def check(self, code: int) -> None:
        """End the benchmark if a command failed; 1: an image cannot be read."""
        if code not in (0, 1):
            sys.exit(f"exit code {code}: {(self.folder / 'output.txt').read_text()[-2000:]}")

    def outputs(self) -> dict[str, str]:
        """Return {file: SHA-256} of all outputs, without the columns that no two runs share."""
        files = [path for path in sorted(self.out.rglob("*")) if path.is_file() and path.name != ".lock"]
        return {
            path.relative_to(self.out).as_posix(): hashlib.sha256(self._content(path)).hexdigest() for path in files
        }

    def digest(self) -> str:
        """Return one hash of all outputs."""
        return hashlib.sha256(json.dumps(self.outputs()).encode()).hexdigest()[:12]

    def _content(self, path: pathlib.Path) -> bytes:
        """Return a file without the dates of a run, and without how it was run."""
        if self.kind == "data" and (volatile := VOLATILE_LINES.get(path.name)):
            return volatile.sub(b"", path.read_bytes())
        if self.kind != "cells":
            return path.read_bytes()
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            for row in content["images"]:
                for name in VOLATILE:
                    del row[name]
            return json.dumps(content).encode()
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {name: value for name, value in row.items() if name not in VOLATILE} for row in csv.DictReader(file)
            ]
        return json.dumps(rows).encode()


class PartWatch:
    """Watches the part files of a job's folder over several runs.

    Attributes:
      seen: all that have been there.
      repeated: those that were replaced by another file, or written again, so their unit was computed again.
    """

    def __init__(self, jobs: pathlib.Path) -> None:
        self._jobs = jobs
        self._known: dict[str, tuple[int, int]] = {}
        self.repeated: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def seen(self) -> int:
        return len(self._known)

    def has_ended(self) -> bool:
        """Return whether a run has removed the part files, which it does when everything is written."""
        return self.seen > 0 and not any(self._jobs.glob("*/parts/*.json"))

    def __enter__(self) -> "PartWatch":
        self._thread.start()
        return self

    def __exit__(self, *_error) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            for folder in self._jobs.glob("*/parts"):
                with contextlib.suppress(OSError), os.scandir(folder) as entries:
                    for entry in entries:
                        self._look(entry)

    def _look(self, entry: os.DirEntry) -> None:
        if not entry.name.endswith(".json"):
            return
        with contextlib.suppress(OSError):
            status = entry.stat()
            identity = status.st_ino, status.st_mtime_ns
            if self._known.setdefault(entry.path, identity) != identity:
                self.repeated.add(entry.path)


def find_sources(kind: str, sources: pathlib.Path, folder: pathlib.Path, count: int | None = None) -> pathlib.Path:
    """Return the sources of a command: a copy of `count` of the images, which are used again if there are fewer.

    For "slide", a folder with bccd becomes a slide of count x count of its fields, 16 by default.
    """
    sources = sources.absolute()
    if kind == "slide":
        return sources if sources.is_file() else make_slide(sources, folder, count or 16)
    if count is None:
        return sources
    found = sorted(path for path in sources.rglob("*") if path.suffix in (".jpg", ".png"))
    for number in range(count if found else 0):
        path = found[number % len(found)]
        # Class folders keep their names.
        target = folder / "images" / (path.parent.name if kind == "data" else "") / f"{number:05}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder / "images"


def make_slide(data: pathlib.Path, folder: pathlib.Path, side: int) -> pathlib.Path:
    """Write a slide of side * side fields, with empty, thick, blurred and marked places; wide, so that it has bands."""
    from benchmarks import slide_mosaic

    mosaic = slide_mosaic.Mosaic(
        slide_mosaic.load_fields(data), slide_mosaic.layout(max(1, side // 2), side * 2, special=0.2)
    )
    path = folder / "slide.tif"
    mosaic.write(path)
    return path
