"""The 27 views of an original: made from the seed, for training originals only, beside the originals."""

import hashlib
import io
import logging
import pathlib
import shutil

import numpy
import PIL.Image
import PIL.ImageFilter
import PIL.ImageOps

from Classes import Data, Helpers
from Classes.common import atomic_files, input_files, parallel
from Classes.common.errors import DataError, ImageError
from Classes.dataset import discovery, grouping
from Classes.imaging import color_stats, decode

# A view's file carries the words it was made by, so that a second run knows it without making it again.
RECIPE_TAG = "ALL view 1"

log = logging.getLogger("Data")


def augment_dataset(configuration, source=None, strict=False):
    """Write the views of every training original into DatasetDir.

    The split comes first and is that of Data.py: originals that fall to validation, and whatever belongs to a test
    image, get no views. Data.py holds to it again when it writes the shards.

    Args:
      configuration: Configuration.
      source: a folder of originals, in class folders or with the class in their names (Im006_1.jpg); then the
        originals themselves are written too, at the network's size. None: the originals in DatasetDir.
      strict: unreadable originals make the exit code 1.
    Returns:
      exit code.
    Raises:
      DataError: the originals cannot be found, told apart or split.
    """
    target = configuration.path("DatasetDir")
    source = pathlib.Path(source) if source else None
    if source and source.resolve() == target.resolve():
        source = None
    with atomic_files.folder_lock(target):
        if source:
            _copy_groups_file(source, target)
        files = find_source_images(configuration, source)
        splits, about = Data.build_splits(configuration, files, grouping.load_patient_map(target))
        work, stale = [], []
        for side, items in splits.items():
            for item in items:
                names = grouping.AUGMENTATIONS if side == "train" else ()
                names = (grouping.RESIZED, *names) if source else names
                work += [(item, name) for name in names]
                stale += [view_path(configuration, item, name) for name in grouping.AUGMENTATIONS if name not in names]
        _remove_stale_views(configuration, splits, stale)
        made = _write_missing(configuration, work)
    _report(splits, about, len(work), made)
    return 1 if strict and about["unreadable"] else 0


def find_source_images(configuration, source=None):
    """The originals of a folder.

    Args:
      configuration: Configuration.
      source: the folder; None is DatasetDir.
    Returns:
      {class: [paths]}.
    Raises:
      DataError: none, or two that their views could not tell apart.
    """
    files = _classes_from_names(configuration, source) if source and source.is_dir() else None
    files = files or discovery.find_class_images(configuration, source)[0]
    kept = {}
    for label, paths in files.items():
        kept[label] = [path for path in paths if grouping.base_stem(path.name) == path.stem]
        if not kept[label]:
            raise DataError(f"{source or configuration.path('DatasetDir')}: class {label} has no originals, only views")
        stems = {}
        for path in kept[label]:
            other = stems.setdefault(path.stem, path)
            if other != path:
                raise DataError(f"{path} and {other.name}: their views would have one name; rename one of them")
    return kept


def _classes_from_names(configuration, source):
    """{class: [paths]} of a folder of images without class folders, as ALL-IDB2 comes; None of any other folder."""
    images, skipped = input_files.walk(configuration, source)
    if not images or any(path.parent != source for path in images):
        return None
    skipped.report(log, source)
    classes = [str(number) for number in range(configuration["NumClasses"])]
    files = {label: [] for label in classes}
    for path in images:
        label = input_files.label_from_filename(path, classes)
        if label is None:
            raise DataError(
                f"{path}: its name tells no class. Name it like Im006_1.jpg or use class folders",
                code="no_class_in_name",
            )
        files[label].append(path)
    if not all(files.values()):
        raise DataError(
            f"{source}: holds no class folders, and not every class has images named like Im006_1.jpg",
            code="no_class_in_name",
        )
    return files


def _copy_groups_file(source, target):
    """Bring the list of patients along: Data.py looks for it beside the views."""
    ours, theirs = target / grouping.GROUPS_FILE, source / grouping.GROUPS_FILE
    if not theirs.exists():
        return
    if not ours.exists():
        with atomic_files.atomic_replace(ours) as temporary:
            shutil.copyfile(theirs, temporary)
    elif ours.read_bytes() != theirs.read_bytes():
        raise DataError(f"{ours}: differs from {theirs}; put all patients into one list and remove the other")


def view_path(configuration, item, name):
    """Where a view lies, such as Model/Data/1/Im006_1__rotated_07.jpg."""
    return configuration.path("DatasetDir") / item.class_name / f"{item.path.stem}__{name}.jpg"


def _remove_stale_views(configuration, splits, stale):
    """Remove what a killed run left, and our views of originals that are no longer in training."""
    for label in {item.class_name for items in splits.values() for item in items}:
        folder = configuration.path("DatasetDir") / label
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.remove_stale_temp_files(folder)
    found = [path for path in stale if path.is_file() and _read_recipe_tag(path).startswith(RECIPE_TAG.encode())]
    for path in found:
        path.unlink()
    if found:
        log.info("Removed %d views of originals that are not in training any more.", len(found))


