"""Slides made of fields with known cells: is every cell found once, how much memory and time does a slide take?

python3 benchmarks/slides.py --data FOLDER             # everything; about 10 minutes and 200 MB of files
python3 benchmarks/slides.py --data FOLDER cells       # or: focus, 0.1, 1

FOLDER has bccd and pbc7, see image_check_material.py.
cells: a slide of 0.1 gigapixel is searched with several tiles, and by the finder for photographs as one photograph.
Labelled cells are counted by what was decided on their square.
cells1: a slide of 1 gigapixel is searched with several tiles; about 10 minutes.
speed: megapixels of the searched squares per second, and seconds of processor time, of a slide of 0.1 gigapixel in one
process, for tiles of the finder of several sizes, interleaved: reading and finding, and typing the cells.
limits: labelled cells by what is decided on their squares, on slides made of one half of the fields, on which the
limits were chosen, and of the other half; then the squares that hold one kind of field only.
focus: how many fields and blurred copies of them are called out of focus.
0.1, 1: Classifier.py Slide with all of its outputs on slides of so many gigapixels: memory of the whole process tree,
and megapixels of the searched squares per second, with starting, planning and writing.
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
from Classes.fields import field_models, slide_grid, slide_overview, slide_plan, slide_search, slide_task  # noqa: E402
from Classes.fields.finder import CellFinder  # noqa: E402
from Classes.imaging import decode, slide_reader  # noqa: E402
from Classes.inference import model_card, openvino_backend, openvino_devices  # noqa: E402

# Rows and columns of fields of the slides, by gigapixels.
FIELDS = {"0.1": 18, "1": 57}
TILES = ((256, (0, 0)), (512, (0, 0)), (1000, (0, 0)), (256, (77, -31)), (512, (301, 13)), (1000, (-400, 999)))
# Slides of each half of the fields.
LAYOUTS = 3
# Sides of the finder's tiles, see slide_task.FINDER_TILE, and how often each is measured.
FINDER_TILES, REPEATS = (512, slide_task.FINDER_TILE, 1056, 2112), 3


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


def compare_tiles(slide, plan, finder, tiles):
    """Yield a row per kind of tile, and return the cells and codes of the first."""
    first = None
    for tile, origin in tiles:
        found = search(slide, plan.grid, plan.codes == slide_overview.SEARCHED, finder, tile, origin)
        first = first or found
        yield {"what": f"tiles of {tile}, origin {origin}", "cells": len(found[0]), "identical": found[0] == first[0],
               **compare(found[0], first[0], lambda _: 0.01)}  # fmt: skip
    return first


def measure_cells(data, folder):
    finder = CellFinder(PROJECT / field_models.FINDER)
    mosaic, path = write_slide(data, "0.1", folder)
    with slide_reader.open_slide(path) as slide:
        plan = read_plan(slide, finder)
        cells, codes = yield from compare_tiles(slide, plan, finder, TILES)
        image = slide.read(0, 0, slide.width, slide.height)
    grid, codes = plan.grid, numpy.where(codes == 255, plan.codes, codes)
    photograph = finder.find(image, grid.microns).cells
    kinds = square_codes(photograph, codes, grid)
    inside = [cell for cell, kind in zip(photograph, kinds, strict=True) if kind == slide_overview.SEARCHED]
    skipped = collections.Counter(slide_overview.NAMES[kind] for kind in kinds if kind != slide_overview.SEARCHED)
    yield {"what": "as one photograph", "identical": sorted(inside) == sorted(cells),
           **compare(cells, inside, lambda cell: (cell.width + cell.height) / 4),
           "in skipped squares": dict(skipped)}  # fmt: skip
    yield from count_labelled(data, mosaic, cells, codes, grid)


def measure_large(data, folder):
    """The same on 1 gigapixel, without the photograph, which would not fit into memory."""
    path = pathlib.Path(folder, "1.tif")
    if not path.exists():
        write_slide(data, "1", folder)
    finder = CellFinder(PROJECT / field_models.FINDER, tile=slide_task.FINDER_TILE)
    with slide_reader.open_slide(path) as slide:
        yield from compare_tiles(slide, read_plan(slide, finder), finder, (TILES[0], TILES[4], TILES[5]))


def measure_speed(data, folder):
    """Squares in megapixels per second, and seconds of processor time, per size of the finder's tiles."""
    # Imported late: only here are the types needed.
    from Classes.fields import analyze, cell_typing

    path = pathlib.Path(folder, "0.1.tif")
    if not path.exists():
        write_slide(data, "0.1", folder)
    card = model_card.load_model_card(PROJECT / "Model/WhiteCells/WhiteCells.json", cell_types=True)
    backend = openvino_backend.OpenVINOBackend(card, "CPU", openvino_devices.cpu_precision("AUTO"))
    typer = cell_typing.CellTyper(card, backend, 0.7)
    finders = {tile: CellFinder(PROJECT / field_models.FINDER, tile=tile) for tile in FINDER_TILES}
    measured, lists = collections.defaultdict(list), set()
    with slide_reader.open_slide(path) as slide:
        plan = slide_plan.make_plan(slide, finders[slide_task.FINDER_TILE], typer)
        searched = plan.codes == slide_overview.SEARCHED
        megapixels = float(plan.grid.areas()[searched].sum()) * 1e6 / plan.grid.microns**2 / 1e6
        # The first round compiles the networks for their shapes.
        for repeat in range(1 + REPEATS):
            for tile, finder in finders.items():
                times = [read_clocks()]
                cells, _codes = search(slide, plan.grid, searched, finder, slide_search.TILE, (0, 0))
                times.append(read_clocks())
                crops = slide_plan.SlideCrops(slide, cells, plan.grid.microns, plan.background)
                analyze.type_cells(cells, crops, typer, plan.stain)
                times.append(read_clocks())
                lists.add(tuple(cells))
                if repeat:
                    measured[tile].append(numpy.diff(times, axis=0))
    for tile, values in measured.items():
        (finding, finding_cpu), (typing, typing_cpu) = numpy.median(values, axis=0).tolist()
        yield {"what": f"finder's tiles of {tile}", "megapixels": round(megapixels), "cells": len(cells),
               "lists of cells": len(lists), "load": round(os.getloadavg()[0], 1),
               "megapixels/s": round(megapixels / (finding + typing), 1),
               "without typing": round(megapixels / finding, 1),
               "processor s per megapixel": round((finding_cpu + typing_cpu) / megapixels, 4),
               "without typing ": round(finding_cpu / megapixels, 4),
               "processor ms per cell": round(1000 * typing_cpu / len(cells), 2)}  # fmt: skip


