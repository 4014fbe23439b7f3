"""Write augmented views of the training images: 27 per source image, made from the seed, in the same folder."""

import hashlib
import io
import logging
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import PIL.Image
import PIL.ImageFilter
import PIL.ImageOps

from Classes import Data
from Classes.common import atomic_files, input_files, locks, logs, parallel, temp_files, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError, ImageError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import discovery, grouping
from Classes.dataset.image_records import ImageRecord
from Classes.imaging import color_stats, decode

# First words of the comment in a view's file. The whole comment describes how the view was made, so the next run can
# keep it.
RECIPE_TAG = "ALL view 1"

log = logging.getLogger("Data")


def augment_dataset(
    configuration: Configuration, source: str | pathlib.Path | None = None, strict: bool = False
) -> int:
    """Write the views of every source image in training to DatasetDir.

    The images are split first, as Data.py will do: images in validation and images that belong to a test image get no
    views.

    Args:
      configuration: Configuration.
      source: a folder of images in class folders or with the class in their names (Im006_1.jpg), whose images are also
        copied to DatasetDir at the size of the network input. None: the images in DatasetDir.
      strict: return exit code 1 if an image cannot be read.
    Returns:
      exit code.
    Raises:
      DataError: the images cannot be found or split.
    """
    target = configuration.path("DatasetDir")
    folder = pathlib.Path(source) if source else None
    if folder and folder.resolve() == target.resolve():
        folder = None
    with locks.folder_lock(target):
        if folder:
            _copy_groups_file(folder, target)
        files = find_source_images(configuration, folder)
        splits, about = Data.build_splits(configuration, files, grouping.load_patient_map(target))
        work, stale = [], []
        for split, records in splits.items():
            for record in records:
                names = grouping.AUGMENTATIONS if split == "train" else ()
                names = (grouping.RESIZED, *names) if folder else names
                work += [(record, name) for name in names]
                unwanted = set(grouping.AUGMENTATIONS).difference(names)
                stale += [view_path(configuration, record, name) for name in unwanted]
        _prepare_class_folders(configuration, splits)
        _remove_stale_views(stale)
        written = _write_missing(configuration, work)
    _report(splits, about, len(work), written)
    return 1 if strict and about["unreadable"] else 0


def find_source_images(
    configuration: Configuration, source: pathlib.Path | None = None
) -> dict[str, list[pathlib.Path]]:
    """Return the source images of a folder, without views.

    Args:
      configuration: Configuration.
      source: the folder; None is DatasetDir.
    Returns:
      {class: [paths]}.
    Raises:
      DataError: `only_views`: a class has no source images; `same_stem`: the views of two images would have one name.
    """
    files = _classes_from_names(configuration, source) if source and source.is_dir() else None
    files = files or discovery.find_class_images(configuration, source)[0]
    kept: dict[str, list[pathlib.Path]] = {}
    for label, paths in files.items():
        kept[label] = [path for path in paths if grouping.base_stem(path.name) == path.stem]
        if not kept[label]:
            folder = source or configuration.path("DatasetDir")
            raise DataError(
                Message("{folder}: class {label} has only views. Add their source images", folder=folder, label=label),
                "only_views",
            )
        stems: dict[str, pathlib.Path] = {}
        for path in kept[label]:
            other = stems.setdefault(path.stem, path)
            if other != path:
                raise DataError(
                    Message(
                        "{path} and {name}: their views would have the same name. Rename one of the images",
                        path=path,
                        name=other.name,
                    ),
                    "same_stem",
                )
    return kept


def _classes_from_names(configuration: Configuration, source: pathlib.Path) -> dict[str, list[pathlib.Path]] | None:
    """Return {class: [paths]} of a folder without class folders, such as ALL-IDB2; None for other folders."""
    images, skipped = input_files.walk(configuration, source)
    if not images or any(path.parent != source for path in images):
        return None
    skipped.report(log, source)
    classes = [str(number) for number in range(configuration["NumClasses"])]
    files: dict[str, list[pathlib.Path]] = {label: [] for label in classes}
    for path in images:
        label = input_files.label_from_filename(path, classes)
        if label is None:
            raise DataError(
                Message(
                    "{path}: there is no class in the name. Rename it, like Im006_1.jpg, or use class folders",
                    path=path,
                ),
                code="no_class_in_name",
            )
        files[label].append(path)
    if not all(files.values()):
        raise DataError(
            Message(
                "{source}: there are no class folders, and at least one class has no images with names like "
                "Im006_1.jpg. Add images of every class",
                source=source,
            ),
            code="no_class_in_name",
        )
    return files


