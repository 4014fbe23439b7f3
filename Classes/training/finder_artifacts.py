"""Draw what looks like a white cell but is not one on training images: smudges, deposits, pen strokes, marks."""

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import scipy.ndimage

# Colors of stained nuclei, from which smudges and platelets take theirs.
_NUCLEI = numpy.array([[90, 40, 130], [70, 50, 150], [110, 60, 140], [60, 70, 160], [120, 50, 110]], "float32")


def draw_artifacts(rng: numpy.random.Generator, image: numpy.ndarray, size: float) -> numpy.ndarray:
    """Return the image with a random choice of artifacts.

    Args:
      rng: random generator.
      image: float32 [S, S, 3], 0 to 255.
      size: diameter of a white cell in pixels.
    """
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 12)):
            image = _spot(rng, image, size * rng.uniform(0.08, 0.3), rng.uniform(0.4, 1), rough=0.4)
    if rng.random() < 0.12:
        for _ in range(rng.integers(1, 4)):
            image = _spot(rng, image, size * rng.uniform(0.2, 0.6), rng.uniform(0.7, 1), rough=1.2, dark=True)
    if rng.random() < 0.18:
        image = _smudge(rng, image, size)
    if rng.random() < 0.12:
        image = _pen(rng, image, size)
    return image


def draw_marks(rng: numpy.random.Generator, image: numpy.ndarray, size: float) -> numpy.ndarray:
    """Return the image, in three of ten cases with marks as programs draw them after the photograph was taken.

    Args:
      rng: random generator.
      image: uint8 [S, S, 3].
      size: diameter of a white cell in pixels.
    """
    if rng.random() >= 0.3:
        return image
    for _ in range(rng.integers(1, 4)):
        kind = str(rng.choice(["arrow", "bar", "text", "frame"], p=[0.4, 0.25, 0.25, 0.1]))
        image = draw_mark(rng, image, kind, size).astype("uint8")
    return image


def draw_mark(rng: numpy.random.Generator, image: numpy.ndarray, kind: str, size: float) -> numpy.ndarray:
    """Return the image with one arrow, scale bar (with its length) or text, as annotation programs draw them.

    Args:
      rng: random generator.
      image: float32 [H, W, 3], 0 to 255.
      kind: "arrow", "bar", "text" or "frame".
      size: diameter of a white cell in pixels.
    """
    height, width = image.shape[:2]
    picture = PIL.Image.fromarray(image.astype("uint8"))
    draw = PIL.ImageDraw.Draw(picture)
    usual = rng.random() < 0.6
    color = tuple(map(int, _MARK_COLORS[rng.integers(len(_MARK_COLORS))] if usual else rng.integers(0, 256, 3)))
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    if kind == "arrow":
        angle, length = rng.uniform(0, 2 * numpy.pi), size * rng.uniform(0.5, 1.6)
        along = numpy.array([numpy.cos(angle), numpy.sin(angle)])
        across = numpy.array([-along[1], along[0]]) * length * rng.uniform(0.06, 0.3)
        tip = numpy.array([x, y])
        tail, neck = tip - along * length, tip - along * length * 0.4
        draw.polygon([tuple(point) for point in (tip, neck + across, neck - across)], fill=color)
        draw.line([tuple(tail), tuple(neck)], fill=color, width=max(1, round(length * rng.uniform(0.06, 0.25))))
    elif kind == "bar":
        length = size * rng.uniform(0.5, 2)
        draw.line([(x, y), (x + length, y)], fill=color, width=max(1, round(size * rng.uniform(0.04, 0.15))))
        _write(draw, (x, y + 2), rng.choice(["10 um", "20 um", "5um"]), color, size * rng.uniform(0.2, 0.5))
    elif kind == "frame":
        sides = size * rng.uniform(0.5, 2, 2)
        draw.rectangle([x, y, x + sides[0], y + sides[1]], outline=color, width=max(1, round(size * 0.06)))
    else:
        text = "".join(rng.choice(list("ABCDEFGHKLMX0123456789-. "), rng.integers(1, 12)))
        _write(draw, (x, y), text, color, size * rng.uniform(0.25, 1))
    return numpy.asarray(picture).astype("float32")


_MARK_COLORS = numpy.array(
    [[0, 0, 0], [255, 255, 255], [255, 255, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 200, 0], [40, 40, 120]]
)


def _write(draw: PIL.ImageDraw.ImageDraw, place: tuple, text: str, color: tuple, height: float) -> None:
    draw.text(place, str(text), fill=color, font=PIL.ImageFont.load_default(max(5, round(height))))


