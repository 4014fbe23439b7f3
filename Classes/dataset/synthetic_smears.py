"""Draw synthetic blood smears, so that all scripts can be tried without a data set; they have no medical meaning.

The classes differ as in the FAB description of lymphocytes and lymphoblasts (Bennett et al. 1976, British Journal of
Haematology 33:451): a mature lymphocyte has a small, round nucleus of dense, clumped chromatin; a blast is larger, its
nucleus fills nearly the whole cell, and its chromatin is fine with nucleoli.
"""

import io
import logging
import pathlib

import numpy
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from Classes.common import atomic_files, input_files, locks, logs, parallel, temp_files, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import discovery

SMEAR_SIDE = 300
N_PER_CLASS = 120
N_TEST_IMAGES = 20

log = logging.getLogger("Data")

# Center (x, y) and float64 [72, 2] points around it.
Outline = tuple[numpy.ndarray, numpy.ndarray]


def create_demo_dataset(configuration: Configuration) -> int:
    """Write N_PER_CLASS smears per class to DatasetDir and N_TEST_IMAGES to TestImagePath.

    Args:
      configuration: Configuration; the same RandomSeed gives the same files.
    Returns:
      exit code 0.
    Raises:
      DataError: `synthetic_and_real`: there are other images.
    """
    for path in _images(configuration):
        if not path.name.startswith(discovery.SYNTHETIC_PREFIX):
            raise DataError(
                Message(
                    "{path}: this image is not synthetic. Synthetic smears are created only if there are no "
                    "other images",
                    path=path,
                ),
                code="synthetic_and_real",
            )
    dataset = configuration.path("DatasetDir")
    work = []
    for positive in (0, 1):
        for number in range(1, N_PER_CLASS + N_TEST_IMAGES // 2 + 1):
            folder = dataset / str(positive) if number <= N_PER_CLASS else configuration.path("TestImagePath")
            work.append((folder / f"{discovery.SYNTHETIC_PREFIX}{number:04d}_{positive}.jpg", positive, number))

    def write(path: pathlib.Path, positive: int, number: int) -> None:
        image = PIL.Image.fromarray(draw_smear(bool(positive), [configuration["RandomSeed"], positive, number]))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=92)
        atomic_files.write_atomic(path, content.getvalue())

    with locks.folder_lock(dataset):
        for folder in {path.parent for path, *_ in work}:
            folder.mkdir(parents=True, exist_ok=True)
            temp_files.remove_stale_temp_files(folder)
        with logs.progress(total=len(work), desc=_("Smears"), unit="image") as bar:
            for _done in parallel.map_threads(write, work, configuration.workers):
                bar.update()
    log.info("Created %d synthetic smears. Use them to try the toolkit; they have no medical meaning.", len(work))
    log.info("Next: python3 Data.py")
    terminal.show_end(
        _("Created {count} computer-drawn practice images. They have no medical meaning.").format(count=len(work)),
        [(_("Images"), dataset)],
        "python3 Data.py",
    )
    return 0


def remove_demo_dataset(configuration: Configuration) -> int:
    """Remove the synthetic smears and nothing else; return exit code 0."""
    found = [path for path in _images(configuration) if path.name.startswith(discovery.SYNTHETIC_PREFIX)]
    for path in found:
        path.unlink()
    log.info("Removed %d synthetic smears.", len(found))
    terminal.show_end(_("Removed {count} computer-drawn practice images.").format(count=len(found)))
    return 0


def _images(configuration: Configuration) -> list[pathlib.Path]:
    """Return the images below the data folder and the test folder, without captured ones, which have no class yet."""
    found: list[pathlib.Path] = []
    for key in ("DatasetDir", "TestImagePath"):
        found += input_files.walk(configuration, configuration.path(key))[0]
    return found


def draw_smear(blast: bool, seed: int | list[int]) -> numpy.ndarray:
    """Draw a smear with one white cell.

    Background, stain, magnification, position and red cells vary equally in both classes, so that only the white cell
    differs.

    Args:
      blast: True for a lymphoblast, False for a mature lymphocyte.
      seed: for numpy.random.default_rng; the same seed gives the same image.
    Returns:
      uint8 [SMEAR_SIDE, SMEAR_SIDE, 3], RGB.
    """
    generator = numpy.random.default_rng(seed)
    scale = generator.uniform(0.85, 1.15)
    image = PIL.Image.new("RGB", (SMEAR_SIDE, SMEAR_SIDE), _color(generator.normal([240, 226, 218], 7)))
    stain = generator.normal([205, 152, 148], 8)
    for _number in range(generator.integers(12, 22)):
        _red_cell(image, stain + generator.normal(0, 3), scale, generator)
    for _number in range(generator.integers(0, 4)):
        platelet = _outline(generator.uniform(0, SMEAR_SIDE, 2), generator.uniform(4, 8) * scale, 0.1, generator)
        _draw_shape(image, platelet, generator.normal([150, 105, 170], 8))
    _white_cell(image, blast, scale, generator)
    image = image.filter(PIL.ImageFilter.GaussianBlur(generator.uniform(0.6, 1.3)))
    noise = generator.standard_normal((SMEAR_SIDE, SMEAR_SIDE, 1), dtype="float32") * 3
    pixels = numpy.asarray(image) * numpy.float32(generator.uniform(0.9, 1.05)) + noise
    return pixels.round().clip(0, 255).astype("uint8")


