"""Kill long runs at random moments, continue them, share them, and compare all outputs with those of an unbroken run.

python3 benchmarks/job_resume.py field FIELDS/               # Classifier.py Field on photographed fields
python3 benchmarks/job_resume.py cells CELLS/                # Classifier.py --model WhiteCells on single cells
python3 benchmarks/job_resume.py field FIELDS/ --old CHECKOUT # only the time, interleaved with an older checkout

Every second kill ends the whole process group, the others only the main process; its workers must end too. A part file
that exists after a kill must still be the same file at the end of the run, so nothing finished is computed again.
"""

import argparse
import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).parents[1]

# Columns of single cells that say when and how fast an image was classified.
VOLATILE = ("seconds", "date")

# Seconds within which the workers of a killed process must be gone.
ORPHANS = 5.0


@dataclasses.dataclass
class Runner:
    """Starts the command in a folder of its own.

    Attributes:
      kind: "field" or "cells".
      sources: folder of the images.
      folder: for the outputs and the job.
    """

    kind: str
    sources: pathlib.Path
    folder: pathlib.Path

    def command(self, *options: str, project: pathlib.Path = PROJECT, jobs: bool = True) -> list[str]:
        """Return the command; `jobs`: the checkout knows JobDir."""
        kinds = {
            "field": ["Field", "--html", "o.html", "--overlay", "over", "--geojson", "geo", "--crops", "cells"],
            "cells": ["--model", "WhiteCells"],
        }
        settings = ["--set", f"Logs={self.folder}/Logs", *(["--set", f"JobDir={self.folder}/Jobs"] if jobs else [])]
        script = [sys.executable, str(project / "Classifier.py")]
        return [
            *script,
            *kinds[self.kind],
            "--csv",
            "o.csv",
            "--json",
            "o.json",
            *settings,
            *options,
            str(self.sources),
        ]

    def start(self, *options: str, **named) -> subprocess.Popen:
        self.folder.mkdir(parents=True, exist_ok=True)
        output = (self.folder / "output.txt").open("a")
        return subprocess.Popen(
            self.command(*options, **named),
            cwd=self.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *options: str, **named) -> float:
        """Run to the end and return the seconds."""
        begin = time.perf_counter()
        code = self.start(*options, **named).wait()
        if code not in (0, 1):
            sys.exit(f"exit code {code}: {(self.folder / 'output.txt').read_text()[-2000:]}")
        return time.perf_counter() - begin

    def digest(self) -> str:
        """Return the SHA-256 of all outputs, without the columns that no two runs share."""
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith(("Jobs", "Logs", "output.txt")):
                found.update(name.encode() + b"\0" + self._content(path))
        return found.hexdigest()[:16]

    def parts(self) -> dict[str, tuple[int, int]]:
        """Return {part file: (inode, modification time)}."""
        files = [(path, path.stat()) for path in self.folder.glob("Jobs/*/parts/*.json")]
        return {path.name: (status.st_ino, status.st_mtime_ns) for path, status in files}

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _content(self, path: pathlib.Path) -> bytes:
        if self.kind == "field":
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


def members(group: int) -> list[int]:
    """Return the processes of a process group that have not ended."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def kill(process: subprocess.Popen, whole_group: bool) -> bool:
    """Kill a run, and return whether its workers ended with it."""
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + ORPHANS
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not members(process.pid)


def kill_and_continue(runner: Runner, kills: int, longest: float, generator: random.Random, expected: str) -> None:
    """Kill runs until `kills` were killed; compare the outputs of each that has ended."""
    done = repeated = orphans = different = ended = 0
    while done < kills:
        runner.clear()
        finished: dict[str, tuple[int, int]] = {}
        while True:
            process = runner.start(*(["--set", "Processes=2"] if generator.random() < 0.5 else []))
            try:
                process.wait(generator.uniform(0.2, longest) if done < kills else None)
            except subprocess.TimeoutExpired:
                orphans += not kill(process, whole_group=done % 2 == 0)
                done += 1
                now = runner.parts()
                repeated += sum(now.get(name) != identity for name, identity in finished.items())
                finished = now
                continue
            break
        ended += 1
        different += runner.digest() != expected
    print(f"killed {done} times, continued to the end {ended} times: {different} with other outputs,")
    print(f"  {repeated} finished units computed again, {orphans} kills that left a worker")


def share(runner: Runner, generator: random.Random, expected: str) -> None:
    """Compare the outputs of runs that are shared in several ways."""
    for processes in (0, 1, 2):
        runner.clear()
        runner.run("--set", f"Processes={processes}")
        report(f"Processes={processes}", runner, expected)
    runner.clear()
    both = [runner.start("--shard", f"{number}/2") for number in (1, 2)]
    for process in both:
        process.wait()
    report("two shares at the same time", runner, expected)
    runner.clear()
    order = generator.sample(range(1, 9), 8)
    for number in order:
        runner.run("--shard", f"{number}/8")
    report(f"eight shares in the order {order}", runner, expected)


def report(what: str, runner: Runner, expected: str) -> None:
    print(f"{what}: {'identical' if runner.digest() == expected else 'DIFFERENT'}", flush=True)


def compare_time(runner: Runner, old: pathlib.Path, rounds: int) -> None:
    """Print the time of this and of an older checkout, interleaved, and the processor time, which is less noisy."""
    times: dict[str, list[tuple[float, float]]] = {"old": [], "new": [], "new, Processes=0": []}
    for _ in range(rounds):
        for name, found in times.items():
            runner.clear()
            options = ["--set", "Processes=0"] if name.endswith("0") else []
            before = os.times()
            seconds = runner.run(*options, project=old if name == "old" else PROJECT, jobs=name != "old")
            after = os.times()
            used = sum(after[2:4]) - sum(before[2:4])
            found.append((seconds, used))
    for what, place in (("seconds", 0), ("processor seconds", 1)):
        base = statistics.median(each[place] for each in times["old"])
        for name, found in times.items():
            middle = statistics.median(each[place] for each in found)
            values = ", ".join(f"{each[place]:.2f}" for each in found)
            print(f"{name}: {middle:.2f} {what} ({middle / base:.3f} of old); all: {values}", flush=True)


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["field", "cells"])
    parser.add_argument("sources", type=pathlib.Path, help="folder of images")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=6.0, help="seconds after which a run is killed at the latest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--old", type=pathlib.Path, help="an older checkout: compare the time only")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(options.kind, options.sources.absolute(), pathlib.Path(folder, "run"))
        if options.old:
            compare_time(runner, options.old, options.rounds)
            return
        seconds = runner.run()
        expected = runner.digest()
        count = len(list(options.sources.iterdir()))
        print(f"unbroken: {count} images, {seconds:.1f} s, outputs {expected}", flush=True)
        generator = random.Random(options.seed)
        kill_and_continue(runner, options.kills, options.longest, generator, expected)
        share(runner, generator, expected)


if __name__ == "__main__":
    main()
