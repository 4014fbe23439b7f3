"""Training images of the cell finder: photographs put together, cells pasted alone and in clumps, artifacts, colors.

Cutting cells out and pasting them is after Dwibedi et al., Cut, Paste and Learn (ICCV 2017); putting parts of several
photographs into one image is the mosaic of YOLOv4 (Bochkovskiy et al. 2020).
"""

import dataclasses
import itertools

import numpy
import PIL.Image
import scipy.ndimage

from Classes.training import finder_artifacts, finder_augmentation
from Classes.training.finder_sources import RED, WHITE, Photograph

# µm per pixel at which the network works: a white cell is 20 to 40 pixels wide.
WORKING_MICRONS = 0.4

# If a smaller part of a cell than this is in the image, it may be found or not.
LEAST_KNOWN = 0.45

# Share of images that are magnified so much that nothing should be found in them: the finder tries several scales, and
# must not take large red cells for white ones. White cells may be found or not.
MAGNIFIED_SHARE = 0.08

# Typical diameter of a white cell in µm.
WHITE_MICRONS = 13.0


@dataclasses.dataclass(frozen=True)
class Sources:
    """The photographs to compose from; each list may be empty, but not all."""

    fields: list[Photograph]
    cells: list[Photograph]
    red_fields: list[Photograph]


@dataclasses.dataclass
class Canvas:
    """An image in the making.

    Attributes:
      image: float32 [S, S, 3], 0 to 255.
      boxes: list of [center x, center y, width, height, kind, weight]; a weight of 0 asks for no answer there.
      red_known: bool [S, S], False where red cells may be that are not among the boxes.
      microns: µm per pixel.
    """

    image: numpy.ndarray
    boxes: list[list[float]]
    red_known: numpy.ndarray
    microns: float


