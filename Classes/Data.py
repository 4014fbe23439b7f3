"""From class folders to shards: find, check, group, split, write."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import io
import itertools
import logging
import os
import pathlib

import PIL.Image

from Classes import Demo, Files, Helpers, Images, Provenance, Shards, Splits
from Classes.Errors import DataError, ImageError

log = logging.getLogger("Data")

# What the records say, by Pillow's name of the format.
FORMATS = {"JPEG": "jpg", "MPO": "jpg"}


@dataclasses.dataclass(slots=True)
class Item:
    """One image that was decoded in full.

    Attributes:
      path: the file.
      class_name, label: its class folder and the folder's number.
      group: see Splits.group.
      sha256, size: of the file's bytes.
      format, width, height: of the image.
    """

    path: pathlib.Path
    class_name: str
    label: int
    group: str
    sha256: str
    size: int
    format: str
    width: int
    height: int

    @property
    def filename(self):
        """Class folder and name, which stay the same when the data folder moves."""
        return f"{self.class_name}/{self.path.name}"

    def listing(self):
        """The manifest's line for this image."""
        return {
            "file": self.filename,
            "class": self.class_name,
            "label": self.label,
            "group": self.group,
            "sha256": self.sha256,
            "bytes": self.size,
        }


def run(configuration, strict=False):
    """Turn the images in DatasetDir into shards and a manifest.

    Args:
      configuration: Configuration.
      strict: unreadable images make the exit code 1.
    Returns:
      exit code.
    Raises:
      DataError: no shards can be made of what is there.
    """
    folder = configuration.path("DatasetDir")
    files = find(configuration)
    classes = list(files)
    with Files.lock(folder):
        patient = Splits.patients(folder)
        items, unreadable = examine(configuration, files, patient)
        _warn_unknown(folder, patient, files)
        synthetic = _synthetic(items)
        items, duplicates, contradictions = _unique(items)
        items, held_out = _hold_out(configuration, items, patient, duplicates)
        _check_classes(classes, items)
        splits = _split(configuration, items)
        about = {
            "classes": classes,
            "synthetic": synthetic,
            "proof": proof(splits),
            "unreadable": unreadable,
            "duplicates": [{"file": copy.filename, "of": first.filename} for first, copy in duplicates],
            "contradictions": contradictions,
            "held_out": [{"file": item.filename, "group": item.group} for item in held_out],
            "seed": configuration["RandomSeed"],
            "configuration": configuration.values,
            "versions": Provenance.versions(),
        }
        manifest = Shards.write(configuration, splits, about)
        _write_names(configuration, classes)
    _report(manifest, about)
    return 1 if strict and unreadable else 0


def find(configuration):
    """The image files of every class folder.

    Returns:
      {class: [paths, by name]}, classes in the order of their labels.
    Raises:
      DataError: the folders are not what the configuration expects.
    """
    folder = configuration.path("DatasetDir")
    endings = tuple(configuration["ValidIType"])
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; make it, with one folder of images a class")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files, other = {}, []
    for name in names:
        entries = sorted(path for path in (folder / name).iterdir() if path.is_file() and path.name[0] != ".")
        files[name] = [path for path in entries if path.name.endswith(endings)]
        other += [path for path in entries if not path.name.endswith(endings)]
    if other:
        log.warning("%d files are no images by their ending (ValidIType), the first is %s.", len(other), other[0])
    if not any(files.values()):
        raise DataError(
            f"{folder}: holds no images; put them into {folder / '0'} (healthy) and {folder / '1'} (leukemic), "
            "or draw synthetic ones with python3 Data.py Demo"
        )
    if len(names) == 1:
        raise DataError(f"{folder}: holds the one class {names[0]}; a classifier needs two, one folder each")
    if len(names) != configuration["NumClasses"]:
        raise DataError(
            f"{folder}: holds {len(names)} class folders ({', '.join(names)}), NumClasses is "
            f"{configuration['NumClasses']}; set NumClasses={len(names)} or remove what is no class"
        )
    if configuration["PositiveClass"] not in names:
        raise DataError(
            f"{folder}: has no class {configuration['PositiveClass']} (PositiveClass); set PositiveClass to the folder "
            f"that means ALL: {', '.join(names)}"
        )
    empty = [name for name in names if not files[name]]
    if empty:
        raise DataError(f"{folder / empty[0]}: holds no images; a class needs some, or remove the folder")
    return files


def examine(configuration, files, patient):
    """Decode every image in full, on all cores.

    Args:
      configuration: Configuration.
      files: `find`'s answer.
      patient: Splits.patients' answer.
    Returns:
      ([Item, ordered by SHA-256], [{"file", "reason"} of what cannot be read]).
    """
    work = [(path, name, label) for label, (name, paths) in enumerate(files.items()) for path in paths]

    def one(path, name, label):
        try:
            return _item(configuration, path, name, label, patient)
        except ImageError as error:
            return path, name, str(error)

    items, unreadable = [], []
    with Helpers.progress(total=len(work), desc="Images", unit="image") as bar:
        for found in _parallel(one, work, configuration["Workers"] or os.cpu_count() or 1):
            bar.update()
            if isinstance(found, Item):
                items.append(found)
            else:
                path, name, reason = found
                log.warning("Left out: %s", reason)
                unreadable.append({"file": f"{name}/{path.name}", "reason": reason})
    return sorted(items, key=lambda item: (item.sha256, item.filename)), unreadable


