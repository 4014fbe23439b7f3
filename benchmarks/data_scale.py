"""Near duplicates: the same pairs as a comparison of all with all, and time and memory by number of images.

python3 benchmarks/data_scale.py FOLDER                        # 1,000 images: half of them distorted copies
python3 benchmarks/data_scale.py FOLDER --images 5000          # takes minutes, because every pair is compared
python3 benchmarks/data_scale.py FOLDER --indexed              # with the index that only large data sets need
python3 benchmarks/data_scale.py FOLDER --search 10000 100000  # only the time of the search, of that many mixtures
python3 benchmarks/data_scale.py --scale 10000 100000          # all of Data.py, on drawn cells
python3 benchmarks/data_scale.py --scale 10000 100000 --keep CELLS  # draws cells that are not in CELLS, and keeps them

Copies are turned by any angle, mirrored (half of them), shifted or cropped (every third each) and saved again as JPEG.
Found are near duplicates and pairs with similar nuclei, and they are compared with what a comparison of all with all
finds; pairs with similar nuclei that the alignment confirms as crops of one picture are counted. A mixture of two
images with random phases resembles no other.

Drawn cells are independent of each other. Fewer of their pairs have similar nuclei than of real cells (8 against 119
in 100 million): of 100,000 real cells, about 6,000 pairs are aligned instead of 400, which takes 43 s more of processor
time. --scale starts Data.py without the audit, and prints its time, its processor time with that of its workers,
and the largest memory of any of its processes; then the growth from the first size to the last.
"""

import argparse
import concurrent.futures
import contextlib
import ctypes
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import data
from Classes.dataset import crop_descriptors, decode_task, overlapping_crops, pair_search, perceptual_hash
from Classes.imaging import decode

BLOCK = 4096

PR_SET_CHILD_SUBREAPER = 36

# Side in pixels of the cells of --scale, and the quality of their JPEG files.
SIDE, QUALITY = 120, 90


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", help="images, at any depth; not with --scale")
    parser.add_argument("--images", type=int, default=1000, help="images of the comparison")
    parser.add_argument("--indexed", action="store_true", help="use the index of pivots for any number of images")
    parser.add_argument("--search", type=int, nargs="+", default=[], help="numbers of mixtures to search in")
    parser.add_argument("--scale", type=int, nargs="+", default=[], help="numbers of images that Data.py is given")
    parser.add_argument("--keep", type=pathlib.Path, help="folder of the drawn cells, which are not removed")
    options = parser.parse_args(arguments)
    if options.indexed:
        # Principal axes, which the index needs, are otherwise only computed if they save time.
        pair_search.INDEXED = pair_search.WORTH = 0
    if options.scale:
        return _scale(options.scale, options.keep)
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


def _scale(sizes, keep) -> int:
    """Print what Data.py takes by number of images, and how it grows."""
    # Linux: what is left of a run becomes a child of this process, so that it counts too.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as folder:
        cells = keep or pathlib.Path(folder)
        cells.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
            paths = list(pool.map(_save_cell, [cells] * max(sizes), range(max(sizes)), chunksize=200))
        measured = [_run(paths[:count]) for count in sizes]
    more = sizes[-1] - sizes[0]
    if more > 0:
        (wall, work, peak), (last_wall, last_work, last_peak) = measured[0], measured[-1]
        print(
            f"{sizes[-1] / sizes[0]:.1f} times the images: {last_wall / wall:.1f} times the time, "
            f"{last_work / work:.1f} times the processor time, {(last_peak - peak) / more:,.0f} more bytes per image"
        )
    return 0


def _save_cell(folder, number):
    path = folder / f"Cell{number:06d}.jpg"
    if not path.exists():
        PIL.Image.fromarray(_cell(numpy.random.default_rng([1, number]))).save(path, quality=QUALITY)
    return path


def _cell(generator):
    """uint8 [SIDE, SIDE, 3]: a nucleus of its own shape and texture in a cell on a background of its own."""
    down, across = numpy.mgrid[:SIDE, :SIDE].astype("float32") - SIDE / 2 - generator.uniform(-9, 9, (2, 1, 1))
    angles, distances = numpy.arctan2(down, across), numpy.hypot(down, across)
    waves = sum(generator.normal(0, 0.07 / k) * numpy.cos(k * angles + generator.uniform(0, 6)) for k in (2, 3, 4))
    outline = generator.uniform(13, 22) * (1 + waves)

    def texture(color, spread, *sizes_and_depths):
        return (
            color
            + generator.normal(0, spread, 3)
            + sum(_noise(generator, size)[..., None] * depth for size, depth in sizes_and_depths)
        )

    def within(border):
        return numpy.clip((border - distances) / 1.5, 0, 1)[..., None]

    image = texture((235, 222, 215), 5, (14, 9), (5, 5))
    red = PIL.Image.new("L", (SIDE, SIDE))
    for place in generator.uniform(-SIDE / 12, SIDE * 13 / 12, (generator.integers(7, 12), 2)):
        PIL.ImageDraw.Draw(red).circle(tuple(place), generator.uniform(9, 13), 255)
    red = numpy.asarray(red.filter(PIL.ImageFilter.GaussianBlur(0.8)), "float32")[..., None] / 255
    image += (generator.normal((205, 152, 148), 6) - image) * red * 0.8
    image += (numpy.array([165, 160, 205]) - image) * within(outline * generator.uniform(1.1, 1.6)) * 0.8
    image += (texture((110, 65, 145), 8, (generator.uniform(6, 12), 14), (4, 6)) - image) * within(outline)
    return (image + generator.normal(0, 2, (SIDE, SIDE, 1))).clip(0, 255).astype("uint8")


