"""The cell finder on photographs: cells found, false cells, clumps, changes of scale and file, and time.

python3 benchmarks/finder.py FOLDER                     # BCCD, pbc7 and chula are its folders bccd, pbc7 and chula
python3 benchmarks/finder.py FOLDER --tuning            # only what settings may be chosen on
python3 benchmarks/finder.py FOLDER --overlays OUT      # fields with errors as pictures, too
python3 benchmarks/finder.py FOLDER --model CARD --left-out fields     # a finder that never saw these photographs

Fields are those of the list `val`, red-cell fields and single cells those that Trainer.py Finder keeps back. The scale
is always measured, never given. --baseline measures a color threshold, which shows what the task is worth.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time

import numpy
import PIL.Image
import PIL.ImageDraw
import scipy.ndimage

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.common import wilson
from Classes.common.paths import PROJECT
from Classes.evaluation import field_metrics
from Classes.fields import finder
from Classes.training import (
    finder_artifacts,
    finder_augmentation,
    finder_composition,
    finder_publish,
    finder_sources,
)

SHIPPED = PROJECT / "Model" / "Finder" / "Finder.json"
CLUMPS = 200


@dataclasses.dataclass
class ColorThreshold:
    """The baseline: dark violet regions above an Otsu threshold, with holes filled and small ones left out."""

    def find(self, image):
        values = image.astype("float32")
        violet = scipy.ndimage.gaussian_filter(255 - values[..., 1] + (values[..., 2] - values[..., 0]), 3)
        labels, count = scipy.ndimage.label(
            scipy.ndimage.binary_fill_holes(violet > finder_sources.otsu_threshold(violet))
        )
        areas = numpy.bincount(labels.ravel(), minlength=count + 1)
        cells = []
        for index, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), 1):
            if areas[index] > 0.006 * labels.size:
                y, x = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
                cells.append(finder.Cell(x, y, columns.stop - columns.start, rows.stop - rows.start, 1.0))
        return finder.FoundCells(tuple(cells), 0.0, "", 0, 0, image.shape[1::-1])


def is_perfect(field):
    """Whether every annotated cell of a field was found, and no other."""
    return len(field.pairs) == len(field.annotated) == len(field.found)


def describe_counts(metrics):
    """The numbers of fields, annotated cells and errors as text."""
    matched = metrics["matched"]
    return (
        f"fields {metrics['photographs']}, cells {metrics['annotated']}, false {metrics['found'] - matched}, "
        f"missed {metrics['annotated'] - matched}"
    )


def show(name, value, wanted=""):
    print(f"| {name} | {value} | {wanted} |", flush=True)


def rate(metric):
    low, high = metric["interval"] or (float("nan"),) * 2
    return f"{metric['value']:.3f} ({low:.3f} to {high:.3f})"


def overlay(image, cells, boxes=()):
    """The image with boxes in yellow and found cells in green."""
    picture = PIL.Image.fromarray(image)
    draw = PIL.ImageDraw.Draw(picture)
    for x, y, width, height in boxes:
        draw.rectangle([x - width / 2, y - height / 2, x + width / 2, y + height / 2], outline="yellow", width=2)
    for x, y, width, height, score, flags in cells:
        draw.ellipse([x - width / 2, y - height / 2, x + width / 2, y + height / 2], outline="lime", width=2)
        draw.text((x, y), f"{score:.2f} {' '.join(flags)}", fill="lime", font_size=max(12, picture.width // 40))
    return picture


def fields(found_by, folder, names, out, title):
    """Cells of annotated fields, by center in box."""
    measured, errors = [], []
    for name in names:
        field = finder_sources.read_annotated_field(folder, name, keep=0)
        found = found_by.find(field.pixels)
        measured.append(finder_publish.measured_field(name, field.white, found.cells))
        errors.append(found.scale / field.microns)
        if out and not is_perfect(measured[-1]):
            overlay(field.pixels, found.cells, field.white[:, :4]).save(out / f"{name}.png")
    metrics = field_metrics.evaluate_fields(measured)
    show(f"{title}: F1 ({describe_counts(metrics)})", rate(metrics["f1"]), "at least 0.985")
    show(f"{title}: recall", rate(metrics["recall"]), "at least 0.99")
    show(f"{title}: precision", rate(metrics["precision"]))
    low, middle, high = numpy.percentile(errors, [5, 50, 95])
    show(f"{title}: measured scale, in parts of the annotated one", f"{middle:.2f} ({low:.2f} to {high:.2f})")


def red_fields(found_by, folder, out, held_back):
    """Red-cell fields without white cells in which something is found."""
    photographs = finder_sources.read_red_cell_fields(folder, held_back)
    wrong = 0
    for field in photographs:
        found = found_by.find(field.pixels)
        wrong += bool(found.cells)
        if out and found.cells:
            overlay(field.pixels, found.cells).save(out / f"red_{field.name}.png")
    low, high = wilson.wilson_interval(wrong / len(photographs), len(photographs))
    value = f"{wrong} of {len(photographs)} = {wrong / len(photographs):.3f} ({low:.3f} to {high:.3f})"
    show("red-cell fields with a false white cell", value, "at most 0.05")


def single_cells(found_by, folder, out, count=480):
    """Single-cell images of another laboratory in which the cell, and only it, is found."""
    measured = []
    for cell in finder_sources.read_single_cells(folder, "val", count, keep=0):
        found = found_by.find(cell.pixels)
        measured.append(finder_publish.measured_field(cell.name, cell.white, found.cells))
        if out and not is_perfect(measured[-1]):
            overlay(cell.pixels, found.cells, cell.white[:, :4]).save(out / f"cell_{pathlib.Path(cell.name).name}.png")
    metrics = field_metrics.evaluate_fields(measured)
    show(
        f"single cells: F1 ({describe_counts(metrics)}; neighbors without a box count as false)",
        rate(metrics["f1"]),
    )


def clumps(found_by, backgrounds, donors, out):
    """Error of the count of clumps of 2 to 7 touching cells, pasted at 0.1 µm per pixel."""
    truth = errors = signed = 0
    for index in range(CLUMPS):
        rng = numpy.random.default_rng([11, index])
        microns = float(rng.uniform(0.1, 0.25))
        side = int(70 / microns)
        canvas = finder_composition.Canvas(
            numpy.full((side, side, 3), 220, "float32"), [], numpy.ones((side, side), bool), microns
        )
        finder_composition.place(rng, canvas, backgrounds[int(rng.integers(len(backgrounds)))], (0, 0, side, side))
        canvas.boxes.clear()
        count = paste_clump(rng, canvas, donors, 2 + index % 6)
        image = canvas.image.clip(0, 255).astype("uint8")
        cells = found_by.find(image).cells
        truth, errors, signed = truth + count, errors + abs(len(cells) - count), signed + len(cells) - count
        if out and len(cells) != count:
            overlay(image, cells).save(out / f"clump_{index:03}_{count}.png")
    show(
        f"{CLUMPS} pasted clumps, {truth} cells: sum of their errors",
        f"{errors / truth:.3f}",
        "at most 0.10",
    )
    show("the same: too many or too few in all", f"{signed / truth:+.3f}")


def paste_clump(rng, canvas, donors, count):
    """Paste a clump in the middle of a canvas; returns the number of cells that found a place."""
    side, clump = len(canvas.image), []
    glass = finder_composition.empty_glass(canvas.image)
    for _ in range(40):
        if len(clump) == count:
            break
        cell = finder_composition.cut_out(rng, donors, canvas.microns, glass)
        if cell is None:
            continue
        size = sum(cell[1].shape) / 2
        if clump:
            center = finder_composition.free_place(rng, clump, clump, size, side)
        else:
            center = rng.uniform(0.4, 0.6, 2) * side
        reach = size / 2
        if center is not None and (center > reach).all() and (center < side - reach).all():
            clump.append(finder_composition.paste(canvas, *cell, center))
    return len(clump)


def changes(found_by, folder, names):
    """Cells of fields that stay the same after a change of scale, file or marks."""

    def resized(factor):
        return lambda rng, image: numpy.asarray(
            PIL.Image.fromarray(image).resize([round(side * factor) for side in image.shape[1::-1]])
        )

    def marked(kind):
        def change(rng, image):
            return finder_artifacts.draw_mark(rng, image.astype("float32"), kind, 190).astype("uint8")

        return change

    ways = {f"scale {factor}": (resized(factor), factor) for factor in (0.7, 0.85, 1.2, 1.4)}
    ways |= {f"{kind} drawn in": (marked(kind), 1) for kind in ("arrow", "bar", "text")}
    ways["JPEG 60"] = lambda rng, image: finder_augmentation.compress(image, 60), 1
    same, total = 0, 0
    for name, (change, factor) in ways.items():
        kept = all_cells = 0
        for index, field in enumerate(names):
            image = finder_sources.read_annotated_field(folder, field, keep=0).pixels
            before = found_by.find(image).cells
            after = found_by.find(change(numpy.random.default_rng([7, index]), image)).cells
            boxes = [(cell.x * factor, cell.y * factor, cell.width * factor, cell.height * factor) for cell in before]
            found = len(finder_publish.measured_field(field, boxes, after).pairs)
            kept += found
            all_cells += len(before) + len(after) - found
        show(f"unchanged after {name}", f"{kept} of {all_cells} = {kept / all_cells:.3f}")
        same, total = same + kept, total + all_cells
    show("unchanged after all changes together", f"{same} of {total} = {same / total:.3f}", "at least 0.98")


def speed(found_by, folder, names):
    """Seconds for a photograph of 2592x1944 made of fields, with about 30 cells."""
    parts = [finder_sources.read_annotated_field(folder, name, keep=0).pixels for name in names[:30]]
    rows = [numpy.concatenate([part[:400, :520] for part in parts[5 * row : 5 * row + 5]], axis=1) for row in range(5)]
    image = numpy.concatenate(rows)[:1944, :2592]
    image = numpy.pad(image, [(0, 1944 - len(image)), (0, 2592 - image.shape[1]), (0, 0)], "edge")
    for name, scale in (("scale measured", None), ("scale given, 100x", 0.0714), ("scale given, 40x", 0.2)):
        times = []
        for _ in range(7):
            started = time.perf_counter()
            found = found_by.find(image, scale)
            times.append(time.perf_counter() - started)
        middle = f"{numpy.median(times[1:]):.2f} s ({min(times[1:]):.2f} to {max(times[1:]):.2f})"
        show(f"2592x1944, {len(found.cells)} cells, {name}", middle, "at most 0.5 s" if scale is None else "")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=SHIPPED, help="model card of the finder")
    parser.add_argument("--tuning", action="store_true", help="measure only what settings may be chosen on")
    parser.add_argument("--baseline", action="store_true", help="measure the color threshold instead")
    parser.add_argument("--left-out", choices=["fields", "cells"], help="measure only these, all of them")
    parser.add_argument("--overlays", type=pathlib.Path, help="folder for pictures of fields with errors")
    parser.add_argument("--parts", nargs="+", default=["fields", "red", "cells", "clumps", "changes", "speed"])
    options = parser.parse_args(arguments)
    out = options.overlays
    if out:
        out.mkdir(parents=True, exist_ok=True)
    found_by = ColorThreshold() if options.baseline else finder.CellFinder(options.model, threads=os.cpu_count() or 0)
    bccd, single, red = (options.folder / name for name in ("bccd", "pbc7", "chula"))
    print("| what | measured | wanted |\n|---|---|---|")
    train = (bccd / "train.txt").read_text().split()
    if options.left_out == "fields":
        fields(found_by, bccd, train + (bccd / "val.txt").read_text().split(), out, "BCCD, never seen (wanted 0.80)")
        return 0
    if options.left_out == "cells":
        single_cells(found_by, single, out)
        return 0
    names = train[::5] if options.tuning else (bccd / "val.txt").read_text().split()
    title = "BCCD, tuning part" if options.tuning else "BCCD val"
    if "fields" in options.parts:
        fields(found_by, bccd, names, out, title)
    if "red" in options.parts:
        red_fields(found_by, red, out, held_back=not options.tuning)
    if options.baseline:
        return 0
    if "cells" in options.parts:
        single_cells(found_by, single, out)
    if "clumps" in options.parts:
        donors = finder_sources.read_single_cells(single, "val", 240, keep=0)
        clumps(found_by, finder_sources.read_red_cell_fields(red, held_back=True), donors, out)
    if "changes" in options.parts:
        changes(found_by, bccd, names)
    if "speed" in options.parts:
        speed(found_by, bccd, names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