def _copy_groups_file(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy groups.csv, because Data.py expects it in DatasetDir."""
    copy, original = target / grouping.GROUPS_FILE, source / grouping.GROUPS_FILE
    if not original.exists():
        return
    if not copy.exists():
        with atomic_files.atomic_replace(copy) as temporary:
            shutil.copyfile(original, temporary)
    elif copy.read_bytes() != original.read_bytes():
        raise DataError(
            Message(
                "{copy}: differs from {original}. Put all patients into one table and remove the other",
                copy=copy,
                original=original,
            ),
            "two_tables",
        )


def view_path(configuration: Configuration, record: ImageRecord, name: str) -> pathlib.Path:
    """Return the path of a view, such as Model/Data/1/Im006_1__rotated_07.jpg."""
    return configuration.path("DatasetDir") / record.class_name / f"{record.path.stem}__{name}.jpg"


def _prepare_class_folders(configuration: Configuration, splits: Mapping[str, Sequence[ImageRecord]]) -> None:
    """Make the class folders, and remove the temporary files of a killed run from them."""
    for label in {record.class_name for records in splits.values() for record in records}:
        folder = configuration.path("DatasetDir") / label
        folder.mkdir(parents=True, exist_ok=True)
        temp_files.remove_stale_temp_files(folder)


def _remove_stale_views(stale: Sequence[pathlib.Path]) -> None:
    """Remove those of some files that are views, because their images are no longer in training."""
    found = [path for path in stale if path.is_file() and _read_recipe_tag(path).startswith(RECIPE_TAG.encode())]
    for path in found:
        path.unlink()
    if found:
        log.info("Removed %d views of images that are no longer in training.", len(found))


def _write_missing(configuration: Configuration, work: Sequence[tuple[ImageRecord, str]]) -> int:
    """Write the views that do not exist yet and return their number."""
    total = 0
    by_source: dict[str, tuple[ImageRecord, list[str]]] = {}
    for record, name in work:
        by_source.setdefault(record.filename, (record, []))[1].append(name)

    def write(record: ImageRecord, names: Sequence[str]) -> tuple[int, int]:
        """Write the missing and outdated views of an image; return how many it has, and how many were written."""
        recipes = {name: _recipe_tag(configuration, record, name) for name in names}
        paths = {name: view_path(configuration, record, name) for name in names}
        missing = [name for name in names if _read_recipe_tag(paths[name]) != recipes[name]]
        if not missing:
            return len(names), 0
        image = resize_original(configuration, record.path)
        color = color_stats.background_color(image)
        for name in missing:
            pixels = render_view(image, name, view_seed(configuration, record, name), color)
            content = io.BytesIO()
            # Without chroma subsampling, because the classes differ in the color of fine chromatin.
            PIL.Image.fromarray(pixels).save(content, "JPEG", quality=95, subsampling=0, comment=recipes[name])
            atomic_files.write_atomic(paths[name], content.getvalue())
        return len(names), len(missing)

    with logs.progress(total=len(work), desc=_("Views"), unit="view") as bar:
        for done, written in parallel.map_threads(write, by_source.values(), configuration.workers):
            bar.update(done)
            total += written
    return total


def resize_original(configuration: Configuration, path: pathlib.Path) -> numpy.ndarray:
    """Return the full central square of an image at the size of the network input, uint8 [size, size, 3].

    Training and inference crop it later like any image.
    """
    size = configuration["ImageSize"]
    try:
        image = PIL.Image.fromarray(decode.decode_image(path, decode.decode_limits(configuration), at_least=size))
    except ImageError as error:
        raise DataError(
            Message(
                "{path}: the file has changed ({error}). Run python3 Data.py Augment again", path=path, error=error
            ),
            "image_changed",
        ) from error
    return numpy.asarray(PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.BICUBIC))


def render_view(image: numpy.ndarray, name: str, seed: Any, color: tuple[int, ...]) -> numpy.ndarray:
    """Return a view of an image.

    Args:
      image: uint8 [S, S, 3].
      name: grouping.RESIZED or one of grouping.AUGMENTATIONS.
      seed: for numpy.random.default_rng; the same seed gives the same view.
      color: RGB of the areas outside of the image, from color_stats.background_color.
    Returns:
      uint8 [S, S, 3].
    """
    generator = numpy.random.default_rng(seed)
    picture = PIL.Image.fromarray(image)
    kind, _, number = name.partition("_")
    if kind == "gray":
        picture = picture.convert("L").convert("RGB")
    elif kind == "equalised":
        # Only the luminance; equalizing each channel would change the hue of the stain.
        luminance, *chroma = picture.convert("YCbCr").split()
        picture = PIL.Image.merge("YCbCr", (PIL.ImageOps.equalize(luminance), *chroma)).convert("RGB")
    elif kind == "mirrored":
        picture = PIL.ImageOps.mirror(picture) if number == "horizontally" else PIL.ImageOps.flip(picture)
    elif kind == "blurred":
        picture = picture.filter(PIL.ImageFilter.GaussianBlur(generator.uniform(0.8, 1.6) * len(image) / 299))
    elif kind != grouping.RESIZED:
        picture = _affine_transform(picture, affine_matrix(kind, number, generator), color)
    return numpy.asarray(picture)


def affine_matrix(kind: str, number: str, generator: numpy.random.Generator) -> numpy.ndarray:
    """Return float64 [2, 3]: maps coordinates of the view to the image, both from -0.5 to 0.5."""
    if kind == "shifted":
        # By 4 to 12 % of the side on both axes, so that the cell stays within the crop.
        across, down = generator.uniform(0.04, 0.12, 2) * generator.choice([-1, 1], 2)
        return numpy.array([[1, 0, across], [0, 1, down]])
    if kind == "sheared":
        slant = generator.uniform(0.1, 0.25) * generator.choice([-1, 1])
        return numpy.array([[1, slant, 0], [0, 1, 0]])
    # Each rotation has its own sector, so that no two views of an image are similar.
    sector = 360 / 21
    angle = numpy.radians(sector * (int(number) + generator.uniform(-0.4, 0.4)))
    cosine, sine = numpy.cos(angle), numpy.sin(angle)
    return numpy.array([[cosine, sine, 0], [-sine, cosine, 0]])


def _affine_transform(picture: PIL.Image.Image, matrix: numpy.ndarray, color: tuple[int, ...]) -> PIL.Image.Image:
    side = picture.width
    middle = numpy.array([side / 2, side / 2])
    shift = middle + matrix[:, 2] * side - matrix[:, :2] @ middle
    coefficients = numpy.column_stack([matrix[:, :2], shift]).ravel().tolist()
    return picture.transform(
        picture.size, PIL.Image.Transform.AFFINE, coefficients, PIL.Image.Resampling.BICUBIC, fillcolor=color
    )


def view_seed(configuration: Configuration, record: ImageRecord, name: str) -> int:
    """Return the seed of a view, which depends only on RandomSeed, the content of the image and the view's name."""
    digest = hashlib.sha256(f"{configuration['RandomSeed']} {record.sha256} {name}".encode()).digest()
    return int.from_bytes(digest[:16], "big")


def _recipe_tag(configuration: Configuration, record: ImageRecord, name: str) -> bytes:
    size, seed = configuration["ImageSize"], configuration["RandomSeed"]
    return f"{RECIPE_TAG} {name} {size} {seed} {record.sha256} pillow {PIL.__version__}".encode()


def _read_recipe_tag(path: pathlib.Path) -> bytes:
    """Return the comment of a view's file; b"" if there is no such file."""
    try:
        with PIL.Image.open(path, formats=("JPEG",)) as image:
            return image.info.get("comment", b"")
    except (OSError, SyntaxError):
        return b""


def _report(splits: Mapping[str, Sequence[ImageRecord]], about: Mapping[str, Any], views: int, written: int) -> None:
    train, validation = (len(splits[split]) for split in ("train", "validation"))
    log.info("Split: %d source images in training; %d in validation get no views.", train, validation)
    for key, reason in (("unreadable", "could not be read"), ("held_out", "belong to test images")):
        if about[key]:
            log.warning("%d source images %s and get no views.", len(about[key]), reason)
    log.info("%d of %d views existed already, %d were written.", views - written, views, written)
    log.info("Next: python3 Data.py")
    terminal.show_end(
        _("Wrote {written} of {views} views; the others existed already.").format(written=written, views=views),
        next_command="python3 Data.py",
    )