def _grid(image: numpy.ndarray, center: numpy.ndarray, reach: float) -> tuple[tuple[slice, slice], numpy.ndarray]:
    """Return (slices, float32 [2, h, w] distance from the center in pixels) of the part of the image within reach."""
    height, width = image.shape[:2]
    left, top = (int(max(0, value - reach)) for value in center)
    right, bottom = int(min(width, center[0] + reach + 1)), int(min(height, center[1] + reach + 1))
    rows, columns = numpy.mgrid[top:bottom, left:right].astype("float32")
    return (slice(top, bottom), slice(left, right)), numpy.stack([columns - center[0], rows - center[1]])


def _noise(rng: numpy.random.Generator, shape: tuple[int, ...], sigma: float) -> numpy.ndarray:
    """Return smooth noise of mean 0 and standard deviation 1."""
    values = scipy.ndimage.gaussian_filter(rng.standard_normal(shape, "float32"), sigma)
    return (values - values.mean()) / (values.std() + 1e-6)


def _blend(image: numpy.ndarray, where: tuple, alpha: numpy.ndarray, color: numpy.ndarray) -> numpy.ndarray:
    image[where] = image[where] * (1 - alpha[..., None]) + color * alpha[..., None]
    return image


def _spot(
    rng: numpy.random.Generator, image: numpy.ndarray, diameter: float, alpha: float, rough: float, dark: bool = False
) -> numpy.ndarray:
    """Draw a platelet or, if dark, a deposit of stain."""
    where, away = _grid(image, rng.uniform(0, image.shape[0], 2), diameter * 1.5)
    if 0 in away.shape[1:]:
        return image
    distance = numpy.hypot(*away) / (diameter / 2)
    edge = distance + rough * 0.4 * _noise(rng, distance.shape, max(0.5, diameter / 6))
    mask = 1 / (1 + numpy.exp(numpy.clip((edge - 1) * max(2.0, diameter / 2), -30, 30)))
    color = _NUCLEI[rng.integers(len(_NUCLEI))] * (rng.uniform(0.1, 0.7) if dark else rng.uniform(0.9, 1.5))
    return _blend(image, where, alpha * mask, color.clip(0, 255))


def _smudge(rng: numpy.random.Generator, image: numpy.ndarray, size: float) -> numpy.ndarray:
    """Draw a crushed nucleus: pale, streaky, without a border or cytoplasm."""
    where, away = _grid(image, rng.uniform(0, image.shape[0], 2), size * 1.6)
    if min(away.shape[1:]) < 4:
        return image
    angle, stretch = rng.uniform(0, numpy.pi), rng.uniform(1.2, 3)
    along = away[0] * numpy.cos(angle) + away[1] * numpy.sin(angle)
    across = -away[0] * numpy.sin(angle) + away[1] * numpy.cos(angle)
    radius = size * rng.uniform(0.35, 0.8)
    distance = numpy.hypot(along / stretch**0.5, across * stretch**0.5) / radius
    streaks = _noise(rng, distance.shape, 2) * 0.3 + _noise(rng, distance.shape, 5) * 0.4
    mask = numpy.exp(-((distance * (1 + 0.4 * streaks)) ** 2) * 1.5) * (1 + 0.35 * _noise(rng, distance.shape, 1))
    color = _NUCLEI[rng.integers(len(_NUCLEI))] * rng.uniform(1, 1.7)
    return _blend(image, where, (mask * rng.uniform(0.25, 0.7)).clip(0, 1), color.clip(0, 255))


def _pen(rng: numpy.random.Generator, image: numpy.ndarray, size: float) -> numpy.ndarray:
    """Draw a stroke of a pen, or a hair or pointer of the eyepiece."""
    side = image.shape[0]
    picture = PIL.Image.new("L", (side, side))
    start, angle = rng.uniform(-0.2, 1.2, 2) * side, rng.uniform(0, 2 * numpy.pi)
    points = [start]
    for _ in range(rng.integers(3, 12)):
        angle += rng.normal(0, 0.25)
        points.append(points[-1] + numpy.array([numpy.cos(angle), numpy.sin(angle)]) * side / 8)
    width = max(1, round(size * rng.choice([0.06, 0.15, 0.4, 1, 2])))
    PIL.ImageDraw.Draw(picture).line([tuple(point) for point in points], fill=255, width=width, joint="curve")
    mask = scipy.ndimage.gaussian_filter(numpy.asarray(picture).astype("float32") / 255, rng.uniform(0.5, 3))
    color = rng.choice([[20, 20, 30], [30, 30, 140], [20, 110, 60], [160, 30, 40], [60, 40, 110]]).astype("float32")
    return _blend(image, (slice(None), slice(None)), mask * rng.uniform(0.5, 1), color)