def _noise(generator, size):
    """float32 [SIDE, SIDE]: smooth, about `size` pixels from one patch to the next."""
    coarse = generator.standard_normal((int(SIDE / size) + 2,) * 2, dtype="float32")
    return numpy.asarray(PIL.Image.fromarray(coarse).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC))


def _run(paths):
    """Seconds, seconds of processors, and bytes of the largest process of one run of Data.py."""
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as folder:
        for label in ("0", "1"):
            pathlib.Path(folder, "Model", "Data", label).mkdir(parents=True)
        for number, path in enumerate(paths):
            os.link(path, pathlib.Path(folder, "Model", "Data", str(number % 2), path.name))
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
    usages = [usage, *_of_orphans()]
    work = sum(each.ru_utime + each.ru_stime for each in usages)
    peak = max(each.ru_maxrss for each in usages) * 1024
    load = os.getloadavg()[0]
    print(
        f"{len(paths):>7} images: {wall:6.1f} s, {work:6.1f} s of processors, "
        f"largest process {peak / 2**20:.0f} MiB (load {load:.1f})",
        flush=True,
    )
    return wall, work, peak


def _of_orphans():
    """Wait for processes that ended after the run had, such as the one that its worker processes are copies of."""
    with contextlib.suppress(ChildProcessError):
        while True:
            yield os.wait4(-1, 0)[2]


def _compare(images) -> int:
    """Print whether the searches find what the comparison of every pair finds; 1 if not."""
    prints = numpy.stack([perceptual_hash.descriptor(image) for image in images])
    described = [crop_descriptors.describe(image) for image in images]
    nuclei, owners = numpy.concatenate(described), numpy.repeat(numpy.arange(len(images)), list(map(len, described)))
    began = time.perf_counter()
    copies = {pair[:2] for pair in perceptual_hash.matching_pairs(prints)}
    alike = set(crop_descriptors.similar_pairs(nuclei, owners))
    searched = time.perf_counter()
    all_copies = _all_pairs(prints, numpy.arange(len(prints)), perceptual_hash.MATCH_THRESHOLD)
    all_alike = _all_pairs(nuclei, owners, crop_descriptors.CANDIDATE)
    took = time.perf_counter() - searched
    rows = (("near duplicates", copies, all_copies), ("pairs with similar nuclei", alike, all_alike))
    for name, ours, expected in rows:
        print(f"{name}: {len(ours & expected)} of {len(expected)} found, {len(ours - expected)} others")
    crops = sum(_is_crop(images, pair) for pair in sorted(alike))
    print(f"crops of one picture: {crops} of {len(alike)} pairs that are read and aligned")
    print(f"{len(images)} images: {searched - began:.1f} s, comparing all with all {took:.1f} s, without alignment")
    return 0 if all(ours == expected for _, ours, expected in rows) else 1


def _is_crop(images, pair):
    one, other = (images[place] for place in pair)
    if overlapping_crops.correlation(one, other) < overlapping_crops.SAME:
        return False
    return not overlapping_crops.is_round(one) and not overlapping_crops.is_round(other)


def _all_pairs(descriptors, owners, limit):
    pairs = set()
    for first in range(len(descriptors) - 1):
        others = numpy.arange(first + 1, len(descriptors))
        others = others[owners[others] != owners[first]]
        for some in (others[start : start + BLOCK] for start in range(0, len(others), BLOCK)):
            alike = perceptual_hash.similarity(descriptors[[first] * len(some)], descriptors[some]) >= limit
            pairs.update((int(owners[first]), int(owner)) for owner in owners[some[alike]])
    return pairs


def _distorted(image, place, generator):
    picture = PIL.Image.fromarray(image[:, ::-1].copy() if place % 2 else image)
    width, height = picture.size
    shift = generator.uniform(-0.1, 0.1, 2) * (width, height) * (place % 3 == 0)
    picture = picture.rotate(generator.uniform(0, 360), PIL.Image.Resampling.BICUBIC, translate=tuple(shift))
    if place % 3 == 1:
        left, top = generator.uniform(0, 0.2, 2) * (width, height)
        picture = picture.crop((int(left), int(top), int(left + 0.8 * width), int(top + 0.8 * height)))
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
