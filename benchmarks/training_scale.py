"""Memory and time of Trainer.py and Validation.py by the number of images.

python3 benchmarks/training_scale.py                        # Trainer.py with 10,000 and 100,000 images
python3 benchmarks/training_scale.py 1000 5000 --set Processes=2
python3 benchmarks/training_scale.py 1000 5000 --then "Validation.py" --then "Trainer.py Quantize"

Makes JPEGs of 64 pixels in shards, four fifths of them for training, and runs Trainer.py on them in a process of its
own, for one epoch from the weights that come with the project: features of all images, and the last layer. --then runs
further commands with that model. Prints the peak of the resident memory of the process and of its workers, and the
time. A run with 100,000 images needs about 1.5 GB of disk.
"""

import argparse
import dataclasses
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

SIDE, SIZES = 64, (10_000, 100_000)
SETTINGS = [
    f"Pretrained={HERE / 'Model/WhiteCells/WhiteCells.pb'}",
    "ImageSize=75",
    "Precision=f32",
    "Epochs=1",
    "BatchSize=100",
]


@dataclasses.dataclass
class Run:
    """What one run of a command took: MiB, seconds."""

    own: float = 0.0
    workers: float = 0.0
    seconds: float = 0.0
    features: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, help="numbers of images (default: 10000 100000)")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="settings of the commands")
    parser.add_argument("--then", action="append", default=[], metavar="COMMAND", help="what to run with the model")
    options = parser.parse_args(arguments)
    found: dict[str, dict[int, Run]] = {command: {} for command in ("Trainer.py", *options.then)}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for size in options.sizes or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, __file__, "--prepare", folder, str(size)], check=True)
            for command in found:
                run = found[command][size] = measure(command, pathlib.Path(folder), options.settings)
                features = f", features and one epoch {1000 * run.features / size:.2f} ms per image"
                print(
                    f"{command}, {size:7} images: peak {run.own:.0f} MiB (workers {run.workers:.0f} MiB), "
                    f"{run.seconds:.0f} s{features * bool(run.features)}",
                    flush=True,
                )
    for command, runs in found.items():
        first, last = min(runs), max(runs)
        if first != last:
            more = 1024 * (runs[last].own - runs[first].own) / (last - first)
            print(
                f"{command}: memory at {last} / memory at {first} images: {runs[last].own / runs[first].own:.3f}, "
                f"{more:.2f} KiB per image"
            )
    return 0


def prepare(root: pathlib.Path, count: int) -> None:
    """Write shards of `count` images, every fifth for validation, without keeping the images."""
    import numpy
    import PIL.Image

    from Classes import Helpers
    from Classes.common import cli
    from Classes.dataset import image_records, shard_writer

    cli.import_tensorflow()
    configuration = Helpers.load_config(None, [f"NetworkPath={root}", *SETTINGS])
    folder = root / "images"
    folder.mkdir()
    generator = numpy.random.default_rng(0)
    noise = generator.integers(0, 40, (SIDE, SIDE, 3))
    records = []
    for number in range(count):
        label = number % 2
        image = numpy.roll(noise, number, axis=0) + generator.integers(40, 200, 3)
        image[16:48, 16:48, label] //= 2
        encoded = io.BytesIO()
        PIL.Image.fromarray(image.astype("uint8")).save(encoded, "JPEG")
        path = folder / f"{number}.jpg"
        path.write_bytes(encoded.getvalue())
        digest = hashlib.sha256(encoded.getvalue()).hexdigest()
        size = path.stat().st_size
        records.append(
            image_records.ImageRecord(str(path), str(label), label, f"image {number}", digest, size, "jpg", SIDE, SIDE)
        )
    records = list({record.sha256: record for record in records}.values())
    splits = {"train": records[: 4 * len(records) // 5], "validation": records[4 * len(records) // 5 :]}
    configuration.path("DatasetDir").mkdir(parents=True)
    splits = {split: shard_writer.interleave_by_class(configuration, each) for split, each in splits.items()}
    shard_writer.write_shards(configuration, splits, {"classes": ["0", "1"], "synthetic": True})
    shutil.rmtree(folder)


def measure(command: str, root: pathlib.Path, settings: list[str]) -> Run:
    """Run a command of the toolkit, such as "Trainer.py Quantize", and watch its memory."""
    script, *words = command.split()
    values = [f"NetworkPath={root}", *SETTINGS, *settings]
    options = [part for value in values for part in ("--set", value)]
    run, began = Run(), time.perf_counter()
    started = [sys.executable, str(HERE / script), *words, *options]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE) as process:
        watcher = threading.Thread(target=watch, args=(process.pid, run))
        watcher.start()
        lines, computing = [], 0.0
        for line in process.stdout or ():
            lines.append(line)
            if re.search(r"Features of \d+ images", line):
                computing = time.perf_counter()
            elif computing and not run.features and "Epch" in line:
                run.features = time.perf_counter() - computing
        process.wait()
        watcher.join()
    run.seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit("".join(lines[-30:]))
    return run


def watch(pid: int, run: Run) -> None:
    """Note the peaks of the process and of the sum of its descendants until it ends."""
    while True:
        own = peak(pid)
        if own is None:
            return
        run.own = max(run.own, own)
        run.workers = max(run.workers, sum(peak(child) or 0 for child in descendants(pid)))
        time.sleep(0.2)


def peak(pid: int) -> float | None:
    """Return the largest resident memory of a process so far, in MiB; None if it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else None


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(each) for each in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    # A process that is about to start a program still has the memory of the one that started it.
    return [child for child in found if command(child) != command(pid)]


def command(pid: int) -> bytes:
    """Return the command line of a process; empty if it has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--prepare"]:
        sys.exit(prepare(pathlib.Path(sys.argv[2]), int(sys.argv[3])))
    sys.exit(main())
