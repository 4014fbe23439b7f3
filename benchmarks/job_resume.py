"""Kill long runs at random moments, continue them, share them, and compare all outputs with those of an unbroken run.

python3 benchmarks/job_resume.py field FIELDS/               # Classifier.py Field on photographed fields
python3 benchmarks/job_resume.py cells CELLS/                # Classifier.py --model WhiteCells on single cells
python3 benchmarks/job_resume.py slide smear.svs             # Classifier.py Slide; or the folder that has bccd
python3 benchmarks/job_resume.py data CLASSES/               # Data.py on class folders
python3 benchmarks/job_resume.py field FIELDS/ --old CHECKOUT # only the time, interleaved with an older checkout

Every second kill ends the whole process group, the others only the main process; its workers must end too. All files
that the commands write are compared byte by byte, but for the columns seconds and date of single cells, the date of
Data.py's audit, and the keys Processes and Cluster in its manifest. The part files are watched from the first start to
the end of the run that was continued: none may be written again. A run that was killed after it had removed them must
have written everything.
"""

import argparse
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import job_commands
from benchmarks.job_commands import PROJECT, JobCommand, PartWatch

# Seconds within which the workers of a killed process must be gone.
ORPHANS = 5.0


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


def kill_and_continue(
    command: JobCommand, kills: int, longest: float, generator: random.Random, expected: dict[str, str]
) -> None:
    """Kill runs until `kills` were killed; compare the outputs of each that has ended."""
    done = orphans = different = ended = seen = 0
    repeated: set[str] = set()
    while done < kills:
        command.clear()
        with PartWatch(command.folder / "Jobs") as watch:
            while True:
                process = command.start(*(["--set", "Processes=2"] if generator.random() < 0.5 else []))
                try:
                    command.check(process.wait(generator.uniform(0.2, longest) if done < kills else None))
                except subprocess.TimeoutExpired:
                    orphans += not kill(process, whole_group=done % 2 == 0)
                    done += 1
                    if not watch.has_ended():
                        continue
                break
        ended += 1
        seen += watch.seen
        repeated |= watch.repeated
        different += not is_same(f"continued after {done} kills", command, expected)
    print(f"killed {done} times, continued to the end {ended} times: {different} with other outputs,")
    print(f"  {len(repeated)} of {seen} finished units computed again, {orphans} kills that left a worker", flush=True)


def share(command: JobCommand, generator: random.Random, expected: dict[str, str]) -> None:
    """Compare the outputs of runs that are shared in several ways."""
    for processes in (0, 1, 2):
        command.clear()
        command.run("--set", f"Processes={processes}")
        is_same(f"Processes={processes}", command, expected)
    command.clear()
    both = [command.start("--shard", f"{number}/2") for number in (1, 2)]
    for process in both:
        command.check(process.wait())
    # Two shares that end at the same moment may each see the other one unfinished.
    is_same("two shares at the same time", command, expected)
    command.clear()
    order = generator.sample(range(1, 9), 8)
    for number in order:
        command.run("--shard", f"{number}/8")
    is_same(f"eight shares in the order {order}", command, expected)
    command.run()
    left = [path.name for path in (command.folder / "Jobs").glob("*")]
    is_same(f"once more without a share, which leaves {len(left)} jobs", command, expected)


def is_same(what: str, command: JobCommand, expected: dict[str, str]) -> bool:
    """Print and return whether a run has written the same files."""
    found = command.outputs()
    names = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
    print(f"{what}: " + (f"DIFFERENT: {', '.join(names[:5])}" if names else "identical"), flush=True)
    return not names


def compare_time(command: JobCommand, old: pathlib.Path, rounds: int) -> None:
    """Print the time of this and of an older checkout, interleaved, and the processor time, which is less noisy."""
    times: dict[str, list[tuple[float, float]]] = {"old": [], "new": [], "new, Processes=0": []}
    for _ in range(rounds):
        for name, found in times.items():
            command.clear()
            options = ["--set", "Processes=0"] if name.endswith("0") else []
            before = os.times()
            seconds = command.run(*options, project=old if name == "old" else PROJECT, jobs=name != "old")
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
    parser.add_argument("kind", choices=job_commands.KINDS, help=job_commands.HELP)
    parser.add_argument("sources", type=pathlib.Path, help="folder of images, or a slide")
    words = "use only so many images, copied; of a slide that is made: rows and columns of fields (default: 16)"
    parser.add_argument("--count", type=int, help=words)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="Key=value")
    parser.add_argument("--kills", type=int, default=20)
    words = "seconds after which a run is killed at the latest (default: those of an unbroken run)"
    parser.add_argument("--longest", type=float, help=words)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--old", type=pathlib.Path, help="an older checkout: compare the time only")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sources = job_commands.find_sources(options.kind, options.sources, pathlib.Path(folder), options.count)
        command = JobCommand(options.kind, sources, pathlib.Path(folder, "run"), tuple(options.settings))
        if options.old:
            compare_time(command, options.old, options.rounds)
            return
        seconds = command.run()
        expected = command.outputs()
        if not expected or (options.kind == "slide" and not any(name.startswith("crops/") for name in expected)):
            sys.exit(f"no outputs or no cells: {(command.folder / 'output.txt').read_text()[-2000:]}")
        print(f"unbroken: {seconds:.1f} s, {len(expected)} files, outputs {command.digest()}", flush=True)
        generator = random.Random(options.seed)
        kill_and_continue(command, options.kills, options.longest or seconds, generator, expected)
        share(command, generator, expected)


if __name__ == "__main__":
    main()
