"""Measure how the crop of a cell changes what the shipped model of white-cell types says about it.

.venv/bin/python benchmarks/cell_context.py IMAGES

IMAGES holds boxes.csv (file,type,x,y,width,height: center and size as fractions of the image) and the images that it
lists; those in its folder `val` are used, 60 of each type. docs/white_cells.md has the results.
"""

import argparse
import collections
import csv
import pathlib
import random
import sys
from collections.abc import Callable

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from Classes.evaluation import cell_types
from Classes.imaging import cell_crops, decode, network_input
from Classes.inference import model_card, openvino_backend

PER_TYPE = 60


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES", type=pathlib.Path)
    folder = parser.parse_args(arguments).folder
    card = model_card.load_model_card(pathlib.Path("Model/WhiteCells/WhiteCells.json"), cell_types=True)
    names, images, boxes = load(folder, card.classes)
    group_of = {name: group for group, types in cell_types.GROUPS.items() for name in types}
    groups = numpy.array([group_of[name] for name in card.classes])
    labels = numpy.array(names)
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as backend:
        for what, crop in crops().items():
            inputs = numpy.stack(
                [
                    network_input.center_crop_resize(crop(*each), card.input_spec.size, card.input_spec.crop)
                    for each in zip(images, boxes, strict=True)
                ]
            )
            batches = numpy.array_split(inputs, -(-len(inputs) // 64))
            probabilities = numpy.concatenate([backend.classify(batch) for batch in batches])
            summed = {group: probabilities[:, groups == group].sum(1) for group in cell_types.GROUPS}
            best = numpy.array(list(summed))[numpy.argmax(list(summed.values()), axis=0)]
            right = numpy.array(card.classes)[probabilities.argmax(1)] == labels
            right_group = best == [group_of[name] for name in names]
            print(f"{what:36} type {right.mean():.3f}  group {right_group.mean():.3f}", flush=True)


def load(folder: pathlib.Path, classes: tuple[str, ...]) -> tuple[list[str], list[numpy.ndarray], list[numpy.ndarray]]:
    """Return ([type], [image], [x, y, width, height in pixels])."""
    by_type = collections.defaultdict(list)
    with open(folder / "boxes.csv", newline="") as table:
        for row in csv.DictReader(table):
            if row["file"].startswith("val/") and row["type"] in classes:
                by_type[row["type"]].append(row)
    generator = random.Random(0)
    rows = [row for each in by_type.values() for row in generator.sample(each, min(PER_TYPE, len(each)))]
    images = [decode.decode_image(folder / row["file"]) for row in rows]
    shapes = [(image.shape[1], image.shape[0]) * 2 for image in images]
    keys = ("x", "y", "width", "height")
    boxes = [numpy.array([float(row[key]) for key in keys]) * shape for row, shape in zip(rows, shapes, strict=True)]
    return [row["type"] for row in rows], images, boxes


def crops() -> dict[str, Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray]]:
    """Return {what is measured: function of image and box that gives the crop}."""

    def scaled(factor: float) -> Callable:
        return lambda image, box: cell_crops.crop_cell(image, *box[:2], factor * len(image))

    def border(left: float, top: float, fill: Callable) -> Callable:
        # The field begins at these fractions of the box; 0 is its left or upper edge, and -9 is as it was.
        def crop(image: numpy.ndarray, box: numpy.ndarray) -> numpy.ndarray:
            x, y, width, height = box
            start = max(0, round(x + (left - 0.5) * width)), max(0, round(y + (top - 0.5) * height))
            # A finder sees only what is left of the cell and puts its box there.
            x += max(0, left) * width / 2
            return fill(image[start[1] :, start[0] :], x - start[0], y - start[1], len(image))

        return crop

    found = {"whole image": lambda image, box: image}
    found |= {f"by scale, side x {factor}": scaled(factor) for factor in (0.8, 0.9, 1.0, 1.1, 1.25)}
    found["by the cell's box"] = lambda image, box: cell_crops.crop_cell(
        image, *box[:2], cell_crops.crop_side(*box[2:])
    )
    for name, fill in (("background", cell_crops.crop_cell), ("mirrored", mirrored)):
        found[f"at the border, {name}"] = border(0, -9, fill)
        found[f"in the corner, {name}"] = border(0, 0, fill)
        found[f"a quarter cut off, {name}"] = border(0.25, -9, fill)
    return found


def mirrored(image: numpy.ndarray, x: float, y: float, side: float) -> numpy.ndarray:
    """Return the crop with mirrored pixels outside of the field, for comparison."""
    pad = round(side)
    padded = numpy.pad(image, ((pad, pad), (pad, pad), (0, 0)), "symmetric")
    return cell_crops.crop_cell(padded, x + pad, y + pad, side)


if __name__ == "__main__":
    main()
