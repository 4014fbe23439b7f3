"""Speed and memory of Data.py: images a second, every one fully decoded, and the largest memory of the process.

python3 benchmarks/data.py                                   # 1,000 and 5,000 synthetic smears of 360x363 pixels
python3 benchmarks/data.py --images 1000 50000               # the range in docs/benchmarks.md
python3 benchmarks/data.py --source FOLDER_OF_JPEGS          # of real images instead
python3 benchmarks/run.py data --sizes 1000 100000           # beside TensorFlow's plain writing and a bare read

Every image is a blend of two others, so that no two are one picture. Works in a temporary folder (see --folder) and
removes it; 50,000 images take 2 GB there, shards included.
"""

import argparse
import concurrent.futures
import itertools
import math
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

from benchmarks import timing  # noqa: E402
from Classes.common import cli  # noqa: E402

SIDES = 360, 363
QUALITY = 90

CHILD = """
import json, logging, resource, sys, time
from Classes import Data, Helpers; from Classes.dataset import decoding, discovery, held_out, image_records
configuration = Helpers.load_config(None, ["NetworkPath=" + sys.argv[1]])
files, _ = discovery.find_class_images(configuration)
groups = held_out.group_images(configuration, files, {})
began = time.perf_counter()
images = image_records.class_images(files)
run = decoding.Decoding(configuration)
items, unreadable = image_records.decode_all(configuration, image_records.ImageRecord, images, groups, run)
decoded = time.perf_counter()
# Otherwise prepare_dataset would continue with them.
run.remove_parts()
assert not unreadable
count = len(items)
del items
import tensorflow
imported = time.perf_counter()
Data.prepare_dataset(configuration)
ended = time.perf_counter()
alike = json.loads((configuration.path("DatasetDir") / "ALL_manifest.json").read_text())["alike"]
# Two blends that share a source overlap in it, so a few are rightly found as crops of one picture.
assert all(pair.get("crops") for pair in alike) and len(alike) < count / 100
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
print(count, decoded - began, imported - decoded, ended - imported, peak)
"""


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 5000], help="sizes of the set")
    parser.add_argument("--source", type=pathlib.Path, help="folder of JPEGs (default: 24 synthetic smears)")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args(arguments)
    sources = _sources(options.source, max(options.images))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for count in options.images:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            size = _fill(pathlib.Path(folder), sources, count)
            measured = _measure(folder)
        images, decoding, importing, whole, peak = measured
        print(
            f"{images:>7.0f} images of {size:,.0f} bytes: find, decode, hash {images / decoding:6.0f}/s; "
            f"all of Data.py {images / whole:6.0f}/s ({whole:.1f} s, and {importing:.1f} s to import TensorFlow); "
            f"peak {peak:.0f} MiB"
        )
    return 0


def _sources(folder, count):
    """uint8 [N, SIDES, 3] pictures, enough that every two of them make `count` blends."""
    enough = math.isqrt(2 * count) + 2
    if folder:
        paths = sorted(folder.rglob("*.jp*g"))[:enough]
        return numpy.stack([numpy.asarray(PIL.Image.open(path).convert("RGB").resize(SIDES)) for path in paths])
    from Classes.dataset import synthetic_smears

    images = [
        PIL.Image.fromarray(synthetic_smears.draw_smear(bool(number % 2), number)).resize(SIDES)
        for number in range(enough)
    ]
    # Photos have more detail than drawings; with this much noise the files are as large.
    noise = numpy.random.default_rng(0)
    return numpy.stack(
        [(numpy.asarray(each) + noise.normal(0, 6, (*SIDES[::-1], 1))).clip(0, 255).astype("uint8") for each in images]
    )


def _fill(folder, sources, count):
    pairs = list(itertools.islice(itertools.combinations(range(len(sources)), 2), count))
    if len(pairs) < count:
        raise SystemExit(f"{len(sources)} source images make {len(pairs):,} blends, and {count:,} are wanted")
    for label in ("0", "1"):
        (folder / "Model" / "Data" / label).mkdir(parents=True)

    def save(number):
        one, other = pairs[number]
        blend = PIL.Image.fromarray(sources[one] // 2 + sources[other] // 2)
        blend.save(folder / "Model" / "Data" / str(number % 2) / f"Blend{number:06d}.jpg", quality=QUALITY)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(save, range(count)):
            pass
    return sum(path.stat().st_size for path in (folder / "Model" / "Data").glob("*/*")) / count


def _measure(folder):
    """Images, seconds of the decoding, of TensorFlow's import, of the whole, and the peak in MiB; own process."""
    time.sleep(1)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", CHILD, folder]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


def measure(context):
    """Rows for the report: Data.py beside TensorFlow's plain record writing and a bare read of the same files.

    Args:
      context: run.Context; `sizes` are measured.
    """
    # Its import is no part of the writing.
    cli.import_tensorflow()
    rows, rates = [], []
    sources = _sources(None, max(context.sizes))
    for count in context.sizes:
        with tempfile.TemporaryDirectory() as folder:
            _fill(pathlib.Path(folder), sources, count)
            paths = sorted(pathlib.Path(folder, "Model", "Data").glob("[01]/*"))
            peers = {"reading": [], "writing": []}
            for _ in range(context.rounds):
                peers["reading"].append(timing.seconds(_read, paths))
                peers["writing"].append(timing.seconds(_write, paths, pathlib.Path(folder) / "plain.tfrecord"))
            images, _, _, whole, peak = _measure(folder)
        rates.append(images / whole)
        rows += [
            timing.row(f"Data.py, {count:,} images", [rates[-1]], "images/s"),
            timing.row(f"Data.py, {count:,} images: largest memory", [peak], "MiB"),
            timing.row(f"TensorFlow writes {count:,} records", [count / each for each in peers["writing"]], "images/s"),
            timing.row(f"{count:,} files are read", [count / each for each in peers["reading"]], "images/s"),
        ]
    rows.append(
        timing.row("time an image, most images over fewest", [rates[0] / rates[-1]], "times", wanted="0.9 to 1.1")
    )
    return rows


def _read(paths):
    for path in paths:
        path.read_bytes()


def _write(paths, target):
    """One record a file as it is: nothing decoded, checked, grouped or split."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(target)) as writer:
        for path in paths:
            content = tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(path.parent.name)]))
            features = tf.train.Features(feature={"image/encoded": content, "image/class/label": label})
            writer.write(tf.train.Example(features=features).SerializeToString())


if __name__ == "__main__":
    sys.exit(main())
