"""Synthetic smears, so that everything runs where no data set is at hand; no medical data.

What tells the classes apart is drawn after the FAB description of lymphocytes and lymphoblasts (Bennett et al. 1976,
British Journal of Haematology 33:451): a mature lymphocyte has a small, round nucleus of dense, clumped chromatin; a
blast is larger, its nucleus fills nearly all of the cell, its chromatin is fine, and nucleoli show in it.
"""

import logging

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from Classes import Files
from Classes.Errors import DataError

PREFIX = "Synthetic_"
SIDE = 300
PER_CLASS = 120
TESTS = 20

log = logging.getLogger("Data")


def run(configuration):
    """Draw `PER_CLASS` smears a class into DatasetDir and `TESTS` into TestImagePath.

    Args:
      configuration: Configuration; the same RandomSeed draws the same files.
    Returns:
      exit code 0.
    Raises:
      DataError: there are images that are not ours.
    """
    folders = _folders(configuration)
    endings = tuple(configuration["ValidIType"])
    for folder in folders.values():
        real = [path for path in folder.glob("*") if path.name.endswith(endings) and not path.name.startswith(PREFIX)]
        if real:
            raise DataError(f"{folder}: holds images, such as {real[0].name}; synthetic smears go where there are none")
    seed = configuration["RandomSeed"]
    for positive in (0, 1):
        for number in range(PER_CLASS + TESTS // 2):
            folder = folders[str(positive)] if number < PER_CLASS else folders["Test"]
            path = folder / f"{PREFIX}{number:04d}_{positive}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with Files.replacing(path) as temporary:
                PIL.Image.fromarray(draw(bool(positive), [seed, positive, number])).save(temporary, "PNG")
    log.info(
        "Drew %d synthetic smears; they show how to use the toolkit and teach it nothing about blood.",
        2 * PER_CLASS + TESTS,
    )
    log.info("Next: python3 Data.py")
    return 0


def remove(configuration):
    """Remove what `run` has drawn, and nothing else; exit code 0."""
    found = [path for folder in _folders(configuration).values() for path in folder.glob(f"{PREFIX}*")]
    for path in found:
        path.unlink()
    log.info("Removed %d synthetic smears.", len(found))
    return 0


def _folders(configuration):
    data = configuration.path("DatasetDir")
    return {"0": data / "0", "1": data / "1", "Test": configuration.path("TestImagePath")}


def draw(blast, seed):
    """One smear with one white cell.

    Args:
      blast: a lymphoblast, else a mature lymphocyte.
      seed: what numpy.random.default_rng takes; the same seed draws the same smear.
    Returns:
      uint8 [SIDE, SIDE, 3], RGB.
    """
    generator = numpy.random.default_rng(seed)
    plasma = generator.normal([238, 226, 224], 5)
    image = PIL.Image.new("RGB", (SIDE, SIDE), _colour(plasma))
    for _ in range(generator.integers(9, 16)):
        _red_cell(image, generator)
    _white_cell(image, blast, generator)
    image = image.filter(PIL.ImageFilter.GaussianBlur(generator.uniform(0.6, 1.4)))
    pixels = numpy.asarray(image) * generator.uniform(0.9, 1.05) + generator.normal(0, 3, (SIDE, SIDE, 3))
    return pixels.round().clip(0, 255).astype("uint8")


def _red_cell(image, generator):
    """A disc, paler in its middle."""
    canvas = PIL.ImageDraw.Draw(image)
    centre = generator.uniform(0, SIDE, 2)
    radius = generator.uniform(26, 34)
    colour = generator.normal([214, 150, 150], 6)
    canvas.ellipse(_box(centre, radius), _colour(colour))
    for share in (0.55, 0.45, 0.35):
        colour = colour + (255 - colour) * 0.18
        canvas.ellipse(_box(centre, radius * share), _colour(colour))


def _white_cell(image, blast, generator):
    centre = SIDE / 2 + generator.uniform(-25, 25, 2)
    cell = generator.uniform(56, 80) if blast else generator.uniform(42, 58)
    share = generator.uniform(0.82, 0.93) if blast else generator.uniform(0.6, 0.75)
    cytoplasm = generator.normal([170, 180, 222], 7)
    image.paste(_colour(cytoplasm), mask=_blob(centre, cell, 0.05, generator))
    offset = generator.uniform(-1, 1, 2) * cell * (1 - share) * 0.6
    nucleus = _blob(centre + offset, cell * share, 0.09 if blast else 0.03, generator)
    base = generator.normal([122, 78, 160], 7) if blast else generator.normal([88, 54, 130], 7)
    image.paste(PIL.Image.fromarray(_chromatin(base, blast, generator)), mask=nucleus)
    if blast:
        canvas = PIL.ImageDraw.Draw(image)
        for _ in range(generator.integers(1, 4)):
            place = centre + offset + generator.uniform(-0.45, 0.45, 2) * cell * share
            canvas.ellipse(_box(place, generator.uniform(5, 9)), _colour(base + 28))


def _blob(centre, radius, roughness, generator):
    """A nearly round mask."""
    angles = numpy.linspace(0, 2 * numpy.pi, 72, endpoint=False)
    waves = sum(
        generator.normal(0, roughness / order) * numpy.cos(order * angles + generator.uniform(0, 6))
        for order in (2, 3, 4)
    )
    radii = radius * (1 + waves)
    points = numpy.stack([centre[0] + radii * numpy.cos(angles), centre[1] + radii * numpy.sin(angles)], 1)
    mask = PIL.Image.new("L", (SIDE, SIDE))
    PIL.ImageDraw.Draw(mask).polygon([tuple(point) for point in points.tolist()], fill=255)
    return mask


def _chromatin(base, blast, generator):
    """Grain of the nucleus, uint8 [SIDE, SIDE, 3]: fine in a blast, in coarse clumps in a mature cell."""
    grain = 4 if blast else 12
    coarse = generator.normal(0, 1, (SIDE // grain + 2, SIDE // grain + 2)).astype("float32")
    noise = PIL.Image.fromarray(coarse).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)
    pixels = base + numpy.asarray(noise)[..., None] * (7 if blast else 15)
    return pixels.clip(0, 255).astype("uint8")


def _box(centre, radius):
    return [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]


def _colour(values):
    return tuple(int(value) for value in numpy.clip(values, 0, 255))