def _write_missing(configuration, work):
    """Write the views that are not there yet; returns how many."""
    made = 0
    by_original = {}
    for item, name in work:
        by_original.setdefault(item.filename, (item, []))[1].append(name)

    def one(item, names):
        recipes = {name: _recipe_tag(configuration, item, name) for name in names}
        missing = [name for name in names if _read_recipe_tag(view_path(configuration, item, name)) != recipes[name]]
        if missing:
            image = resize_original(configuration, item.path)
            colour = color_stats.background_color(image)
        for name in missing:
            pixels = render_view(image, name, view_seed(configuration, item, name), colour)
            content = io.BytesIO()
            # 4:4:4, since the colour of fine chromatin is what the classes differ in.
            PIL.Image.fromarray(pixels).save(content, "JPEG", quality=95, subsampling=0, comment=recipes[name])
            atomic_files.write_atomic(view_path(configuration, item, name), content.getvalue())
        return len(names), len(missing)

    with Helpers.progress(total=len(work), desc="Views", unit="view") as bar:
        workers = configuration.workers
        for done, written in parallel.map_threads(one, by_original.values(), workers):
            bar.update(done)
            made += written
    return made


def resize_original(configuration, path):
    """An original at the network's size: uint8 [size, size, 3], its central square, all of it.

    Training and serving cut the same share off it later that they cut off an original.
    """
    size = configuration["ImageSize"]
    try:
        image = PIL.Image.fromarray(decode.decode_image(path, decode.decode_limits(configuration), at_least=size))
    except ImageError as error:
        raise DataError(f"{path}: changed while it was being read ({error}); run this again") from error
    return numpy.asarray(PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.BICUBIC))


def render_view(image, name, seed, colour):
    """One view of an image.

    Args:
      image: uint8 [S, S, 3].
      name: grouping.RESIZED or one of grouping.AUGMENTATIONS.
      seed: what numpy.random.default_rng takes; the same seed gives the same view.
      colour: three whole numbers, for where the image does not reach: color_stats.background_color of it.
    Returns:
      uint8 [S, S, 3].
    """
    generator = numpy.random.default_rng(seed)
    picture = PIL.Image.fromarray(image)
    kind, _, number = name.partition("_")
    if kind == "gray":
        picture = picture.convert("L").convert("RGB")
    elif kind == "equalised":
        # The brightness alone: channel by channel, a stain would change its hue.
        light, *colour = picture.convert("YCbCr").split()
        picture = PIL.Image.merge("YCbCr", (PIL.ImageOps.equalize(light), *colour)).convert("RGB")
    elif kind == "mirrored":
        picture = PIL.ImageOps.mirror(picture) if number == "horizontally" else PIL.ImageOps.flip(picture)
    elif kind == "blurred":
        picture = picture.filter(PIL.ImageFilter.GaussianBlur(generator.uniform(0.8, 1.6) * len(image) / 299))
    elif kind != grouping.RESIZED:
        picture = _affine_transform(picture, _affine_matrix(kind, number, generator), colour)
    return numpy.asarray(picture)


def _affine_matrix(kind, number, generator):
    """float64 [2, 3]: from a place in the view to its place in the image, both from -0.5 to 0.5."""
    if kind == "shifted":
        # Both ways by 4 to 12 % of the side, in any direction; the cell stays within the crop.
        across, down = generator.uniform(0.04, 0.12, 2) * generator.choice([-1, 1], 2)
        return numpy.array([[1, 0, across], [0, 1, down]])
    if kind == "sheared":
        slant = generator.uniform(0.1, 0.25) * generator.choice([-1, 1])
        return numpy.array([[1, slant, 0], [0, 1, 0]])
    # Each rotation has a sector of its own and keeps away from its borders, so no two of an original are alike.
    sector = 360 / 21
    angle = numpy.radians(sector * (int(number) + generator.uniform(-0.4, 0.4)))
    cosine, sine = numpy.cos(angle), numpy.sin(angle)
    return numpy.array([[cosine, sine, 0], [-sine, cosine, 0]])


def _affine_transform(picture, matrix, colour):
    side = picture.width
    middle = numpy.array([side / 2, side / 2])
    shift = middle + matrix[:, 2] * side - matrix[:, :2] @ middle
    coefficients = numpy.column_stack([matrix[:, :2], shift]).ravel().tolist()
    return picture.transform(
        picture.size, PIL.Image.Transform.AFFINE, coefficients, PIL.Image.Resampling.BICUBIC, fillcolor=colour
    )


def view_seed(configuration, item, name):
    """What decides a view: RandomSeed, the original's content and the view's name; neither order nor place does."""
    digest = hashlib.sha256(f"{configuration['RandomSeed']} {item.sha256} {name}".encode()).digest()
    return int.from_bytes(digest[:16], "big")


def _recipe_tag(configuration, item, name):
    size = configuration["ImageSize"]
    return f"{RECIPE_TAG} {name} {size} {configuration['RandomSeed']} {item.sha256} pillow {PIL.__version__}".encode()


def _read_recipe_tag(path):
    """The words that a view's file carries; nothing where there is no such file."""
    try:
        with PIL.Image.open(path, formats=("JPEG",)) as image:
            return image.info.get("comment", b"")
    except (OSError, SyntaxError):
        return b""


def _report(splits, about, views, made):
    train, validation = (len(splits[side]) for side in ("train", "validation"))
    log.info("Split first: %d originals in training, %d in validation, which get no views.", train, validation)
    for key, words in (("unreadable", "could not be read"), ("held_out", "belong to test images")):
        if about[key]:
            log.warning("%d originals %s and get no views.", len(about[key]), words)
    log.info("%d of %d views were there already, %d were made.", views - made, views, made)
    log.info("Next: python3 Data.py")
