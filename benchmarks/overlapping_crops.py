"""How many overlapping crops of one picture Data.py finds, by how far one is shifted against the other.

python3 benchmarks/overlapping_crops.py CELLS --side 260            # images of one cell each
python3 benchmarks/overlapping_crops.py FIELDS --side 220 --fields  # photographs; windows around their white cells

Of each picture, one window is cropped around its middle and one beside it. The second one is also turned by any angle,
scaled by 0.9 to 1.1, half of the time mirrored, and saved as JPEG of quality 60; what lies beyond the picture gets the
color of its border. "candidates" have similar nuclei, "found" are those that the alignment confirms. The last line is
about all pairs of windows of two pictures, of which none should be found. --black cuts the cells out on black.
"""

import argparse
import io
import pathlib
import sys

import numpy
import PIL.Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.dataset import crop_descriptors, decode_task, overlapping_crops
from Classes.fields import finder
from Classes.imaging import decode

FINDER = pathlib.Path(__file__).resolve().parent.parent / "Model" / "Finder" / "Finder.json"

SHIFTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="pictures, at any depth")
    parser.add_argument("--side", type=int, required=True, help="side of the windows in pixels")
    parser.add_argument("--fields", action="store_true", help="windows around the white cells that the finder finds")
    parser.add_argument("--black", action="store_true", help="only a disc of each window is shown, on black")
    parser.add_argument("--pictures", type=int, default=100, help="largest number of pictures")
    options = parser.parse_args(arguments)
    paths = sorted(each for each in options.folder.rglob("*") if each.suffix.lower() in (".jpg", ".png", ".tif"))
    generator = numpy.random.default_rng(0)
    paths = [paths[number] for number in generator.permutation(len(paths))[: options.pictures]]
    middles = list(_middles_of_cells(paths, options.side) if options.fields else _middles(paths, options.side))
    print(f"{len(middles)} windows of {options.side} pixels")
    everything = [_window(image, middle, options.side, None, options.black) for image, middle in middles]
    ones = [crop_descriptors.describe(image) for image in everything]
    for shift in SHIFTS:
        angles = generator.uniform(0, 2 * numpy.pi, len(middles))
        moved = [
            (image, middle + shift * options.side * numpy.array([numpy.cos(angle), numpy.sin(angle)]))
            for (image, middle), angle in zip(middles, angles, strict=True)
        ]
        others = [_window(image, middle, options.side, generator, options.black) for image, middle in moved]
        pairs = crop_descriptors.candidates(ones, [crop_descriptors.describe(image) for image in others])
        right = [one for one, other in pairs if one == other]
        found = sum(_confirmed(everything[one], others[one]) for one in right)
        print(f"shift {shift:.2f}: {len(right) / len(ones):.2f} candidates, {found / len(ones):.2f} found")
    strange = crop_descriptors.candidates(ones)
    wrong = sum(_confirmed(everything[one], everything[other]) for one, other in strange)
    count = len(ones) * (len(ones) - 1) // 2
    print(f"{count:,} pairs of two pictures: {len(strange)} candidates, {wrong} found")
    return 0


def _middles(paths, side):
    """(image, middle) of pictures that show one cell; the middle as (x, y)."""
    for path in paths:
        image = decode.decode_image(path)
        if min(image.shape[:2]) >= side:
            yield image, numpy.array(image.shape[1::-1]) / 2


def _middles_of_cells(paths, side):
    """(image, middle) of the largest white cell of each field, if it is far enough from the border."""
    cell_finder = finder.CellFinder(FINDER)
    for path in paths:
        image = decode.decode_image(path)
        cells = cell_finder.find(image).cells
        for cell in sorted(cells, key=lambda cell: -cell.width * cell.height)[:1]:
            middle = numpy.array([cell.x, cell.y])
            if numpy.min([middle, image.shape[1::-1] - middle]) >= side / 2:
                yield image, middle


def _window(image, middle, side, generator, black):
    """uint8 [s, s, 3] as Data.py compares it; distorted if there is a generator."""
    border = numpy.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    turn = numpy.eye(2)
    if generator:
        angle, scale = generator.uniform(0, 2 * numpy.pi), generator.uniform(0.9, 1.1)
        turn = numpy.array([[numpy.cos(angle), -numpy.sin(angle)], [numpy.sin(angle), numpy.cos(angle)]]) / scale
        turn[:, 0] *= generator.choice([-1, 1])
    start = middle - turn @ (side / 2, side / 2)
    picture = PIL.Image.fromarray(image).transform(
        (side, side),
        PIL.Image.Transform.AFFINE,
        (*turn[0], start[0], *turn[1], start[1]),
        PIL.Image.Resampling.BICUBIC,
        fillcolor=tuple(int(each) for each in numpy.median(border, axis=0)),
    )
    if black:
        across, down = numpy.mgrid[:side, :side] - side / 2
        picture = PIL.Image.fromarray(numpy.where((numpy.hypot(across, down) < side * 0.4)[..., None], picture, 0))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60 if generator else 95)
    return decode.decode_thumbnail(file.getvalue(), decode_task.THUMBNAIL_SIDE)[1]


def _confirmed(one, other):
    if overlapping_crops.correlation(one, other) < overlapping_crops.SAME:
        return False
    return not overlapping_crops.is_round(one) and not overlapping_crops.is_round(other)


if __name__ == "__main__":
    sys.exit(main())
