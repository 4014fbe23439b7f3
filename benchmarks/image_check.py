"""How well the image check finds images that are not one centered, stained white cell.

python3 benchmarks/image_check.py --data FOLDER --photos FOLDER... --icons FOLDER...     # measure on the held-back half
python3 benchmarks/image_check.py ... --fit       # fit the check to the other half, and write its weights
python3 benchmarks/image_check.py ... --save OUT  # also keep the images that were judged wrongly

FOLDER has pbc, pbc7, bccd, chula and slides, see image_check_material.py. The held-back half shares no source
image with the other one, and has kinds of images that the other one lacks.
"""

import argparse
import concurrent.futures
import itertools
import json
import pathlib
import random
import sys
from collections.abc import Iterable, Iterator

import numpy
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageFilter

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks import image_check_material as material  # noqa: E402
from benchmarks.image_check_material import HELD, TUNE, Material  # noqa: E402
from Classes.common import outcome, wilson  # noqa: E402
from Classes.imaging import cell_features, content_check, image_check, network_input  # noqa: E402

SIDES = (100, 224, 299)
CELL = "cell"
REFUSED = "refused: shows nothing"

# What each kind of image is, for the fit.
REASONS = {
    "whole field": outcome.NOT_ONE_CELL,
    "several white cells": outcome.NOT_ONE_CELL,
    "tissue": outcome.NOT_ONE_CELL,
    "red cells only": outcome.NO_STAINED_NUCLEUS,
    "field of red cells": outcome.NO_STAINED_NUCLEUS,
    "off center": outcome.OFF_CENTER,
    "out of focus": outcome.OUT_OF_FOCUS,
    "photograph": outcome.NOT_A_PHOTOGRAPH,
    "drawing, text, plot": outcome.NOT_A_PHOTOGRAPH,
    "icon": outcome.NOT_A_PHOTOGRAPH,
    "fluorescence": outcome.NOT_A_PHOTOGRAPH,
    "empty": outcome.EMPTY,
}