def _red_cell(image: PIL.Image.Image, color: numpy.ndarray, scale: float, generator: numpy.random.Generator) -> None:
    """Draw a disc without nucleus and with a pale center."""
    outline = _outline(generator.uniform(-10, SMEAR_SIDE + 10, 2), generator.uniform(27, 34) * scale, 0.03, generator)
    _draw_shape(image, outline, color - 12)
    pallor, depth = generator.uniform(0.35, 0.6), generator.uniform(0.8, 1)
    for step in numpy.linspace(0, 1, 8):
        shade = color + (numpy.array([238, 205, 195]) - color) * step * depth
        _draw_shape(image, outline, shade, 0.93 - (0.93 - pallor) * step)


def _white_cell(image: PIL.Image.Image, blast: bool, scale: float, generator: numpy.random.Generator) -> None:
    center = SMEAR_SIDE / 2 + generator.uniform(-30, 30, 2)
    cell = scale * (generator.uniform(50, 70) if blast else generator.uniform(40, 54))
    fraction = generator.uniform(0.84, 0.93) if blast else generator.uniform(0.58, 0.74)
    cytoplasm = generator.normal([158, 164, 212], 8)
    outline = _outline(center, cell, 0.05, generator)
    _draw_shape(image, outline, cytoplasm - 18)
    _draw_shape(image, outline, _texture(cytoplasm, 6, 5, generator), 0.95)
    middle = center + generator.uniform(-1, 1, 2) * cell * (1 - fraction) * 0.6
    nucleus = _outline(middle, cell * fraction, 0.06 if blast else 0.03, generator)
    # Fine chromatin against coarse, dark clumps.
    base = generator.normal([116, 72, 152] if blast else [84, 50, 126], 8)
    _draw_shape(image, nucleus, base - 20)
    _draw_shape(image, nucleus, _texture(base, 3 if blast else 10, 9 if blast else 16, generator), 0.95)
    if blast:
        for _number in range(generator.integers(1, 4)):
            place = middle + generator.uniform(-0.45, 0.45, 2) * cell * fraction
            _draw_shape(image, _outline(place, generator.uniform(5, 8) * scale, 0.08, generator), base + 30)


def _outline(center: numpy.ndarray, radius: float, roughness: float, generator: numpy.random.Generator) -> Outline:
    """Return a nearly round shape; `roughness` is the amplitude of its waves."""
    angles = numpy.linspace(0, 2 * numpy.pi, 72, endpoint=False)
    waves = sum(
        generator.normal(0, roughness / order) * numpy.cos(order * angles + generator.uniform(0, 6))
        for order in (2, 3, 4, 5)
    )
    return center, (radius * (1 + waves) * numpy.stack([numpy.cos(angles), numpy.sin(angles)])).T


def _draw_shape(
    image: PIL.Image.Image, outline: Outline, content: numpy.ndarray | PIL.Image.Image, size: float = 1.0
) -> None:
    """Fill a shape, scaled by `size`, with a color or an image."""
    center, points = outline
    corners = [tuple(point) for point in (center + points * size).tolist()]
    if isinstance(content, PIL.Image.Image):
        mask = PIL.Image.new("L", image.size)
        PIL.ImageDraw.Draw(mask).polygon(corners, fill=255)
        image.paste(content, mask=mask)
    else:
        PIL.ImageDraw.Draw(image).polygon(corners, fill=_color(content))


def _texture(base: numpy.ndarray, size: int, depth: float, generator: numpy.random.Generator) -> PIL.Image.Image:
    """Return an image of one color with random clumps, `size` pixels wide and `depth` levels deep."""
    coarse = generator.standard_normal((SMEAR_SIDE // size + 2, SMEAR_SIDE // size + 2), dtype="float32")
    noise = PIL.Image.fromarray(coarse).resize((SMEAR_SIDE, SMEAR_SIDE), PIL.Image.Resampling.BICUBIC)
    pixels = base.astype("float32") + numpy.asarray(noise)[..., None] * depth
    return PIL.Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def _color(values: numpy.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in numpy.clip(values, 0, 255))
