"""The photographs from which the training images of the cell finder are composed, with boxes and scale."""

import csv
import dataclasses
import pathlib
import xml.etree.ElementTree
import zlib
from collections.abc import Iterator

import numpy
import PIL.Image
import scipy.ndimage

from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.imaging import decode

WHITE, RED = 0, 1

# Diameter of a human red cell in a smear, in µm: Bain, Blood Cells: A Practical Guide (5th edition, 2015) gives 7 to 8.
RED_CELL_MICRONS = 7.5

# The photographs are kept at these scales in memory, in µm per pixel: finer than the network's working scale.
KEPT_MICRONS, KEPT_CELL_MICRONS = 0.1, 0.2

# Scale of the single-cell images, whose red cells are 44 of 240 pixels wide.
SINGLE_CELL_MICRONS = 0.17

# Red-cell fields of Chula-RBC-12 with an unmarked white cell or the smudge of one, found by eye.
WITH_WHITE_CELLS = ("120", "206", "24", "402", "410", "638", "667", "687")


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A photograph whose cells are known.

    Attributes:
      name: of its file, without extension.
      pixels: uint8 [H, W, 3].
      microns: µm per pixel.
      boxes: float32 [N, 5]: center x, center y, width and height in pixels, WHITE or RED.
      red_known: whether the red cells are among the boxes.
    """

    name: str
    pixels: numpy.ndarray
    microns: float
    boxes: numpy.ndarray
    red_known: bool

    @property
    def white(self) -> numpy.ndarray:
        """The boxes of the white cells, float32 [N, 5]."""
        return self.boxes[self.boxes[:, 4] == WHITE]


def require_sources(configuration: Configuration) -> None:
    """Check that the configured folders hold what is read for training, and for measuring after it.

    Raises:
      DataError: `no_images`.
    """
    for split in ("train", "val"):
        _require(configuration.path("FinderFieldsDir") / f"{split}.txt")
    _require(configuration.path("FinderCellsDir") / "boxes.csv")
    folder = configuration.path("FinderRedCellsDir")
    if not any(folder.glob("*.jpg")):
        message = Message("{path}: contains no images. Set its folder in Required/Finder.json.", path=folder)
        raise DataError(message, "no_images")


def read_annotated_fields(folder: pathlib.Path, split: str) -> list[Photograph]:
    """Read fields with boxes in VOC XML.

    Args:
      folder: with `images`, `annotations` and lists of names, such as `train.txt`.
      split: name of the list.
    Raises:
      DataError: `no_images`.
    """
    names = _require(folder / f"{split}.txt").read_text(encoding="utf-8").split()
    return [read_annotated_field(folder, name) for name in names]


def read_annotated_field(folder: pathlib.Path, name: str, keep: float = KEPT_MICRONS) -> Photograph:
    """Read one field of `read_annotated_fields`, reduced to `keep` µm per pixel; 0 keeps its size."""
    pixels = decode.decode_image(folder / "images" / f"{name}.jpg")
    boxes = []
    root = xml.etree.ElementTree.parse(folder / "annotations" / f"{name}.xml").getroot()
    for found in root.iter("object"):
        left, top, right, bottom = (
            float(found.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        kind = {"WBC": WHITE, "RBC": RED}.get(found.findtext("name") or "")
        # A box of one pixel is a slip of the annotator.
        if kind is not None and min(right - left, bottom - top) > 8:
            boxes.append(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, kind))
    array = numpy.array(boxes, "float32").reshape(-1, 5)
    red = array[array[:, 4] == RED]
    # Cells at the border and overlapping ones have other sizes; the median of few is not reliable.
    diameter = float(numpy.median(red[:, 2:4])) if len(red) >= 4 else 103.0
    return _reduce(Photograph(name, pixels, RED_CELL_MICRONS / diameter, array, True), keep)


def read_single_cells(
    folder: pathlib.Path, split: str, limit: int, keep: float = KEPT_CELL_MICRONS
) -> list[Photograph]:
    """Read images of single cells with one box each.

    Args:
      folder: with `boxes.csv`: file, type, center and size as fractions.
      split: first folder of the files.
      limit: number of images; the same ones each time, and all types alike.
      keep: µm per pixel to which the images are reduced; 0 keeps their size.
    Raises:
      DataError: `no_images`.
    """
    with open(_require(folder / "boxes.csv"), encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith(f"{split}/")]
    by_type: dict[str, list[dict[str, str]]] = {}
    for row in sorted(rows, key=lambda row: zlib.crc32(row["file"].encode())):
        by_type.setdefault(row["type"], []).append(row)
    chosen = [row for rows in by_type.values() for row in rows[: max(1, limit // len(by_type))]]
    found = []
    for row in chosen:
        pixels = decode.decode_image(folder / row["file"])
        height, width = pixels.shape[:2]
        keys = ("x", "y", "width", "height")
        box = [float(row[key]) * side for key, side in zip(keys, (width, height) * 2, strict=True)]
        microns = SINGLE_CELL_MICRONS * 240 / width
        photograph = Photograph(row["file"], pixels, microns, numpy.array([[*box, WHITE]], "float32"), False)
        found.append(_reduce(photograph, keep))
    return found


def read_red_cell_fields(folder: pathlib.Path, held_back: bool) -> list[Photograph]:
    """Read fields without white cells whose red-cell centers are known, in text files beside the images.

    Args:
      folder: with `NAME.jpg` and `NAME.txt`; each line has x, y and a type.
      held_back: read the two fifths that are kept back for measuring, instead of the rest.
    """
    found = []
    for index, path in enumerate(sorted(folder.glob("*.jpg"))):
        if path.stem in WITH_WHITE_CELLS or (index % 5 in (1, 3)) != held_back:
            continue
        pixels = decode.decode_image(path)
        points = path.with_suffix(".txt")
        centers = numpy.loadtxt(points, ndmin=2)[:, :2] if points.is_file() else numpy.zeros((0, 2))
        diameter = red_cell_diameter(pixels, centers if len(centers) else None)
        if diameter is None:
            continue
        boxes = numpy.full((len(centers), 5), RED, "float32")
        boxes[:, :2], boxes[:, 2:4] = centers, diameter
        found.append(Photograph(path.stem, pixels, RED_CELL_MICRONS / diameter, boxes, len(centers) > 0))
    return found


def red_cell_diameter(pixels: numpy.ndarray, centers: numpy.ndarray | None = None) -> float | None:
    """Return the median diameter of red cells that touch no other one, in pixels; None if there are fewer than five.

    Args:
      pixels: uint8 [H, W, 3]; the cells are darker in green than the background.
      centers: x and y of all red cells; None: every round spot counts as one.
    """
    green = scipy.ndimage.gaussian_filter(pixels[..., 1].astype("float32"), 1)
    if green.max() - green.min() < 8:
        return None
    labels, count = scipy.ndimage.label(scipy.ndimage.binary_fill_holes(green < otsu_threshold(green)))
    areas = numpy.bincount(labels.ravel(), minlength=count + 1)
    border = numpy.unique(numpy.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    alone = numpy.ones(count + 1, bool)
    alone[border], alone[0] = False, False
    if centers is not None:
        spots = numpy.round(centers).astype(int).clip(0, numpy.array(labels.shape[::-1]) - 1)
        alone &= numpy.bincount(labels[spots[:, 1], spots[:, 0]], minlength=count + 1) == 1
    else:
        alone &= areas > 0.25 * numpy.percentile(areas[alone], 75) if alone.any() else False
    return float(numpy.median(2 * numpy.sqrt(areas[alone] / numpy.pi))) if alone.sum() >= 5 else None


def otsu_threshold(values: numpy.ndarray) -> float:
    """Return the value that separates two groups of values best (Otsu 1979)."""
    counts, edges = numpy.histogram(values, 128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = numpy.cumsum(counts)
    above = below[-1] - below
    sums = numpy.cumsum(counts * middles)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[int(numpy.nanargmax(between[:-1]))])


def _reduce(photograph: Photograph, keep: float) -> Photograph:
    factor = photograph.microns / keep if keep else 1
    if factor >= 1:
        return photograph
    height, width = photograph.pixels.shape[:2]
    size = (round(width * factor), round(height * factor))
    pixels = numpy.asarray(PIL.Image.fromarray(photograph.pixels).resize(size, PIL.Image.Resampling.BOX))
    boxes = photograph.boxes.copy()
    boxes[:, :4] *= factor
    return dataclasses.replace(photograph, pixels=pixels, microns=keep, boxes=boxes)


def _require(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        message = Message("{path}: no such file. Set its folder in Required/Finder.json.", path=path)
        raise DataError(message, "no_images")
    return path


def tuning_part(fields: list[Photograph]) -> Iterator[Photograph]:
    """Yield every fifth field, which is kept out of the training to choose settings."""
    yield from fields[::5]


def training_part(fields: list[Photograph]) -> Iterator[Photograph]:
    """Yield the fields that `tuning_part` does not."""
    for index, field in enumerate(fields):
        if index % 5:
            yield field
