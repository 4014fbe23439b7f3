"""Slides made of fields with known cells: is every cell found once, how much memory and time does a slide take?

python3 benchmarks/slides.py --data FOLDER             # everything; about 10 minutes and 200 MB of files
python3 benchmarks/slides.py --data FOLDER cells       # or: focus, 0.1, 1

FOLDER has bccd and pbc7, see image_check_material.py.
cells: a slide of 0.1 gigapixel is searched with several tiles, and its pixels at working scale are searched in one
piece by the finder, without bands and tiles. The finder for photographs searches the slide as one large photograph.
Labelled cells are counted by what was decided on their square.
focus: how many fields and blurred copies of them are called out of focus.
0.1, 1: Classifier.py Slide with all of its outputs on slides of so many gigapixels: memory of the whole process tree,
and megapixels of the searched squares per second, reading, finding, typing and writing included.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

import numpy
import PIL.Image
import PIL.ImageFilter
import psutil

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks import slide_mosaic  # noqa: E402
from Classes.fields import classify_fields, slide_grid, slide_overview, slide_plan, slide_search  # noqa: E402
from Classes.fields.finder import CellFinder  # noqa: E402
from Classes.imaging import decode, slide_reader  # noqa: E402
from Classes.inference import model_card, openvino_backend, openvino_devices  # noqa: E402

# Rows and columns of fields of the slides, by gigapixels.
FIELDS = {"0.1": 18, "1": 57}
TILES = ((256, (0, 0)), (512, (0, 0)), (1000, (0, 0)), (256, (77, -31)), (512, (301, 13)), (1000, (-400, 999)))
# The photograph is resized as a whole, the slide block by block, so scores and centers differ a little.
NEAR = 0.02


def write_slide(data, gigapixels, folder):
    count = FIELDS[gigapixels]
    mosaic = slide_mosaic.Mosaic(slide_mosaic.load_fields(data), slide_mosaic.layout(count, count))
    path = pathlib.Path(folder, f"{gigapixels}.tif")
    mosaic.write(path)
    return mosaic, path


def read_plan(slide, finder):
    # Imported late: only here are the types needed.
    from Classes.fields import cell_typing

    card = model_card.load_model_card(PROJECT / "Model/WhiteCells/WhiteCells.json", cell_types=True)
    backend = openvino_backend.OpenVINOBackend(card, "CPU", openvino_devices.cpu_precision("AUTO"))
    return slide_plan.make_plan(slide, finder, cell_typing.CellTyper(card, backend, 0.7))


def search(slide, grid, searched, finder, tile, origin):
    """Sorted (x, y, width, height, score) of all bands, and the codes of the squares."""
    cells, codes = [], numpy.full(searched.shape, 255, "uint8")
    for band in slide_grid.bands(searched):
        found = slide_search.search_band(slide, grid, band, finder, tile, origin)
        rows, columns = band.searched.shape
        codes[band.row : band.row + rows, band.column : band.column + columns][band.searched] = found.codes[
            band.searched
        ]
        cells += found.cells
    return cells, codes


def square_codes(cells, codes, grid):
    return [codes[min(int(y // grid.side), grid.rows - 1), min(int(x // grid.side), grid.columns - 1)]
            for x, y, *_ in cells]  # fmt: skip


def compare(cells, others, near):
    """{"lost", "doubled", "added"}: cells without partner, with two, and partners of none; centers at most so near."""
    partners = [[i for i, each in enumerate(cells) if numpy.hypot(each[0] - o[0], each[1] - o[1]) <= near(o)]
                for o in others]  # fmt: skip
    used = collections.Counter(index for each in partners for index in each)
    return {
        "compared with": len(others),
        "lost": sum(not each for each in partners),
        "doubled": sum(len(each) > 1 for each in partners),
        "added": len(cells) - len(used),
        "farthest": round(
            max(
                (float(numpy.hypot(cells[e[0]][0] - o[0], cells[e[0]][1] - o[1]))
                 for e, o in zip(partners, others, strict=True) if e),
                default=0,
            ),
            2,
        ),
    }  # fmt: skip


def measure_cells(data, folder):
    finder = CellFinder(PROJECT / classify_fields.FINDER)
    mosaic, path = write_slide(data, "0.1", folder)
    with slide_reader.open_slide(path) as slide:
        plan = read_plan(slide, finder)
        grid, searched = plan.grid, plan.codes == slide_overview.SEARCHED
        cells, codes = search(slide, grid, searched, finder, slide_search.TILE, (0, 0))
        for tile, origin in TILES:
            again, _codes = search(slide, grid, searched, finder, tile, origin)
            yield {"what": f"tiles of {tile}, origin {origin}", "cells": len(again), "identical": again == cells,
                   **compare(again, cells, lambda _: 0.01)}  # fmt: skip
        codes = numpy.where(codes == 255, plan.codes, codes)
        window = (0, 0, *grid.working_size)
        whole = slide_search.read_working(
            slide, grid, window, numpy.ones((window[3] // slide_grid.BLOCK, window[2] // slide_grid.BLOCK), bool), 10**6
        )
        image = slide.read(0, 0, slide.width, slide.height)
    one_piece = CellFinder(PROJECT / classify_fields.FINDER, tile=max(window))
    every = numpy.ones((window[3] // finder.card.stride, window[2] // finder.card.stride), bool)
    size = (grid.width, grid.height)
    piece = one_piece.find_in_window(whole, every, (0, 0), grid.block / slide_grid.BLOCK, size, grid.microns)
    yield {"what": "finder, in one piece", **in_searched(cells, piece, codes, grid, lambda _: 1.0)}
    photograph = finder.find(image, grid.microns).cells
    half = lambda cell: (cell.width + cell.height) / 4  # noqa: E731
    yield {"what": "finder, as a photograph", **in_searched(cells, photograph, codes, grid, half)}
    unsure = [each for each in photograph if abs(each.score - finder.threshold) > NEAR]
    yield {"what": f"finder, as a photograph, scores more than {NEAR} from the threshold",
           **in_searched(cells, unsure, codes, grid, half)}  # fmt: skip
    yield from count_labelled(data, mosaic, cells, codes, grid)


def in_searched(cells, others, codes, grid, near):
    """Compare where the slide is searched; the others are counted by what their square is."""
    kinds = square_codes(others, codes, grid)
    inside = [cell for cell, kind in zip(others, kinds, strict=True) if kind == slide_overview.SEARCHED]
    skipped = collections.Counter(slide_overview.NAMES[kind] for kind in kinds if kind != slide_overview.SEARCHED)
    return {**compare(cells, inside, near), "in skipped squares": dict(skipped)}


def read_labels(data, count=64):
    """Boxes of the white cells of each field of slide_mosaic.load_fields."""
    found = []
    for name in (data / "bccd/val.txt").read_text().split()[:count]:
        tree = xml.etree.ElementTree.parse(data / "bccd/annotations" / f"{name.split('.')[0]}.xml")
        boxes = [each.find("bndbox") for each in tree.iter("object") if each.find("name").text == "WBC"]
        found.append([[float(box.find(key).text) for key in ("xmin", "ymin", "xmax", "ymax")] for box in boxes])
    return found


def count_labelled(data, mosaic, cells, codes, grid):
    """Labelled cells of the sharp single layers, by what was decided on their square, and how many were found."""
    labels, (height, width) = read_labels(data), slide_mosaic.FIELD
    centers = numpy.array([(cell.x, cell.y) for cell in cells])
    true, pure = collections.Counter(), collections.Counter()
    for row, column in numpy.argwhere(mosaic.kinds == 0):
        for left, top, right, bottom in labels[mosaic.chosen[row, column, 0]]:
            x, y = column * width + (left + right) / 2, row * height + (top + bottom) / 2
            place = int(y // grid.side), int(x // grid.side)
            kinds = mosaic.kinds[
                int(place[0] * grid.side // height) : -(-((place[0] + 1) * grid.side) // height),
                int(place[1] * grid.side // width) : -(-((place[1] + 1) * grid.side) // width),
            ]
            name = slide_overview.NAMES[codes[place]]
            if name == "searched":
                near = numpy.abs(centers - (x, y)).max(axis=1) <= max(right - left, bottom - top) / 2
                name = "searched, found" if near.any() else "searched, not found"
            (pure if (kinds == 0).all() else true)[name] += 1
    yield {"what": "labelled cells, squares of a single layer only", **pure}
    yield {"what": "labelled cells, squares that are partly something else", **true}


def measure_focus(data, _folder):
    """How many squares of sharp and of blurred fields are called out of focus."""
    for name, microns, paths in (
        ("bccd", slide_mosaic.MICRONS, sorted((data / "bccd/images").iterdir())),
        ("pbc7", 0.1, sorted((data / "pbc7").rglob("*.jpg"))[:300]),
    ):
        images = [PIL.Image.fromarray(decode.decode_image(path)) for path in paths]
        for radius in (0, 0.4, 0.6, 0.8, 1, 1.5):
            values = []
            for image in images:
                blurred = image.filter(PIL.ImageFilter.GaussianBlur(radius / microns)) if radius else image
                size = (round(image.width * microns / 0.4), round(image.height * microns / 0.4))
                working = numpy.asarray(blurred.resize(size, PIL.Image.Resampling.BOX))
                values.append(slide_search.sharpness(working))
            values = numpy.array(values)
            quantiles = numpy.quantile(values, [0.01, 0.1, 0.5, 0.99]).round(3).tolist()
            yield {"what": f"{name}, blurred by {radius} µm", "images": len(values),
                   "called blurred": int((values < slide_search.MIN_SHARPNESS).sum()),
                   "quantiles 1, 10, 50, 99 %": quantiles}  # fmt: skip


def measure_run(data, folder, gigapixels):
    path = pathlib.Path(folder, f"{gigapixels}.tif")
    if not path.exists():
        write_slide(data, gigapixels, folder)
    outputs = ["--csv", "o.csv", "--json", "o.json", "--html", "o.html", "--overlay", "overlay", "--geojson", "geojson"]
    command = [sys.executable, str(PROJECT / "Classifier.py"), "Slide", *outputs]
    command += ["--set", f"JobDir={folder}/Jobs", "--set", f"Logs={folder}/Logs", str(path)]
    start, highest = time.perf_counter(), 0
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, "ALL_LANG": "en"})
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        highest = max(highest, tree_memory(tree))
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    assert process.returncode == 0, f"exit code {process.returncode}"
    slide = json.loads(pathlib.Path(folder, "o.json").read_text())["slides"][0]
    searched = slide["searched_mm2"] / slide["um_per_pixel"] ** 2
    yield {"what": f"{gigapixels} gigapixel", "MB": round(highest / 1e6), "seconds": round(seconds, 1),
           "white cells": slide["white_cells"], "megapixels searched": round(searched),
           "megapixels/s": round(searched / seconds, 1)}  # fmt: skip


def tree_memory(tree):
    """Bytes in memory of a process and its children, what they share counted once."""
    total = 0
    try:
        for each in [tree, *tree.children(recursive=True)]:
            total += each.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass
    return total


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, help="keeps the slides; default: a temporary one")
    parser.add_argument("parts", nargs="*", default=["cells", "focus", "0.1", "1"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        for part in options.parts:
            work = {"cells": measure_cells, "focus": measure_focus}.get(part)
            rows = work(options.data, folder) if work else measure_run(options.data, folder, part)
            for row in rows:
                print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