def _parallel(function, work, workers):
    """The answers of `function(*arguments)` in order, with a few calls under way at a time, so memory stays flat."""
    work = iter(work)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(function, *each) for each in itertools.islice(work, 8 * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, *each) for each in itertools.islice(work, 1))
        finally:
            for future in waiting:
                future.cancel()


def _item(configuration, path, name, label, patient):
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    try:
        image = Images.load(data, max_pixels=configuration["MaxPixels"], max_side=configuration["MaxSide"])
    except ImageError as error:
        raise ImageError(f"{path}: {str(error).removeprefix('the image: ')}") from error
    kind = PIL.Image.open(io.BytesIO(data)).format
    return Item(
        path,
        name,
        label,
        Splits.group(path.name, name, configuration["GroupPattern"], patient),
        hashlib.sha256(data).hexdigest(),
        len(data),
        FORMATS.get(kind, kind.lower()),
        image.shape[1],
        image.shape[0],
    )


def _warn_unknown(folder, patient, files):
    known = {key for name, paths in files.items() for path in paths for key in (path.name, f"{name}/{path.name}")}
    unknown = sorted(set(patient) - known)
    if unknown:
        log.warning(
            "%s names %d files that are not here, such as %s.", folder / Splits.GROUPS_FILE, len(unknown), unknown[0]
        )


def _synthetic(items):
    """Whether the images are drawn ones; drawn and real ones together would be a data set of nothing."""
    drawn = [item for item in items if item.path.name.startswith(Demo.PREFIX)]
    if drawn and len(drawn) < len(items):
        raise DataError(
            f"{drawn[0].path.parent.parent}: synthetic smears ({Demo.PREFIX}…) lie among other images; remove them "
            "with python3 Data.py Demo --remove"
        )
    return bool(drawn)


def _unique(items):
    """Every content once.

    Returns:
      (items, [(kept, copy)], [{"sha256", "files"}]): the same image in two classes has no label that can be trusted,
      so all its copies go.
    """
    kept, duplicates, contradictions = [], [], []
    for digest, copies in itertools.groupby(items, key=lambda item: item.sha256):
        copies = list(copies)
        if len({item.label for item in copies}) > 1:
            names = [item.filename for item in copies]
            log.warning("Left out: one image in several classes: %s", ", ".join(names))
            contradictions.append({"sha256": digest, "files": names})
            continue
        kept.append(copies[0])
        duplicates += [(copies[0], copy) for copy in copies[1:]]
    if duplicates:
        log.warning("Left out: %d exact copies of other images; the manifest lists them.", len(duplicates))
    return kept, duplicates, contradictions


def _hold_out(configuration, items, patient, duplicates):
    """Keep whatever belongs to a test image out of training and validation.

    Returns:
      (items that stay, items held out), groups that share an image joined into one.
    """
    folder = configuration.path("TestImagePath")
    endings = tuple(configuration["ValidIType"])
    tests = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.endswith(endings)]
    contents = {Files.sha256(path) for path in tests}
    groups = {Splits.group(path.name, folder.name, configuration["GroupPattern"], patient) for path in tests}
    groups |= {item.group for item in items if item.sha256 in contents}
    joined = Splits.joined([{item.group} for item in items] + [{first.group, copy.group} for first, copy in duplicates])
    held = {joined.get(name, name) for name in groups}
    for item in items:
        item.group = joined[item.group]
    out = [item for item in items if item.group in held]
    if out:
        log.info("Held out: %d images that belong to images in %s.", len(out), folder)
    return [item for item in items if item.group not in held], out


def _check_classes(classes, items):
    found = {item.class_name for item in items}
    for name in classes:
        if name not in found:
            raise DataError(f"class {name}: no image is left after unreadable, doubled and test images were left out")


def _split(configuration, items):
    groups = {}
    for item in items:
        groups.setdefault(item.group, collections.Counter())[item.label] += 1
    sides = Splits.split(groups, configuration["ValidationSize"], configuration["RandomSeed"])
    return {split: [item for item in items if sides[item.group] == split] for split in Shards.SPLITS}


def proof(splits):
    """What the splits have in common, counted from the splits themselves.

    Raises:
      DataError: anything at all.
    """
    counted = {}
    for kind in ("group", "sha256"):
        train, validation = ({getattr(item, kind) for item in splits[split]} for split in Shards.SPLITS)
        both = sorted(train & validation)
        if both:
            raise DataError(f"{kind} {both[0]} would be in training and in validation; this is a defect, tell us")
        counted[kind] = {"train": len(train), "validation": len(validation), "in_both": both}
    return counted


def _write_names(configuration, classes):
    folder = configuration.path("DatasetDir")
    Files.write(folder / configuration["Classes"], "".join(f"{name}\n" for name in classes))
    Files.write(folder / configuration["Labels"], "".join(f"{label}:{name}\n" for label, name in enumerate(classes)))


def _report(manifest, about):
    for split in Shards.SPLITS:
        items = manifest.splits[split]
        counts = collections.Counter(item["class"] for item in items)
        shards = len(manifest.paths(split))
        classes = ", ".join(f"class {name}: {counts[name]}" for name in manifest.classes)
        groups = about["proof"]["group"][split]
        log.info(
            "%s: %d images (%s) of %d originals or patients in %d shards.", split, len(items), classes, groups, shards
        )
    log.info("No image and no original or patient is in both splits (proof in the manifest).")
    log.info("Completed sorting data!")
    log.info("Next: python3 Trainer.py")