def read_clocks():
    """Seconds, and seconds of processor time of all threads."""
    return time.perf_counter(), time.process_time()


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
    centers = numpy.array([(cell.y, cell.x) for cell in cells])
    true, pure = collections.Counter(), collections.Counter()
    for _row, _column, center, size in labelled_cells(mosaic, read_labels(data)):
        place = int(center[0] // grid.side), int(center[1] // grid.side)
        name = slide_overview.NAMES[codes[place]]
        if name == "searched":
            near = numpy.abs(centers - center).max(axis=1) <= size / 2
            name = "searched, found" if near.any() else "searched, not found"
        (pure if (kinds_in_square(mosaic, grid, *place) == 0).all() else true)[name] += 1
    yield {"what": "labelled cells, squares of a single layer only", **pure}
    yield {"what": "labelled cells, squares that are partly something else", **true}


def measure_limits(data, folder):
    """Labelled cells in skipped squares, and pure squares by what is decided on them, for both halves of the fields."""
    fields, labels = slide_mosaic.load_fields(data), read_labels(data)
    finder = CellFinder(PROJECT / field_models.FINDER, tile=slide_task.FINDER_TILE)
    for name, half in (("chosen on", slice(0, 32)), ("others", slice(32, 64))):
        cells, squares = collections.Counter(), collections.defaultdict(collections.Counter)
        for seed in range(LAYOUTS):
            mosaic = slide_mosaic.Mosaic(fields[half], slide_mosaic.layout(18, 18, seed=seed), seed=seed)
            path = pathlib.Path(folder, "limits.tif")
            mosaic.write(path)
            with slide_reader.open_slide(path) as slide:
                plan = read_plan(slide, finder)
                grid = plan.grid
                codes = search(slide, grid, plan.codes == slide_overview.SEARCHED, finder, slide_search.TILE, (0, 0))[1]
            codes = numpy.where(codes == 255, plan.codes, codes)
            for _row, _column, (y, x), _size in labelled_cells(mosaic, labels[half]):
                cells[slide_overview.NAMES[codes[int(y // grid.side), int(x // grid.side)]]] += 1
            for row, column in numpy.ndindex(codes.shape):
                kinds = kinds_in_square(mosaic, grid, row, column)
                if (kinds == kinds[0, 0]).all():
                    squares[slide_mosaic.KINDS[kinds[0, 0]]][slide_overview.NAMES[codes[row, column]]] += 1
        yield {"what": f"limits, {name}", "labelled cells": dict(cells),
               **{f"squares of {kind} only": dict(found) for kind, found in squares.items()}}  # fmt: skip


def labelled_cells(mosaic, labels):
    """Yield (row, column of the field, (y, x) of the center, larger side) of the cells of the sharp single layers."""
    height, width = slide_mosaic.FIELD
    for row, column in numpy.argwhere(mosaic.kinds == 0):
        for left, top, right, bottom in labels[mosaic.chosen[row, column, 0]]:
            center = row * height + (top + bottom) / 2, column * width + (left + right) / 2
            yield row, column, center, max(right - left, bottom - top)


def kinds_in_square(mosaic, grid, row, column):
    """The kinds of the fields that a square touches."""
    height, width = slide_mosaic.FIELD
    rows = slice(row * grid.side // height, -(-(row + 1) * grid.side // height))
    return mosaic.kinds[rows, column * grid.side // width : -(-(column + 1) * grid.side // width)]


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
    parser.add_argument("parts", nargs="*", default=["cells", "speed", "limits", "focus", "0.1", "1"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        for part in options.parts:
            work = {"cells": measure_cells, "cells1": measure_large, "focus": measure_focus, "limits": measure_limits,
                    "speed": measure_speed}.get(part)  # fmt: skip
            rows = work(options.data, folder) if work else measure_run(options.data, folder, part)
            for row in rows:
                print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
