"""Synthetic smears, so that everything runs where no data set is at hand; no medical data.

What tells the classes apart is drawn after the FAB description of lymphocytes and lymphoblasts (Bennett et al. 1976,
British Journal of Haematology 33:451): a mature lymphocyte has a small, round nucleus of dense, clumped chromatin; a
blast is larger, its nucleus fills nearly all of the cell, its chromatin is fine, and nucleoli show in it.
"""

import concurrent.futures
import io
import logging

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from Classes import Helpers
from Classes.common import atomic_files, input_files
from Classes.common.errors import DataError
from Classes.dataset import discovery

SMEAR_SIDE = 300
N_PER_CLASS = 120
N_TEST_IMAGES = 20

log = logging.getLogger("Data")


def create_demo_dataset(configuration):
    """Draw `PER_CLASS` smears a class into DatasetDir and `TESTS` into TestImagePath.

    Args:
      configuration: Configuration; the same RandomSeed draws the same files.
    Returns:
      exit code 0.
    Raises:
      DataError: there are images that are not ours.
    """
    for path in _images(configuration):
        if not path.name.startswith(discovery.SYNTHETIC_PREFIX):
            raise DataError(
                f"{path}: an image that is not synthetic. Synthetic smears are drawn only if there is no other image",
                code="synthetic_and_real",
            )
    data = configuration.path("DatasetDir")
    work = []
    for positive in (0, 1):
        for number in range(1, N_PER_CLASS + N_TEST_IMAGES // 2 + 1):
            folder = data / str(positive) if number <= N_PER_CLASS else configuration.path("TestImagePath")
            work.append((folder / f"{discovery.SYNTHETIC_PREFIX}{number:04d}_{positive}.jpg", positive, number))

    def one(path, positive, number):
        image = PIL.Image.fromarray(draw_smear(bool(positive), [configuration["RandomSeed"], positive, number]))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=92)
        atomic_files.write_atomic(path, content.getvalue())

    with (
        atomic_files.folder_lock(data),
        concurrent.futures.ThreadPoolExecutor(configuration.workers) as pool,
    ):
        for folder in {path.parent for path, *_ in work}:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_files.remove_stale_temp_files(folder)
        drawn = [pool.submit(one, *each) for each in work]
        for each in Helpers.progress(drawn, desc="Smears", unit="image"):
            each.result()
    log.info("Drew %d synthetic smears: they show how to use the toolkit and teach nothing about blood.", len(work))
    log.info("Next: python3 Data.py")
    return 0


def remove_demo_dataset(configuration):
    """Remove what `run` has drawn, and nothing else; exit code 0."""
    found = [path for path in _images(configuration) if path.name.startswith(discovery.SYNTHETIC_PREFIX)]
    for path in found:
        path.unlink()
    log.info("Removed %d synthetic smears.", len(found))
    return 0


def _images(configuration):
    """The images below the data folder and the test folder; captured ones, which have no class yet, do not count."""
    found = []
    for key in ("DatasetDir", "TestImagePath"):
        found += input_files.walk(configuration, configuration.path(key), [configuration.path("CaptureDir")])[0]
    return found


def draw_smear(blast, seed):
    """One smear with one white cell.

    Background, stain, magnification, place and neighbours vary alike in both classes, so that only the cell tells
    them apart.

    Args:
      blast: a lymphoblast, else a mature lymphocyte.
      seed: what numpy.random.default_rng takes; the same seed draws the same smear.
    Returns:
      uint8 [SIDE, SIDE, 3], RGB.
    """
    generator = numpy.random.default_rng(seed)
    scale = generator.uniform(0.85, 1.15)
    image = PIL.Image.new("RGB", (SMEAR_SIDE, SMEAR_SIDE), _colour(generator.normal([240, 226, 218], 7)))
    stain = generator.normal([205, 152, 148], 8)
    for _ in range(generator.integers(12, 22)):
        _red_cell(image, stain + generator.normal(0, 3), scale, generator)
    for _ in range(generator.integers(0, 4)):
        platelet = _outline(generator.uniform(0, SMEAR_SIDE, 2), generator.uniform(4, 8) * scale, 0.1, generator)
        _draw_shape(image, platelet, generator.normal([150, 105, 170], 8))
    _white_cell(image, blast, scale, generator)
    image = image.filter(PIL.ImageFilter.GaussianBlur(generator.uniform(0.6, 1.3)))
    noise = generator.standard_normal((SMEAR_SIDE, SMEAR_SIDE, 1), dtype="float32") * 3
    pixels = numpy.asarray(image) * numpy.float32(generator.uniform(0.9, 1.05)) + noise
    return pixels.round().clip(0, 255).astype("uint8")


