"""From class folders to shards: find, check, group, split, write."""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import logging
import pathlib

import numpy

from Classes import (
    Colours,
    Files,
    Fingerprints,
    Folders,
    Groups,
    Helpers,
    Images,
    Parallel,
    Probe,
    Provenance,
    Relatives,
    Shards,
    Splits,
)
from Classes.Errors import DataError, ImageError

# Shorter side in pixels that colours and fingerprints need.
LOOK = 128

log = logging.getLogger("Data")


@dataclasses.dataclass(slots=True)
class Item:
    """One image that was decoded in full.

    Attributes:
      path: the file.
      class_name, label: its class folder and the folder's number.
      group: see Groups.
      sha256, size: of the file's bytes.
      format, width, height: of the image.
      background: its colour; see Colours.
      fingerprint: see Fingerprints.
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
    background: tuple = ()
    fingerprint: numpy.ndarray | None = None

    @property
    def filename(self):
        """Class folder and name, which stay the same when the data folder moves."""
        return Folders.filename(self.class_name, self.path)

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
    files, ignored = Folders.find(configuration)
    synthetic = Folders.synthetic(folder, files)
    with Files.lock(folder):
        splits, about = select(configuration, files, Groups.patients(folder))
        about = {"classes": list(files), "synthetic": synthetic, "ignored": ignored, **about}
        manifest = Shards.write(configuration, splits, about)
    _report(configuration, manifest, about)
    return 1 if strict and about["unreadable"] else 0


def select(configuration, files, patient):
    """Decide what each image is for.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      patient: Groups.patients' answer.
    Returns:
      ({"train" and "validation": [Item], in the shards' order}, dict for the manifest: proof of the split, what was
      left out and why, seed, configuration, versions).
    Raises:
      DataError: these images cannot be split.
    """
    items, unreadable = examine(configuration, files, grouped(configuration, files, patient))
    items, duplicates, contradictions = unique(items)
    items, alike, disputed = Relatives.join(items)
    contradictions += disputed
    items, held_out = hold_out(configuration, items, patient)
    _check_classes(files, items)
    splits, unused = _split(configuration, items)
    Relatives.check(splits, alike)
    Relatives.forget(items)
    probes = Probe.refuse(configuration, [item for item in items if not Groups.is_view(item.path.name)])
    return splits, {
        "probes": probes,
        "proof": Splits.proof(splits),
        "unreadable": unreadable,
        "duplicates": duplicates,
        "contradictions": contradictions,
        "alike": alike,
        "held_out": [{"file": item.filename, "group": item.group} for item in held_out],
        "unused_views": [item.filename for item in unused],
        "seed": configuration["RandomSeed"],
        "configuration": configuration.values,
        "versions": Provenance.versions(),
    }


def grouped(configuration, files, patient):
    """{class/file: group}, with a word on what groups.csv and the folders do not have in common."""
    names = [Folders.filename(name, path) for name, paths in files.items() for path in paths]
    groups, missing = Groups.assign(names, configuration["GroupPattern"], patient)
    missing = [name for name in missing if groups[name].startswith("original ")]
    if missing:
        log.warning(
            "%s leaves out %d files, %s the first; they are grouped by name.", Groups.FILE, len(missing), missing[0]
        )
    tests = {path.name for path in test_files(configuration)}
    known = {Groups.source(name) for name in tests.union(names, (name.rpartition("/")[2] for name in names))}
    unknown = sorted(name for name in patient if Groups.source(name) not in known)
    if unknown:
        log.warning("%s names %d files that are not here, %s the first.", Groups.FILE, len(unknown), unknown[0])
    return groups


def examine(configuration, files, groups):
    """Decode every image in full, on all cores, and keep none of them.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      groups: {class/file: group}.
    Returns:
      ([Item, ordered by SHA-256], [{"file", "reason"} of what cannot be read]).
    """
    work = ((path, name, label) for label, (name, paths) in enumerate(files.items()) for path in paths)

    def one(path, name, label):
        filename = Folders.filename(name, path)
        try:
            data = path.read_bytes()
            facts, picture = Images.glance(data, LOOK, name=filename, **Images.limits(configuration))
        except ImageError as error:
            return filename, str(error)
        except OSError as error:
            return filename, f"{filename}: {error.strerror}"
        digest = hashlib.sha256(data).hexdigest()
        return Item(
            path, name, label, groups[filename], digest, len(data), facts.format, facts.width, facts.height,
            Colours.background(picture), Fingerprints.fingerprint(picture),
        )  # fmt: skip

    items, unreadable = [], []
    with Helpers.progress(total=len(groups), desc="Images", unit="image") as bar:
        for found in Parallel.answers(one, work, configuration.workers):
            bar.update()
            if isinstance(found, Item):
                items.append(found)
            else:
                log.warning("Left out: %s", found[1])
                unreadable.append(dict(zip(("file", "reason"), found, strict=True)))
    return sorted(items, key=lambda item: (item.sha256, item.filename)), unreadable


def unique(items):
    """Every content once, and groups that share a content made one.

    Args:
      items: list of Item, ordered by SHA-256; their groups are changed in place.
    Returns:
      (items, [{"file", "of"}] of left-out copies, [{"sha256", "files"}] of images that lie in several classes: none
      of their labels can be trusted, so all of them are left out).
    """
    kept, duplicates, contradictions, companies = [], [], [], []
    for digest, copies in itertools.groupby(items, key=lambda item: item.sha256):
        first, *others = copies
        companies.append({first.group, *(copy.group for copy in others)})
        if any(copy.label != first.label for copy in others):
            names = [first.filename, *(copy.filename for copy in others)]
            log.warning("Left out: one and the same image in several classes: %s", ", ".join(names))
            contradictions.append({"sha256": digest, "files": names})
        else:
            kept.append(first)
            duplicates += [{"file": copy.filename, "of": first.filename} for copy in others]
    if duplicates:
        log.warning(
            "Left out: %d exact copies, %s of %s the first; the manifest lists them.",
            len(duplicates),
            duplicates[0]["file"],
            duplicates[0]["of"],
        )
    joined = Groups.joined(companies)
    for item in kept:
        item.group = joined[item.group]
    return kept, duplicates, contradictions


def hold_out(configuration, items, patient):
    """Keep whatever belongs to a test image out of training and validation.

    An image belongs to a test image by equal content, by the same picture, by the original that both names tell, or
    by the patient of groups.csv; its whole group goes.

    Args:
      configuration: Configuration.
      items: list of Item.
      patient: Groups.patients' answer.
    Returns:
      (items that stay, items held out).
    """
    pattern = configuration["GroupPattern"]
    tests = test_files(configuration)
    contents = {Files.sha256(path) for path in tests}
    names = {path.name for path in tests}
    originals = {Groups.original(name, pattern) for name in names}
    held = {f"patient {found}" for file, found in patient.items() if file.rpartition("/")[2] in names}
    held |= {
        item.group for item in items if item.sha256 in contents or Groups.original(item.filename, pattern) in originals
    }
    held |= Relatives.of(items, _pictures(configuration, tests))
    out = [item for item in items if item.group in held]
    if out:
        log.info(
            "Held out: %d images that belong to images in %s; the manifest lists them.",
            len(out),
            configuration.path("TestImagePath"),
        )
    return [item for item in items if item.group not in held], out


def _pictures(configuration, paths):
    """The fingerprints of those of some files that are images."""

    def one(path):
        with contextlib.suppress(ImageError):
            return Fingerprints.fingerprint(Images.glance(path, LOOK, **Images.limits(configuration))[1])

    found = Parallel.answers(one, ((path,) for path in paths), configuration.workers)
    return [fingerprint for fingerprint in found if fingerprint is not None]


def test_files(configuration):
    """Every file of the test folder, at any depth and of any ending: one too many costs less than a leak."""
    folder = configuration.path("TestImagePath")
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")


def _check_classes(files, items):
    found = {item.class_name for item in items if not Groups.is_view(item.path.name)}
    for name in files:
        if name not in found:
            raise DataError(
                f"class {name}: none of its {len(files[name])} images is left, all are unreadable, copies, views, or "
                "belong to test images; add others"
            )


def _split(configuration, items):
    """({side: [Item]}, views that are not used).

    Originals alone decide. A view of Data.py Augment follows its original into training; for validation it would be
    an image that no microscope took, so it stays out.
    """
    views = [item for item in items if Groups.is_view(item.path.name)]
    groups = {}
    for item in items:
        if not Groups.is_view(item.path.name):
            groups.setdefault(item.group, collections.Counter())[item.class_name] += 1
    sides = Splits.split(groups, configuration["ValidationSize"], configuration["RandomSeed"])
    # A view whose original was left out, as its label cannot be trusted, has no side.
    unused = [item for item in views if sides.get(item.group) != "train"]
    left_out = {item.filename for item in unused}
    used = [item for item in items if item.filename not in left_out]
    splits = {side: [item for item in used if sides[item.group] == side] for side in Splits.SIDES}
    return {side: Shards.spread(configuration, chosen) for side, chosen in splits.items()}, unused


def colours(configuration, manifest, view, most=1000):
    """The colours of the training images, for the model card.

    Args:
      configuration: Configuration.
      manifest: Shards.Manifest.
      view: Images.View, the colours' as the network sees them.
      most: images that are looked at; shards are in the order of content hashes, so the first are a fair sample.
    Returns:
      Colours.summary's answer; views do not count, since nobody will send one.
    """
    if not manifest.paths("train"):
        return None
    records = (each for each in Shards.records(configuration, "train") if not Groups.is_view(each.filename))

    def measured(record):
        return Colours.measure(view.prepare(record.encoded, **Images.limits(configuration)))

    chosen = ((record,) for record in itertools.islice(records, most))
    return Colours.summary(list(Parallel.answers(measured, chosen, configuration.workers)))


def _report(configuration, manifest, about):
    for split in Shards.SPLITS:
        items = manifest.splits[split]
        counts = collections.Counter(item["class"] for item in items)
        shards = len(manifest.paths(split))
        classes = ", ".join(f"class {name}: {counts[name]}" for name in manifest.classes)
        groups = about["proof"]["group"][split]
        log.info(
            "%s: %d images (%s) of %d originals or patients in %d shards.", split, len(items), classes, groups, shards
        )
        if shards < configuration["Shards"]:
            log.info("%s: fewer images than Shards=%d, so no more shards.", split, configuration["Shards"])
    if about["unused_views"]:
        log.info("%d views of images that are not in training are not used.", len(about["unused_views"]))
    if about["unreadable"]:
        log.warning("%d images could not be read; they are named above and in the manifest.", len(about["unreadable"]))
    log.info("No image and no original or patient is in both splits (proof in the manifest).")
    log.info("Completed sorting data!")
    log.info("Next: python3 Trainer.py")
