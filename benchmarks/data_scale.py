"""Near duplicates: the same pairs as a comparison of all with all, and time and memory by number of images.

python3 benchmarks/data_scale.py FOLDER                        # 1,000 images: half of them distorted copies
python3 benchmarks/data_scale.py FOLDER --images 5000          # takes minutes, because every pair is compared
python3 benchmarks/data_scale.py FOLDER --search 10000 100000  # only the time of the search, of that many mixtures
python3 benchmarks/data_scale.py --scale 2000 10000            # all of Data.py, on blends of synthetic smears

Copies are turned by any angle, mirrored (half of them), shifted (every third) and saved again as JPEG. A mixture of two
images with random phases resembles no other. --scale starts Data.py without the audit, and prints its time, its
processor time with that of its workers, and the largest memory of any of its processes; then the growth from the first
size to the last.
"""

import argparse
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import PIL.Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import data
from Classes.dataset import crop_descriptors, decode_task, perceptual_hash
from Classes.imaging import decode

BLOCK = 4096

# Side in pixels of the blends of --scale.
SIDE = 120


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", help="images, at any depth; not with --scale")
    parser.add_argument("--images", type=int, default=1000, help="images of the comparison")
    parser.add_argument("--search", type=int, nargs="+", default=[], help="numbers of mixtures to search in")
    parser.add_argument("--scale", type=int, nargs="+", default=[], help="numbers of images that Data.py is given")
    options = parser.parse_args(arguments)
    if options.scale:
        return _scale(options.scale)
    if not options.folder:
        parser.error("the folder of the images is missing")
    paths = sorted(each for each in options.folder.rglob("*") if each.suffix.lower() in (".jpg", ".png", ".tif"))
    generator = numpy.random.default_rng(0)
    chosen = [paths[number] for number in generator.permutation(len(paths))[: options.images // 2]]
    images = [decode.decode_thumbnail(path, decode_task.THUMBNAIL_SIDE)[1] for path in chosen]
    if not options.search:
        return _compare([*images, *(_distorted(image, place, generator) for place, image in enumerate(images))])
    prints = numpy.stack([perceptual_hash.descriptor(image) for image in images])
    for count in options.search:
        mixtures = _mixtures(prints, count, generator)
        began = time.perf_counter()
        found = perceptual_hash.matching_pairs(mixtures)
        print(f"{count:>7} fingerprints: {time.perf_counter() - began:6.1f} s, {len(found)} pairs")
    return 0


def _scale(sizes) -> int:
    """Print what Data.py takes by number of images, and how it grows."""
    sources = [PIL.Image.fromarray(each).resize((SIDE, SIDE)) for each in data._sources(None, max(sizes))]
    sources = numpy.stack([numpy.asarray(each) for each in sources])
    measured = [_run(sources, count) for count in sizes]
    more = sizes[-1] - sizes[0]
    if more > 0:
        (wall, work, peak), (last_wall, last_work, last_peak) = measured[0], measured[-1]
        print(
            f"{sizes[-1] / sizes[0]:.1f} times the images: {last_wall / wall:.1f} times the time, "
            f"{last_work / work:.1f} times the processor time, {(last_peak - peak) / more:,.0f} more bytes per image"
        )
    return 0


def _run(sources, count):
    """Seconds, seconds of processors, and bytes of the largest process of one run of Data.py."""
    with tempfile.TemporaryDirectory() as folder:
        data._fill(pathlib.Path(folder), sources, count)
        command = [sys.executable, "Data.py", "--set", f"NetworkPath={folder}", "--set", "AuditImages=0"]
        began = time.perf_counter()
        # Not read while it runs, so it may not go to a pipe.
        with open(pathlib.Path(folder, "errors.txt"), "w+") as errors:
            process = subprocess.Popen(command, cwd=data.PROJECT, stdout=subprocess.DEVNULL, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                raise SystemExit(errors.read())
    work, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    print(f"{count:>7} images: {wall:6.1f} s, {work:6.1f} s of processors, largest process {peak / 2**20:.0f} MiB")
    return wall, work, peak


def _compare(images) -> int:
    """Print whether the searches find what the comparison of every pair finds; 1 if not."""
    prints = [perceptual_hash.descriptor(image) for image in images]
    crops = [crop_descriptors.describe(image) for image in images]
    began = time.perf_counter()
    found = {pair[:2] for pair in perceptual_hash.matching_pairs(prints)}, set(crop_descriptors.candidates(crops))
    searched = time.perf_counter()
    blobs = numpy.concatenate(crops)
    owners = numpy.repeat(numpy.arange(len(crops)), [len(each) for each in crops])
    everything = (
        _all_pairs(numpy.stack(prints), numpy.arange(len(prints)), perceptual_hash.MATCH_THRESHOLD),
        _all_pairs(blobs, owners, crop_descriptors.CANDIDATE),
    )
    took = time.perf_counter() - searched
    for name, ours, expected in zip(("near duplicates", "candidates for crops"), found, everything, strict=True):
        print(f"{name}: {len(ours)} pairs, {len(expected)} by comparing all with all, the same: {ours == expected}")
    print(f"{len(images)} images: {searched - began:.1f} s, comparing all with all {took:.1f} s")
    return 0 if found == everything else 1


def _all_pairs(descriptors, owners, limit):
    pairs = set()
    rows, columns = numpy.triu_indices(len(descriptors), 1)
    for start in range(0, len(rows), BLOCK):
        some, more = rows[start : start + BLOCK], columns[start : start + BLOCK]
        alike = perceptual_hash.similarity(descriptors[some], descriptors[more]) >= limit
        alike &= owners[some] != owners[more]
        pairs.update(zip(owners[some[alike]].tolist(), owners[more[alike]].tolist(), strict=True))
    return pairs


def _distorted(image, place, generator):
    picture = PIL.Image.fromarray(image[:, ::-1].copy() if place % 2 else image)
    width, height = picture.size
    shift = generator.uniform(-0.1, 0.1, 2) * (width, height) * (place % 3 == 0)
    picture = picture.rotate(generator.uniform(0, 360), PIL.Image.Resampling.BICUBIC, translate=tuple(shift))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=70)
    return numpy.asarray(PIL.Image.open(file))


def _mixtures(prints, count, generator):
    """float16 [count, 2, rings, harmonics] of length 1: two fingerprints each, the second with turned phases."""
    waves = prints[:, 0].astype("float32") + 1j * prints[:, 1].astype("float32")
    found = numpy.empty((count, *prints.shape[1:]), "float16")
    for start in range(0, count, BLOCK):
        number = min(BLOCK, count - start)
        ones, others = (waves[generator.integers(0, len(waves), number)] for _ in range(2))
        mixed = ones + others * numpy.exp(2j * numpy.pi * generator.random((number, 1, waves.shape[2])))
        mixed /= numpy.maximum(numpy.linalg.norm(mixed, axis=(1, 2), keepdims=True), 1e-9)
        found[start : start + number] = numpy.stack([mixed.real, mixed.imag], axis=1)
    return found


if __name__ == "__main__":
    sys.exit(main())