def negatives(source: Material, half: str, count: int) -> dict[str, Iterator[PIL.Image.Image]]:
    return {
        "whole field": source.whole_fields(half),
        "several white cells": source.crowded(half, count),
        "tissue": source.tissue(half, count),
        "red cells only": source.red_cells(half, count),
        "field of red cells": map(material.load, source.red_fields(half)),
        "off center": source.off_center(half, count),
        "out of focus": source.blurred(half, count),
        "photograph": source.photographs(half, count),
        "drawing, text, plot": source.drawings(half, count),
        "icon": source.icons_and_screens(half, count),
        "fluorescence": source.fluorescence(half, count // 2),
        "empty": source.blank(half, count // 2),
    }


def varied(image: PIL.Image.Image, chance: random.Random, colors: float) -> PIL.Image.Image:
    """Return an image as another stain, camera, magnification or file would show it."""
    if chance.random() < 0.5:
        image = image.transpose(chance.choice(list(PIL.Image.Transpose)))
    pixels = numpy.asarray(image, "float32") / 255
    gains = numpy.array([chance.uniform(1 - colors, 1 + colors / 3) for _ in range(3)], "float32")
    pixels = (pixels * gains).clip(0, 1) ** chance.uniform(1 - colors, 1 + 2 * colors)
    if chance.random() < 0.3:
        matrix = numpy.eye(3) + numpy.random.default_rng(chance.randint(0, 10**6)).normal(0, colors / 3, (3, 3))
        pixels = (pixels @ (matrix / matrix.sum(axis=0)).astype("float32")).clip(0, 1)
    if chance.random() < 0.3:
        noise = numpy.random.default_rng(chance.randint(0, 10**6)).normal(0, chance.uniform(0, 0.02), pixels.shape)
        pixels = (pixels + noise).clip(0, 1)
    image = PIL.Image.fromarray((pixels * 255).astype("uint8"))
    return material.compress(image, chance.randint(60, 96)) if chance.random() < 0.5 else image


def zoomed(image: PIL.Image.Image, chance: random.Random) -> PIL.Image.Image:
    """Return a cell at another magnification, shifted a little, perhaps slightly soft."""
    pad = image.width // 6
    wide = PIL.Image.fromarray(numpy.pad(numpy.asarray(image), ((pad, pad), (pad, pad), (0, 0)), "reflect"))
    side = chance.uniform(0.7, 1.2) * image.width
    x, y = (wide.width / 2 + chance.uniform(-0.05, 0.05) * side for _ in range(2))
    found = wide.crop((round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2)))
    if chance.random() < 0.3:
        found = found.filter(PIL.ImageFilter.GaussianBlur(chance.uniform(0, 0.003) * found.width))
    return found


def seen(image: PIL.Image.Image, side: int = 299) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return an image as a network sees it, and as the check does."""
    square = network_input.central_square(image)
    return numpy.asarray(square.network_picture(side)), square.small()


def measured(views: tuple[numpy.ndarray, numpy.ndarray]) -> numpy.ndarray | None:
    """Return the features of an image, given as `seen`; None if it is refused because it shows nothing."""
    view, small = views
    return cell_features.measure(view, small) if content_check.has_content(small) else None


def features(views: Iterable[tuple[numpy.ndarray, numpy.ndarray]]) -> list[numpy.ndarray | None]:
    """Return `measured` of images, which are made a few at a time: all of them would not fit into memory."""
    found: list[numpy.ndarray | None] = []
    views = iter(views)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        while some := list(itertools.islice(views, 500)):
            found += pool.map(measured, some, chunksize=16)
    return found


def tuning_images(source: Material, count: int, chance: random.Random) -> Iterator[tuple[PIL.Image.Image, str]]:
    for path in source.cells(TUNE)[::3]:
        image = material.load(path)
        yield image, CELL
        yield varied(zoomed(image, chance), chance, 0.25), CELL
    for image in source.centered(TUNE, 2):
        yield image, CELL
        yield varied(image, chance, 0.25), CELL
    for kind, images in negatives(source, TUNE, count).items():
        for image in images:
            yield image, REASONS[kind]
            for _ in range(3 if kind in ("whole field", "field of red cells", "icon") else 1):
                yield varied(image, chance, 0.3), REASONS[kind]


def tuning_features(source: Material, count: int) -> tuple[numpy.ndarray, list[str]]:
    chance = random.Random(2)
    names: list[str] = []

    def views() -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
        for image, name in tuning_images(source, count, chance):
            names.append(name)
            yield seen(image, chance.choice(SIDES))

    found = features(views())
    kept = [(row, name) for row, name in zip(found, names, strict=True) if row is not None]
    return numpy.stack([row for row, _ in kept]), [name for _, name in kept]


def fit(source: Material, count: int) -> None:
    from sklearn import neural_network

    values, names = tuning_features(source, count)
    print({name: names.count(name) for name in sorted(set(names))})
    middle = numpy.median(values, axis=0)
    scale = numpy.maximum(values.std(axis=0), 1e-3)
    scaled = ((values - middle) / scale).clip(-image_check.CLIP, image_check.CLIP)
    kinds = [CELL, *(reason for reason in outcome.REASONS if reason in names)]
    model = neural_network.MLPClassifier(
        (32,), alpha=0.3, max_iter=300, random_state=1, early_stopping=True, tol=1e-5, n_iter_no_change=15
    )
    model.fit(scaled, [kinds.index(name) for name in names])
    layers = [
        {
            "weights": [" ".join(f"{value:.4g}" for value in row) for row in weights],
            "bias": " ".join(f"{value:.4g}" for value in bias),
        }
        for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)
    ]
    content = {
        "kinds": kinds,
        "middle": " ".join(f"{value:.4g}" for value in middle),
        "scale": " ".join(f"{value:.4g}" for value in scale),
        "layers": layers,
    }
    image_check.WEIGHTS.write_text(json.dumps(content, indent=1) + "\n")
    image_check.load_weights.cache_clear()


def measure(source: Material, count: int, save: pathlib.Path | None, limit: float) -> None:
    print(f"limit {limit:.4f}")
    known = [("real cells of the training laboratory, val", map(material.load, source.cells(HELD)))]
    known += [("real cells of the training laboratory, pbc", map(material.load, source.other_cells()))]
    known += [("centered crops of another laboratory", source.centered(HELD, 2))]
    for name, images in known:
        report(name, "flagged", list(images), limit, save, wanted=False)
    everything = [
        report(kind, "caught", list(images), limit, save, wanted=True)
        for kind, images in negatives(source, HELD, count).items()
    ]
    caught, total = (sum(column) for column in zip(*everything, strict=True))
    print(f"all images that are no cell: {rate(caught, total)} caught")


def rate(count: int, total: int) -> str:
    low, high = wilson.wilson_interval(count / total, total)
    return f"{count} of {total}, {count / total:.2%} (95 % interval {low:.2%} to {high:.2%})"


def report(
    name: str, word: str, images: list[PIL.Image.Image], limit: float, save: pathlib.Path | None, wanted: bool
) -> tuple[int, int]:
    found = features(seen(image) for image in images)
    rows = image_check.scores(
        numpy.stack([row if row is not None else 0 * image_check.load_weights().middle for row in found])
    )
    reasons = [
        (REFUSED,) if row is None else image_check.reasons_of(score, limit)
        for row, score in zip(found, rows, strict=True)
    ]
    flagged = [bool(each) for each in reasons]
    counts = {reason: sum(reason in each for each in reasons) for reason in sorted(set(itertools.chain(*reasons)))}
    print(f"{name}: {rate(sum(flagged), len(images))} {word} {counts}", flush=True)
    if save is not None:
        wrong = [number for number, flag in enumerate(flagged) if flag != wanted]
        folder = save / name.replace(" ", "_").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        for number in wrong[:60]:
            PIL.Image.fromarray(seen(images[number])[0]).save(folder / f"{number}_{rows[number][0]:.3f}.png")
    return sum(flagged), len(images)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--icons", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--save", type=pathlib.Path)
    options = parser.parse_args(arguments)
    found = [
        [
            path
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in (".png", ".jpg", ".jpeg")
        ]
        for folders in (options.photos, options.icons)
    ]
    if options.fit:
        fit(Material(options.data, *found, seed=1), options.count)
    source = Material(options.data, *found, seed=3)
    sample = random.Random(4).sample(source.cells(TUNE), 1000)
    found = features(seen(material.load(path)) for path in sample)
    reference = image_check.fit_reference([row for row in found if row is not None])
    limit = reference["limit"] if reference else image_check.DEFAULT_LIMIT
    measure(source, options.count, options.save, limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
