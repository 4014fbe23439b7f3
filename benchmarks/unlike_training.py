"""How many images that the model of white-cell types cannot judge are flagged, and how many of its own are not.

python3 benchmarks/unlike_training.py --data FOLDER --photos FOLDER...

FOLDER has pbc, pbc7, bccd, chula and slides, see image_check_material.py. An image is flagged if it shows nothing, if
the image check has a reason, or if its colors differ from those of the training images.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Iterator

import numpy
import PIL.Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks import image_check_material as material  # noqa: E402
from benchmarks.image_check_material import HELD, Material  # noqa: E402
from Classes.common import wilson  # noqa: E402
from Classes.dataset import synthetic_smears  # noqa: E402
from Classes.imaging import cell_crops, content_check, image_check, network_input  # noqa: E402
from Classes.inference import image_review, model_card  # noqa: E402


def white_cells(source: Material) -> Iterator[PIL.Image.Image]:
    """White cells of another laboratory, cropped as the fields are."""
    for field, boxes in source.fields(HELD):
        pixels = numpy.asarray(field)
        for x, y, width, height in boxes:
            yield PIL.Image.fromarray(cell_crops.crop_cell(pixels, x, y, cell_crops.crop_side(width, height)))


def red_cells_at_home(source: Material) -> Iterator[PIL.Image.Image]:
    """Corners of the training laboratory's images without any part of the white cell: its colors, but no such cell."""
    for path in source.cells(HELD):
        image = material.load(path)
        x, y, width, height = source.boxes[path.relative_to(source.data / "pbc7").as_posix()]
        side = min(x - width / 2, y - height / 2) * min(image.size)
        if side > 0.28 * min(image.size):
            yield image.crop((0, 0, round(side), round(side)))


def drawn_smears(count: int) -> Iterator[PIL.Image.Image]:
    for number in range(count):
        yield PIL.Image.fromarray(synthetic_smears.draw_smear(number % 2, number))


def sets(source: Material, count: int) -> dict[str, Iterable[PIL.Image.Image]]:
    def some(images: Iterable) -> list:
        chosen = list(images)
        source.random.shuffle(chosen)
        return chosen[:count]

    return {
        "own: val of the training set": map(material.load, some(source.cells(HELD))),
        "own: other images of that laboratory": map(material.load, some(source.other_cells())),
        "own laboratory, red cells only": some(red_cells_at_home(source)),
        "own laboratory and another, off center": source.off_center(HELD, count),
        "own laboratory, out of focus": source.blurred(HELD, count),
        "white cells of another laboratory": some(white_cells(source)),
        "red cells of another laboratory": source.red_cells(HELD, count),
        "fields of red cells": map(material.load, some(source.red_fields(HELD))),
        "tissue": source.tissue(HELD, count),
        "photographs": source.photographs(HELD, count),
        "drawings, text, plots": source.drawings(HELD, count),
        "synthetic smears (Data.py Demo)": drawn_smears(count),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with pbc, pbc7, bccd, chula, slides")
    parser.add_argument("--photos", type=pathlib.Path, nargs="+", required=True, help="folders with photographs")
    parser.add_argument("--model", default="Model/WhiteCells/WhiteCells.json", help="model card")
    parser.add_argument("--images", type=int, default=300, help="images of each kind (default: 300)")
    options = parser.parse_args(arguments)
    card = model_card.load_model_card(PROJECT / options.model, cell_types=True)
    photos = [path for folder in options.photos for path in sorted(folder.rglob("*.jp*g"))]
    print("| images | number | by color | by the image check | flagged | 95 % interval |\n|---|---|---|---|---|---|")
    for name, images in sets(Material(options.data, photos, []), options.images).items():
        found = [review(image, card) for image in images]
        color, check, flagged = (sum(column) for column in zip(*found, strict=True))
        low, high = wilson.wilson_interval(flagged / len(found), len(found))
        print(
            f"| {name} | {len(found)} | {color / len(found):.3f} | {check / len(found):.3f} | "
            f"{flagged / len(found):.3f} | {low:.3f} to {high:.3f} |",
            flush=True,
        )
    return 0


def review(image: PIL.Image.Image, card: model_card.ModelCard) -> tuple[bool, bool, bool]:
    """Return whether the colors, the image check, and anything at all flags an image."""
    square = network_input.central_square(image, card.input_spec.crop)
    view, small = numpy.asarray(square.network_picture(card.size)), square.small()
    if not content_check.has_content(small):
        return False, True, True
    features = image_review.measure_small(small, card)
    found = image_review.review_image(view, card, features)
    limit = (card.image_check or {}).get("limit", image_check.DEFAULT_LIMIT)
    return bool(found.remark), bool(image_check.check_image(view, limit, features)), bool(found.reasons)


if __name__ == "__main__":
    sys.exit(main())