def compose(
    rng: numpy.random.Generator, sources: Sources, side: int
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return one training image.

    Args:
      rng: random generator, which alone decides the image.
      sources: Sources.
      side: of the image in pixels.
    Returns:
      (uint8 [side, side, 3], float32 [N, 6] boxes, bool [side, side] red_known); see Canvas.
    """
    magnified = rng.random() < MAGNIFIED_SHARE
    ratio = float(numpy.exp(rng.uniform(1, 1.6) if magnified else numpy.clip(rng.normal(0, 0.42), -0.85, 0.85)))
    fill = rng.uniform(150, 255) * rng.uniform(0.85, 1, 3)
    canvas = Canvas(
        numpy.broadcast_to(fill.astype("float32"), (side, side, 3)).copy(),
        [],
        numpy.ones((side, side), bool),
        WORKING_MICRONS / ratio,
    )
    kind = rng.random()
    if kind < 0.5 and sources.fields:
        _mosaic(rng, canvas, sources)
    else:
        _background(rng, canvas, sources)
        if rng.random() < 0.75 and (sources.cells or sources.fields):
            _paste_cells(rng, canvas, sources)
    if magnified:
        for box in canvas.boxes:
            box[5] = 0.0
    diameter = WHITE_MICRONS / canvas.microns
    image = finder_artifacts.draw_artifacts(rng, canvas.image, diameter)
    image = finder_augmentation.distort_colors(rng, image, diameter)
    image = finder_artifacts.draw_marks(rng, image, diameter)
    if rng.random() < 0.4:
        image = finder_augmentation.compress(image, int(rng.integers(25, 96)))
    boxes = numpy.array(canvas.boxes, "float32").reshape(-1, 6)
    return image, boxes, canvas.red_known


def choose(rng: numpy.random.Generator, sources: Sources, shares: tuple[float, float, float]) -> Photograph:
    """Return a random field, single cell or red-cell field; `shares` are their probabilities, 0 for an empty list."""
    lists = [sources.fields, sources.cells, sources.red_fields]
    weights = numpy.array([share * bool(group) for share, group in zip(shares, lists, strict=True)])
    if not weights.any():
        weights = numpy.array([float(bool(group)) for group in lists])
    group = lists[int(rng.choice(3, p=weights / weights.sum()))]
    return group[int(rng.integers(len(group)))]


def _mosaic(rng: numpy.random.Generator, canvas: Canvas, sources: Sources) -> None:
    """Fill the canvas with parts of one to four photographs."""
    side = len(canvas.image)
    columns = [0, side] if rng.random() < 0.4 else [0, int(rng.uniform(0.3, 0.7) * side), side]
    rows = [0, side] if rng.random() < 0.4 else [0, int(rng.uniform(0.3, 0.7) * side), side]
    # Neighbors come from one laboratory more often than not.
    shares = (0.75, 0.25, 0.1) if rng.random() < 0.7 else (0.3, 0.6, 0.1)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            place(rng, canvas, choose(rng, sources, shares), (left, top, right, bottom))


def _background(rng: numpy.random.Generator, canvas: Canvas, sources: Sources) -> None:
    """Fill the canvas with red cells, or leave it plain."""
    side = len(canvas.image)
    if rng.random() < 0.85:
        place(rng, canvas, choose(rng, sources, (0.1, 0.15, 0.75)), (0, 0, side, side))


def place(
    rng: numpy.random.Generator, canvas: Canvas, photograph: Photograph, region: tuple[int, int, int, int]
) -> None:
    """Put a part of a photograph, turned and scaled at random, into a region of the canvas.

    Args:
      rng: random generator.
      canvas: Canvas, changed.
      photograph: Photograph.
      region: left, top, right, bottom in pixels.
    """
    factor = photograph.microns / canvas.microns * rng.uniform(0.92, 1.08)
    pixels, boxes = _scale(photograph, factor)
    pixels, boxes = turn(pixels, boxes, int(rng.integers(8)))
    left, top, right, bottom = region
    # Where the photograph starts, relative to the region: inside if it is smaller, outside if it is larger.
    offset = [
        int(rng.uniform(min(0, room - size), max(0, room - size)))
        for room, size in ((right - left, pixels.shape[1]), (bottom - top, pixels.shape[0]))
    ]
    x0, y0 = left + max(0, offset[0]), top + max(0, offset[1])
    x1, y1 = min(right, left + offset[0] + pixels.shape[1]), min(bottom, top + offset[1] + pixels.shape[0])
    sx, sy = max(0, -offset[0]), max(0, -offset[1])
    canvas.image[y0:y1, x0:x1] = pixels[sy : sy + y1 - y0, sx : sx + x1 - x0]
    canvas.red_known[y0:y1, x0:x1] = photograph.red_known
    boxes[:, 0] += x0 - sx
    boxes[:, 1] += y0 - sy
    canvas.boxes += clip_boxes(boxes, (x0, y0, x1, y1))


def clip_boxes(boxes: numpy.ndarray, region: tuple[int, int, int, int]) -> list[list[float]]:
    """Return the boxes cut to a region, with their weights; see Canvas."""
    left, top, right, bottom = region
    found = []
    for x, y, width, height, kind in boxes:
        x0, x1 = max(left, x - width / 2), min(right, x + width / 2)
        y0, y1 = max(top, y - height / 2), min(bottom, y + height / 2)
        if x1 <= x0 or y1 <= y0:
            continue
        visible = (x1 - x0) * (y1 - y0) / (width * height)
        # A sliver of a white cell is a dark crescent: neither a cell nor background.
        weight = 1.0 if visible >= LEAST_KNOWN else 0.0
        if visible >= 0.02:
            found.append([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, kind, weight])
    return found


def turn(pixels: numpy.ndarray, boxes: numpy.ndarray, way: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return pixels and boxes mirrored (way >= 4) and turned by `way % 4` quarters."""
    boxes = boxes.copy()
    if way >= 4:
        pixels = pixels[:, ::-1]
        boxes[:, 0] = pixels.shape[1] - boxes[:, 0]
    for _ in range(way % 4):
        # Counterclockwise: (x, y) comes to (y, width - x).
        boxes = boxes[:, [1, 0, 3, 2, 4]]
        boxes[:, 1] = pixels.shape[1] - boxes[:, 1]
        pixels = numpy.rot90(pixels)
    return pixels, boxes


def _scale(photograph: Photograph, factor: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    height, width = photograph.pixels.shape[:2]
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    kind = PIL.Image.Resampling.BOX if factor < 0.7 else PIL.Image.Resampling.BILINEAR
    pixels = numpy.asarray(PIL.Image.fromarray(photograph.pixels).resize(size, kind))
    boxes = photograph.boxes.copy()
    boxes[:, [0, 2]] *= size[0] / width
    boxes[:, [1, 3]] *= size[1] / height
    return pixels, boxes


def _paste_cells(rng: numpy.random.Generator, canvas: Canvas, sources: Sources) -> None:
    """Paste single cells and clumps of touching cells of one laboratory."""
    side = len(canvas.image)
    donors = sources.cells if sources.cells and (rng.random() < 0.7 or not sources.fields) else sources.fields
    taken: list[list[float]] = [box for box in canvas.boxes if box[4] == WHITE]
    glass = empty_glass(canvas.image) if rng.random() < 0.85 else None
    for _ in range(int(rng.integers(1, 4))):
        count = int(rng.integers(2, 8)) if rng.random() < 0.6 else 1
        clump: list[list[float]] = []
        for _ in range(count):
            cell = cut_out(rng, donors, canvas.microns, glass)
            if cell is None:
                continue
            pixels, mask = cell
            size = (mask.shape[1] + mask.shape[0]) / 2
            center = free_place(rng, clump, taken, size, side)
            if center is not None:
                box = paste(canvas, pixels, mask, center)
                if box is not None:
                    clump.append(box)
                    taken.append(box)


def free_place(
    rng: numpy.random.Generator, clump: list[list[float]], taken: list[list[float]], size: float, side: int
) -> numpy.ndarray | None:
    """Return a center that touches the clump, if it has cells, and hides no cell; None if none was found."""
    for _ in range(12):
        if clump:
            near = clump[int(rng.integers(len(clump)))]
            angle = rng.uniform(0, 2 * numpy.pi)
            reach = (near[2] + near[3] + 2 * size) / 4 * rng.uniform(0.78, 1.02)
            center = numpy.array(near[:2]) + reach * numpy.array([numpy.cos(angle), numpy.sin(angle)])
        else:
            center = rng.uniform(-0.05, 1.05, 2) * side
        distances = [
            numpy.hypot(center[0] - box[0], center[1] - box[1]) / ((box[2] + box[3] + 2 * size) / 4) for box in taken
        ]
        if not distances or min(distances) > 0.75:
            return center
    return None


def cut_out(
    rng: numpy.random.Generator, donors: list[Photograph], microns: float, glass: numpy.ndarray | None = None
) -> tuple[numpy.ndarray, numpy.ndarray] | None:
    """Return a random white cell at a scale.

    Args:
      rng: random generator.
      donors: photographs to choose from.
      microns: µm per pixel of the result.
      glass: color of the empty glass where the cell will be; None keeps its own.
    Returns:
      (float32 [h, w, 3], soft mask float32 [h, w]); None if the chosen cell is cut by the border.
    """
    photograph = donors[int(rng.integers(len(donors)))]
    if not len(photograph.white):
        return None
    x, y, width, height, _ = photograph.white[int(rng.integers(len(photograph.white)))]
    left, top, right, bottom = (round(v) for v in (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    if left < 1 or top < 1 or right > photograph.pixels.shape[1] - 1 or bottom > photograph.pixels.shape[0] - 1:
        return None
    pixels = photograph.pixels[top:bottom, left:right]
    background = empty_glass(photograph.pixels)
    factor = photograph.microns / microns * rng.uniform(0.75, 1.15)
    size = (max(6, round((right - left) * factor)), max(6, round((bottom - top) * factor)))
    pixels = numpy.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BOX)).astype("float32")
    mask = soft_mask(pixels, background)
    if glass is not None:
        pixels = pixels * (glass / background).astype("float32")
    way = int(rng.integers(8))
    pixels, mask = numpy.rot90(pixels, way % 4), numpy.rot90(mask, way % 4)
    return (pixels[:, ::-1], mask[:, ::-1]) if way >= 4 else (pixels, mask)


def empty_glass(image: numpy.ndarray) -> numpy.ndarray:
    """Return the color of the glass without cells, float [3]: the bright end, which is not sensitive to reflections."""
    return numpy.percentile(image[::4, ::4].reshape(-1, 3), 85, axis=0) + 1


def soft_mask(pixels: numpy.ndarray, background: numpy.ndarray) -> numpy.ndarray:
    """Return which part of a box is the cell in its middle: what differs from the background, within an ellipse.

    Args:
      pixels: float32 [h, w, 3] of the box.
      background: color of the empty glass.
    Returns:
      float32 [h, w], 0 to 1.
    """
    height, width = pixels.shape[:2]
    rows, columns = numpy.mgrid[:height, :width].astype("float32")
    distance = numpy.hypot((columns + 0.5) / width - 0.5, (rows + 0.5) / height - 0.5) * 2
    ellipse = numpy.clip((1.06 - distance) * min(height, width) / 4, 0, 1)
    stained = scipy.ndimage.gaussian_filter(numpy.abs(pixels - background).max(axis=-1), 0.7) > 14
    stained = scipy.ndimage.binary_fill_holes(stained | (distance < 0.5))
    edge = scipy.ndimage.gaussian_filter(stained.astype("float32"), 0.6)
    return (ellipse * edge).astype("float32")


def paste(canvas: Canvas, pixels: numpy.ndarray, mask: numpy.ndarray, center: numpy.ndarray) -> list[float] | None:
    """Paste a cell; add its box to the canvas and return it; None if too little of it would be visible."""
    side = len(canvas.image)
    height, width = mask.shape
    left, top = round(float(center[0]) - width / 2), round(float(center[1]) - height / 2)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(side, left + width), min(side, top + height)
    if x1 <= x0 or y1 <= y0 or (x1 - x0) * (y1 - y0) < LEAST_KNOWN * width * height:
        return None
    alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    part = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    canvas.image[y0:y1, x0:x1] = canvas.image[y0:y1, x0:x1] * (1 - alpha) + part * alpha
    for box in canvas.boxes:
        # A red cell under a white one is not to be found.
        if box[4] == RED and abs(box[0] - center[0]) < 0.4 * width and abs(box[1] - center[1]) < 0.4 * height:
            box[5] = 0.0
    [box] = clip_boxes(numpy.array([[left + width / 2, top + height / 2, width, height, WHITE]]), (0, 0, side, side))
    canvas.boxes.append(box)
    return box