def _red_cell(image, colour, scale, generator):
    """A disc without nucleus, paler towards its middle."""
    outline = _outline(generator.uniform(-10, SMEAR_SIDE + 10, 2), generator.uniform(27, 34) * scale, 0.03, generator)
    _draw_shape(image, outline, colour - 12)
    pallor, depth = generator.uniform(0.35, 0.6), generator.uniform(0.8, 1)
    for step in numpy.linspace(0, 1, 8):
        shade = colour + (numpy.array([238, 205, 195]) - colour) * step * depth
        _draw_shape(image, outline, shade, 0.93 - (0.93 - pallor) * step)


def _white_cell(image, blast, scale, generator):
    centre = SMEAR_SIDE / 2 + generator.uniform(-30, 30, 2)
    cell = scale * (generator.uniform(50, 70) if blast else generator.uniform(40, 54))
    share = generator.uniform(0.84, 0.93) if blast else generator.uniform(0.58, 0.74)
    cytoplasm = generator.normal([158, 164, 212], 8)
    outline = _outline(centre, cell, 0.05, generator)
    _draw_shape(image, outline, cytoplasm - 18)
    _draw_shape(image, outline, _texture(cytoplasm, 6, 5, generator), 0.95)
    middle = centre + generator.uniform(-1, 1, 2) * cell * (1 - share) * 0.6
    nucleus = _outline(middle, cell * share, 0.06 if blast else 0.03, generator)
    # Fine chromatin against coarse, dark clumps.
    base = generator.normal([116, 72, 152] if blast else [84, 50, 126], 8)
    _draw_shape(image, nucleus, base - 20)
    _draw_shape(image, nucleus, _texture(base, 3 if blast else 10, 9 if blast else 16, generator), 0.95)
    if blast:
        for _ in range(generator.integers(1, 4)):
            place = middle + generator.uniform(-0.45, 0.45, 2) * cell * share
            _draw_shape(image, _outline(place, generator.uniform(5, 8) * scale, 0.08, generator), base + 30)


def _outline(centre, radius, roughness, generator):
    """A nearly round shape: its centre and float64 [72, 2], points around it; `roughness` is its waves' size."""
    angles = numpy.linspace(0, 2 * numpy.pi, 72, endpoint=False)
    waves = sum(
        generator.normal(0, roughness / order) * numpy.cos(order * angles + generator.uniform(0, 6))
        for order in (2, 3, 4, 5)
    )
    return centre, (radius * (1 + waves) * numpy.stack([numpy.cos(angles), numpy.sin(angles)])).T


def _draw_shape(image, outline, content, size=1.0):
    """Fill a shape, drawn `size` times as large, with a colour or a picture."""
    centre, points = outline
    corners = [tuple(point) for point in (centre + points * size).tolist()]
    if isinstance(content, PIL.Image.Image):
        mask = PIL.Image.new("L", image.size)
        PIL.ImageDraw.Draw(mask).polygon(corners, fill=255)
        image.paste(content, mask=mask)
    else:
        PIL.ImageDraw.Draw(image).polygon(corners, fill=_colour(content))


def _texture(base, size, depth, generator):
    """A picture of one colour with random clumps, `size` pixels wide and `depth` levels deep."""
    coarse = generator.standard_normal((SMEAR_SIDE // size + 2, SMEAR_SIDE // size + 2), dtype="float32")
    noise = PIL.Image.fromarray(coarse).resize((SMEAR_SIDE, SMEAR_SIDE), PIL.Image.Resampling.BICUBIC)
    pixels = base.astype("float32") + numpy.asarray(noise)[..., None] * depth
    return PIL.Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def _colour(values):
    return tuple(int(value) for value in numpy.clip(values, 0, 255))
