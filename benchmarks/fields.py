"""How long a photographed field takes, and whether its cells look to the network like the images it was trained on.

python3 benchmarks/fields.py --data FOLDER             # everything
python3 benchmarks/fields.py --data FOLDER time        # or: start, alike, refused

FOLDER has bccd, pbc7 and chula, see image_check_material.py.
time: a photograph of 2592 x 1944 pixels with about 30 cells, pasted from fields of bccd: finder alone and
the whole answer.
start: Classifier.py Field on one field as a new process, and whether it imports what it must not.
alike: distance in the last features of the network to the nearest training image, confidence, and flags; of unseen
single cells, of crops from fields, and of the same crops with the stain matched.
refused: how many photographs of smears are refused although they are fields.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import numpy
import PIL.Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks import timing  # noqa: E402
from Classes.common import wilson  # noqa: E402
from Classes.common.errors import ImageError  # noqa: E402
from Classes.fields import analyze, cell_typing, field_check, field_models, finder, stain_matching  # noqa: E402
from Classes.imaging import decode, network_input  # noqa: E402
from Classes.inference import map_output, model_card, openvino_backend, openvino_devices  # noqa: E402

PARTS = ("time", "start", "alike", "refused")
SIZE = (2592, 1944)
FORBIDDEN = ("tensorflow", "sklearn", "matplotlib")


def open_models():
    card = model_card.load_model_card(PROJECT / "Model/WhiteCells/WhiteCells.json", cell_types=True)
    backend = openvino_backend.OpenVINOBackend(card, "CPU", openvino_devices.cpu_precision("AUTO"))
    return finder.CellFinder(PROJECT / field_models.FINDER), cell_typing.CellTyper(card, backend, 0.7)


def large_field(data, cell_finder):
    """A photograph of SIZE made of the fields with most white cells."""
    images = [decode.decode_image(path) for path in sorted((data / "bccd/images").iterdir())[:200]]
    images.sort(key=lambda image: -len(cell_finder.find(image).cells))
    picture, parts = PIL.Image.new("RGB", SIZE), iter(images)
    for top in range(0, SIZE[1], 480):
        for left in range(0, SIZE[0], 640):
            picture.paste(PIL.Image.fromarray(next(parts)), (left, top))
    return numpy.asarray(picture)


def measure_time(data, rounds):
    cell_finder, typer = open_models()
    image = large_field(data, cell_finder)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "field.jpg")
        PIL.Image.fromarray(image).save(path, quality=92)

        def whole():
            return analyze.analyze_field(decode.decode_image(path), path.name, cell_finder, typer)

        whole()
        seconds = {"finder": [], "whole": []}
        for _ in range(rounds):
            for name, work in (("finder", lambda: cell_finder.find(image)), ("whole", whole)):
                start = time.perf_counter()
                found = work()
                seconds[name].append(time.perf_counter() - start)
    return [
        timing.row(f"finder, {SIZE[0]} x {SIZE[1]}", seconds["finder"], "s", wanted="at most 0.5"),
        timing.row(f"whole answer, {len(found.cells)} cells", seconds["whole"], "s", wanted="at most 2.0"),
    ]


def measure_start(data, rounds):
    path = sorted((data / "bccd/images").iterdir())[0]
    command = [sys.executable, str(PROJECT / "Classifier.py"), "Field", str(path)]
    seconds, work = [], []
    for _ in range(rounds):
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, capture_output=True, cwd=PROJECT)
        seconds.append(time.perf_counter() - start)
        after = os.times()
        work.append(sum(after[2:4]) - sum(before[2:4]))
    script = f"import sys, Classifier; Classifier.main(['Field', {str(path)!r}]); print('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=PROJECT)
    loaded = set(done.stdout.rpartition("LOADED")[2].split()) & set(FORBIDDEN)
    print(f"Imported of {', '.join(FORBIDDEN)}: {', '.join(sorted(loaded)) or 'none'}")
    # On a busy machine, the processor time says what a quiet one would need on one core.
    return [
        timing.row("start to first answer", seconds, "s", wanted="at most 2.5"),
        timing.row("the same, processor time", work, "s"),
    ]


def feature_reader(card):
    """A function that returns the last features, float32 [N, F], of images as the network sees them."""
    core = openvino_devices.new_core()
    model = openvino_backend.read_model(core, card.graph_path)
    pooled = map_output.find_global_pool(model).output(0)
    compiled = core.compile_model(openvino_devices.openvino_api.Model([pooled], model.get_parameters()), "CPU")

    def read(images):
        found = [compiled([card.input_spec.normalize(image[None])])[0].reshape(-1) for image in images]
        found = numpy.stack(found)
        return found / numpy.linalg.norm(found, axis=1, keepdims=True)

    return read


def field_crops(data, cell_finder, card):
    """(as photographed, with the stain matched): the cells of the val fields of bccd as the network sees them."""
    plain, matched = [], []
    for name in (data / "bccd/val.txt").read_text().split():
        image = decode.decode_image(data / "bccd/images" / f"{pathlib.Path(name).stem}.jpg")
        found = cell_finder.find(image)
        crops = analyze.FieldCrops(image, found.cells, found.scale)
        boxes = [analyze.cell_box(cell) for cell in found.cells]
        stain = stain_matching.match_stain(image, boxes, crops, card.colours)
        seen = [network_input.center_crop_resize(crop, card.size, card.input_spec.crop) for crop in crops]
        plain += seen
        matched += [stain.apply(each) if stain else each for each in seen]
    return plain, matched


def single_cells(folder, card, count):
    paths = sorted(folder.glob("*/*.jpg"))
    random.Random(1).shuffle(paths)
    return [card.input_spec.decode_and_resize(path) for path in paths[:count]]


def measure_alike(data, count):
    cell_finder, typer = open_models()
    card = typer.card
    read = feature_reader(card)
    training = read(single_cells(data / "pbc7/train", card, 4 * count))
    plain, matched = field_crops(data, cell_finder, card)
    sets = {
        "single cells, unseen": single_cells(data / "pbc7/val", card, count),
        "cells of fields, as photographed": plain,
        "cells of fields, stain matched": matched,
    }
    print("| cells | number | median distance to the nearest training image | mean confidence | unlike training |")
    print("|---|---|---|---|---|")
    for name, images in sets.items():
        distance = numpy.sqrt(numpy.maximum(0, 2 - 2 * (read(images) @ training.T).max(axis=1)))
        # The network sees the middle 0.875 of an image, so what it saw is put back in the middle.
        found = typer.classify([_padded(image, card.input_spec.crop) for image in images])
        confidence = numpy.mean([each.group_confidence for each in found])
        unlike = sum("unlike_training" in each.reasons for each in found)
        print(f"| {name} | {len(images)} | {numpy.median(distance):.3f} | {confidence:.3f} | {unlike} |")


def _padded(image, crop):
    margin = round(image.shape[0] * (1 / crop - 1) / 2)
    return numpy.pad(image, [(margin, margin), (margin, margin), (0, 0)], "edge")


def measure_refused(data, count):
    sets = {
        "fields of bccd": sorted((data / "bccd/images").iterdir()),
        "fields of red cells": sorted((data / "chula").glob("*.jpg")),
    }
    print("| images | number | refused | 95 % interval | codes |")
    print("|---|---|---|---|---|")
    for name, paths in sets.items():
        codes = []
        for path in paths[: 3 * count]:
            try:
                field_check.check_field(decode.decode_image(path), path.name)
            except ImageError as error:
                codes.append(error.code)
        total = len(paths[: 3 * count])
        low, high = wilson.wilson_interval(len(codes) / total, total)
        print(f"| {name} | {total} | {len(codes)} | {low:.3f} to {high:.3f} | {' '.join(sorted(set(codes)))} |")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100, help="images of a kind")
    options = parser.parse_args(arguments)
    if set(options.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    rows = []
    for part in options.parts or PARTS:
        if part == "time":
            rows += measure_time(options.data, options.rounds)
        elif part == "start":
            rows += measure_start(options.data, options.rounds)
        elif part == "alike":
            measure_alike(options.data, options.count)
        else:
            measure_refused(options.data, options.count)
    if rows:
        print(timing.table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
