"""Speed of Data.py Augment and Data.py Check, and whether the check finds what was planted.

python3 benchmarks/augmentation.py                          # 78 originals, then an audit of 2,000 images
python3 benchmarks/augmentation.py --images 10000           # the audit in docs/data.md
python3 benchmarks/augmentation.py --source CLASS_FOLDERS   # the first 39 real images of each class are augmented

The audited images are synthetic, 360x363 pixels, no two alike; PLANTED copies of each kind are added. Works in
a temporary folder (see --folder) and removes it; 10,000 images take 0.4 GB there and some minutes to draw.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy
import PIL.Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

ORIGINALS = 39
PLANTED = 20
COPIES = {
    "same": lambda image: image,
    "saved": lambda image: image,
    "mirror": lambda image: image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT),
    "turn": lambda image: image.transpose(PIL.Image.Transpose.ROTATE_90),
    "angle": lambda image: image.rotate(37, PIL.Image.Resampling.BICUBIC, fillcolor=(236, 222, 214)),
    "half": lambda image: image.resize((180, 181)),
}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="of the audit (default: 2000); 0 leaves it out")
    parser.add_argument(
        "--source", type=pathlib.Path, help="folder with class folders 0 and 1 (default: synthetic smears)"
    )
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _augment(pathlib.Path(folder), options.source)
    if options.images:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            _audit(pathlib.Path(folder), options.images)
    return 0


def _augment(folder, source):
    """All 78 originals get their views: validation takes a fraction of them that rounds to none."""
    for label in "01":
        (folder / "Model/Data" / label).mkdir(parents=True)
        if source:
            for path in sorted((source / label).iterdir())[:ORIGINALS]:
                shutil.copy(path, folder / "Model/Data" / label)
    if not source:
        _draw(folder, 2 * ORIGINALS)
    for title in ("first run", "second run"):
        seconds, output = _run(folder, "Augment", "--set", "ValidationSize=0.01")
        print(f"Augment, {title}: {seconds:.1f} s; {output[-2].split(' - ')[-1]}")
    views = len(list((folder / "Model/Data").glob("*/*__*.jpg")))
    print(f"{views} views of {views // 27} originals; the originals of validation have none")


def _audit(folder, count):
    for label in "01":
        (folder / "Model/Data" / label).mkdir(parents=True)
    _draw(folder, count - PLANTED * len(COPIES))
    planted = _plant(folder)
    seconds, _ = _run(folder, "Check")
    findings = json.loads((folder / "Model/Report/Data.json").read_text())
    found = {frozenset(each["files"]) for each in findings["exact"] + findings["alike"]}
    print(f"Check of {findings['images']} images: {seconds:.1f} s")
    for kind, pairs in planted.items():
        print(f"  {kind:>7}: {len(pairs & found)} of {len(pairs)} planted copies found")
    others = found - frozenset().union(*planted.values())
    print(f"  {len(others)} pairs that were not planted; findings: {[each['title'] for each in findings['problems']]}")


def _draw(folder, count):
    with concurrent.futures.ProcessPoolExecutor() as pool:
        list(pool.map(_one, [folder] * count, range(count), chunksize=50))


def _one(folder, number):
    from Classes.dataset import synthetic_smears

    image = PIL.Image.fromarray(synthetic_smears.draw_smear(bool(number % 2), [7, number])).resize((360, 363))
    # Photos have more detail than drawings; with this much noise the files are as large.
    pixels = numpy.asarray(image) + numpy.random.default_rng(number).normal(0, 4, (363, 360, 1))
    path = folder / "Model/Data" / str(number % 2) / f"Cell{number:06d}.jpg"
    PIL.Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(path, quality=85)


def _plant(folder):
    """{kind: {pairs of files}}; every copy is of an image of its own."""
    planted, number = {}, 0
    for kind, change in COPIES.items():
        planted[kind] = set()
        for _ in range(PLANTED):
            original, copy = f"{number % 2}/Cell{number:06d}.jpg", f"{number % 2}/copy{number:06d}.jpg"
            if kind == "same":
                shutil.copy(folder / "Model/Data" / original, folder / "Model/Data" / copy)
            else:
                with PIL.Image.open(folder / "Model/Data" / original) as image:
                    change(image).save(folder / "Model/Data" / copy, quality=70)
            planted[kind].add(frozenset({original, copy}))
            number += 1
    return planted


def _run(folder, command, *options):
    """(seconds, lines) of Data.py in a process of its own."""
    arguments = [sys.executable, str(PROJECT / "Data.py"), command, "--set", f"NetworkPath={folder}", *options]
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, done.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
