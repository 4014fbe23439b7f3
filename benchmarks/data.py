"""Speed and memory of Data.py: images a second, every one fully decoded, and the largest memory of the process.

python3 benchmarks/data.py                                   # 1,000 and 5,000 drawn smears of 360x363 pixels
python3 benchmarks/data.py --images 1000 50000               # the range that the README states
python3 benchmarks/data.py --source FOLDER_OF_JPEGS          # copies of real images instead

Every copy gets a comment of its own, so that none is a duplicate. Works in a temporary folder (see --folder) and
removes it; 50,000 images take 2 GB there, shards included.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import PIL.Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

CHILD = """
import logging, resource, sys, time
from Classes import Data, Folders, Groups, Helpers, Images
configuration = Helpers.load(None, ["NetworkPath=" + sys.argv[1]])
files, _ = Folders.find(configuration)
groups = Data.grouped(configuration, files, {})
began = time.perf_counter()
items, unreadable = Data.examine(configuration, files, groups)
decoded = time.perf_counter()
assert not unreadable
import tensorflow
imported = time.perf_counter()
Data.run(configuration)
ended = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(len(items), decoded - began, imported - decoded, ended - imported, peak)
"""


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 5000], help="sizes of the set")
    parser.add_argument("--source", type=pathlib.Path, help="folder of JPEGs (default: 24 drawn smears)")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args(arguments)
    sources = _sources(options.source)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {sum(map(len, sources)) // len(sources):,} bytes each"
    )
    for count in options.images:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            _fill(pathlib.Path(folder), sources, count)
            measured = _measure(folder)
        images, decoding, importing, whole, peak = measured
        print(
            f"{images:>7.0f} images: find, decode, hash {images / decoding:6.0f}/s; "
            f"all of Data.py {images / whole:6.0f}/s ({whole:.1f} s, and {importing:.1f} s to import TensorFlow); "
            f"peak {peak:.0f} MiB"
        )
    return 0


def _sources(folder):
    if folder:
        return [path.read_bytes() for path in sorted(folder.glob("*.jp*g"))]
    from Classes import Demo

    with tempfile.TemporaryDirectory() as made:
        path, sources = pathlib.Path(made) / "smear.jpg", []
        for number in range(24):
            image = PIL.Image.fromarray(Demo.draw(bool(number % 2), number)).resize((360, 363))
            # Photos have more detail than drawings; with this much noise the files are as large.
            pixels = numpy.asarray(image) + numpy.random.default_rng(number).normal(0, 4, (363, 360, 1))
            PIL.Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(path, quality=85)
            sources.append(path.read_bytes())
        return sources


def _fill(folder, sources, count):
    for label in ("0", "1"):
        (folder / "Model" / "Data" / label).mkdir(parents=True)
    for number in range(count):
        source = sources[number % len(sources)]
        comment = str(number).encode()
        # A JPEG comment behind the start marker.
        content = source[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + source[2:]
        (folder / "Model" / "Data" / str(number % 2) / f"Copy{number:06d}.jpg").write_bytes(content)


def _measure(folder):
    """Images, seconds of the decoding, of TensorFlow's import, of the whole, and the peak in MiB; own process."""
    time.sleep(1)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", CHILD, folder]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


if __name__ == "__main__":
    sys.exit(main())
