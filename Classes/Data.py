"""From class folders to shards: find, check, group, split, write."""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import logging
import os
import pathlib

import numpy

from Classes import Helpers
from Classes.common import atomic_files, input_files, parallel, provenance
from Classes.common.errors import DataError, ImageError
from Classes.dataset import discovery, grouping, leakage_probe, near_duplicates, perceptual_hash, splitting, tfrecords
from Classes.imaging import color_stats, content_check, decode, network_input

# Shorter side in pixels that colours and fingerprints need.
THUMBNAIL_SIDE = 128

log = logging.getLogger("Data")


@dataclasses.dataclass(slots=True)
class ImageRecord:
    """One image that was decoded in full.

    Attributes:
      path: the file.
      class_name, label: its class folder and the folder's number.
      group: see Groups.
      sha256, size: of the file's bytes.
      format, width, height: of the image.
      background: its colour; see Colours.
      fingerprint: see Fingerprints.
      patient: whose image it is, "" if unknown; groups of several patients exist, since their images may be copies.
      picture: number of the picture that it shows; see Relatives.
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
    patient: str = ""
    picture: int = -1

    @property
    def filename(self):
        """Class folder and name, which stay the same when the data folder moves."""
        return discovery.relative_name(self.class_name, self.path)

    def listing(self):
        """The manifest's line for this image."""
        return {
            "file": self.filename,
            "class": self.class_name,
            "label": self.label,
            "group": self.group,
            **({"patient": self.patient} if self.patient else {}),
            "sha256": self.sha256,
            "bytes": self.size,
        }


def prepare_dataset(configuration, strict=False):
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
    files, ignored = discovery.find_class_images(configuration)
    synthetic = discovery.is_synthetic(folder, files)
    with atomic_files.folder_lock(folder):
        splits, about = build_splits(configuration, files, grouping.load_patient_map(folder))
        about = {"classes": list(files), "synthetic": synthetic, "ignored": ignored, **about}
        manifest = tfrecords.write_shards(configuration, splits, about)
    _report(configuration, manifest, about)
    return 1 if strict and about["unreadable"] else 0


def build_splits(configuration, files, patient):
    """Decide what each image is for.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      patient: grouping.load_patient_map' answer.
    Returns:
      ({"train" and "validation": [Item], in the shards' order}, dict for the manifest: proof of the split, what was
      left out and why, seed, configuration, versions).
    Raises:
      DataError: these images cannot be split.
    """
    assignment = group_files(configuration, files, patient)
    items, unreadable = decode_all(configuration, files, assignment)
    tests = examine_tests(configuration, assignment)
    alike = near_duplicates.relate(items, tests, configuration["GroupPattern"])
    items, contradictions = near_duplicates.without_conflicts(items)
    items, duplicates = drop_exact_duplicates(items)
    items, held_out = exclude_test_groups(configuration, items, tests)
    _check_classes(files, items)
    splits, unused = _split_records(configuration, items)
    for item in (*items, *tests):
        item.patient = item.patient or grouping.patient_of(item.group)
    # Other files of the test folder count for the proof, not among the images.
    images = [test for test in tests if test.format or input_files.has_image_extension(configuration, test.path)]
    not_compared = {side: _not_compared(chosen) for side, chosen in {**splits, "test": images}.items()}
    near_duplicates.drop_descriptors(items)
    probes = leakage_probe.check_leakage(
        configuration, [item for item in items if not grouping.is_augmented_view(item.path.name)]
    )
    proof = splitting.assert_disjoint({**splits, "test": tests})
    return splits, {
        "probes": probes,
        "proof": {**proof, "patients": _coverage({**splits, "test": images}), "not_compared": not_compared},
        "unreadable": unreadable,
        "duplicates": duplicates,
        "contradictions": contradictions,
        "alike": _of_kept(alike, items),
        "held_out": [{"file": item.filename, "group": item.group} for item in held_out],
        "tests": [
            {"file": test.filename, "group": test.group, "patient": test.patient, "sha256": test.sha256}
            for test in images
        ],
        "unused_views": [item.filename for item in unused],
        "seed": configuration["RandomSeed"],
        "configuration": configuration.values,
        "versions": provenance.package_versions(),
    }


def _not_compared(items):
    """How many images are too small or too plain for a fingerprint, so that only equal contents were found."""
    return sum(item.fingerprint is None or not item.fingerprint.any() for item in items)


def _coverage(splits):
    """{split: {"known": images of known patient, "images": all}}."""
    return {
        side: {"known": sum(bool(item.patient) for item in items), "images": len(items)}
        for side, items in splits.items()
    }


def _of_kept(alike, items):
    """Those pairs of which neither is left out; many of them are reported in one line."""
    kept = {item.filename for item in items}
    alike = [pair for pair in alike if kept.issuperset(pair["files"])]
    if alike:
        log.warning(
            "%d pairs of images show one picture, %s and %s the first; each is kept on one side of the split.",
            len(alike),
            *alike[0]["files"],
        )
    return alike


def group_files(configuration, files, patient):
    """Assign groups and patients to the images of the class folders and to the test images, and report doubts.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      patient: grouping.load_patient_map' answer.
    Returns:
      grouping.Assignment; test images are called as `test_name` says.
    Raises:
      DataError: `groups_match_nothing`: groups.csv has rows, and not one of them is about an image here.
    """
    names = [discovery.relative_name(name, path) for name, paths in files.items() for path in paths]
    tests = [test_name(configuration, path) for path in list_test_files(configuration)]
    # A table in the test folder is about the images there.
    folder = configuration.path("TestImagePath")
    patient = {**patient, **{f"{folder.name}/{row}": name for row, name in grouping.load_patient_map(folder).items()}}
    found = grouping.assign_groups([*names, *tests], configuration["GroupPattern"], patient)
    if patient and len(found.unmatched) == len(patient):
        raise DataError(
            f"{configuration.path('DatasetDir') / grouping.GROUPS_FILE}: none of its {len(patient)} rows matches an image: "
            f"the first is {next(iter(patient))}, the first image {names[0]}. Write the names as the files are called",
            code="groups_match_nothing",
        )
    if found.unmatched:
        log.warning(
            "%s names %d files that are not here, %s the first.",
            grouping.GROUPS_FILE,
            len(found.unmatched),
            found.unmatched[0],
        )
    mine = set(names)
    unlisted = [name for name in found.unlisted if name in mine]
    if unlisted:
        log.warning(
            "The patient of %d of %d images is unknown, %s the first; they are grouped by name.",
            len(unlisted),
            len(names),
            unlisted[0],
        )
    if found.spellings:
        log.warning(
            "%d patients are spelled in several ways, such as %s, and each is treated as one. Correct %s if they are "
            "several.",
            len(found.spellings),
            " and ".join(found.spellings[0]),
            grouping.GROUPS_FILE,
        )
    return found


def decode_all(configuration, files, assignment):
    """Decode every image in full, on all cores, and keep none of them.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      assignment: grouping.Assignment.
    Returns:
      ([Item, ordered by SHA-256; of one content originals and known patients first], [{"file", "reason"} of what cannot
      be read or shows nothing]).
    """
    work = ((path, name, label) for label, (name, paths) in enumerate(files.items()) for path in paths)

    def one(path, name, label):
        filename = discovery.relative_name(name, path)
        try:
            data = path.read_bytes()
            facts, picture = decode.decode_thumbnail(
                data, THUMBNAIL_SIDE, decode.decode_limits(configuration), name=filename
            )
            content_check.require_content(network_input.center_crop_resize(picture, THUMBNAIL_SIDE), filename)
        except ImageError as error:
            return filename, str(error)
        except OSError as error:
            return filename, f"{filename}: {error.strerror}"
        digest = hashlib.sha256(data).hexdigest()
        return ImageRecord(
            path, name, label, assignment.groups[filename], digest, len(data), facts.format, facts.width, facts.height,
            color_stats.background_color(picture), perceptual_hash.descriptor(picture), assignment.patients.get(filename, ""),
        )  # fmt: skip

    items, unreadable = [], []
    with Helpers.progress(total=sum(map(len, files.values())), desc="Images", unit="image") as bar:
        for found in parallel.map_threads(one, work, configuration.workers):
            bar.update()
            if isinstance(found, ImageRecord):
                items.append(found)
            else:
                log.warning("Left out: %s", found[1])
                unreadable.append(dict(zip(("file", "reason"), found, strict=True)))
    return sorted(items, key=_precedence), unreadable


def _precedence(item):
    return item.sha256, grouping.is_augmented_view(item.path.name), not item.patient, item.filename


def drop_exact_duplicates(items):
    """Take every content once.

    Args:
      items: list of Item, ordered by SHA-256, after near_duplicates.without_conflicts.
    Returns:
      (items, [{"file", "of"}] of left-out copies).
    """
    kept, duplicates = [], []
    for _, copies in itertools.groupby(items, key=lambda item: item.sha256):
        first, *others = copies
        kept.append(first)
        duplicates += [{"file": copy.filename, "of": first.filename} for copy in others]
    if duplicates:
        log.warning(
            "Left out: %d exact copies, %s of %s the first; the manifest lists them.",
            len(duplicates),
            duplicates[0]["file"],
            duplicates[0]["of"],
        )
    return kept, duplicates


def exclude_test_groups(configuration, items, tests):
    """Keep whatever belongs to a test image out of training and validation.

    An image belongs to a test image by equal content, by the same picture, by the original that both names give, or by
    the patient; its whole group goes, whatever else it was merged with.

    Args:
      configuration: Configuration.
      items, tests: lists of Item after near_duplicates.relate.
    Returns:
      (items that stay, items held out).
    """
    held = {test.group for test in tests}
    out = [item for item in items if item.group in held]
    if out:
        log.info(
            "Held out: %d images that belong to images in %s; the manifest lists them.",
            len(out),
            configuration.path("TestImagePath"),
        )
    return [item for item in items if item.group not in held], out


def examine_tests(configuration, assignment):
    """The files of the test folder as Items without class; those that are no images have no fingerprint."""

    def one(path):
        name = test_name(configuration, path)
        facts, fingerprint = None, None
        with contextlib.suppress(ImageError):
            facts, picture = decode.decode_thumbnail(path, THUMBNAIL_SIDE, decode.decode_limits(configuration))
            # Blank images all look alike.
            content_check.require_content(network_input.center_crop_resize(picture, THUMBNAIL_SIDE))
            fingerprint = perceptual_hash.descriptor(picture)
        return ImageRecord(
            path, name.rpartition("/")[0], -1, assignment.groups[name], atomic_files.sha256_file(path), path.stat().st_size,
            facts.format if facts else "", facts.width if facts else 0, facts.height if facts else 0,
            fingerprint=fingerprint, patient=assignment.patients.get(name, ""),
        )  # fmt: skip

    work = ((path,) for path in list_test_files(configuration))
    return list(parallel.map_threads(one, work, configuration.workers))


def test_name(configuration, path):
    """What a test image is called beside "class/file": "/Test/folder/file"."""
    folder = configuration.path("TestImagePath")
    return discovery.relative_name(f"/{folder.name}/{path.parent.relative_to(folder)}".removesuffix("/."), path)


def list_test_files(configuration):
    """Every file of the test folder, at any depth and with any extension: one too many costs less than a leak.

    Linked folders are followed, each once.

    Raises:
      DataError: `broken_link`: a link leads nowhere, so it is not known which images must be held out.
      OSError: a folder cannot be read.
    """
    folder = configuration.path("TestImagePath")
    found, seen = [], set()

    def fail(error):
        raise error

    def usable(path):
        if path.exists():
            return True
        raise DataError(f"{path}: this link leads nowhere. Make its target available or remove it", code="broken_link")

    if not folder.is_dir() and (not folder.is_symlink() or usable(folder)):
        return []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        here = pathlib.Path(place)
        seen.add(here.resolve())
        # Folders before links to them, so that a folder keeps its own name.
        inside = sorted(folders, key=lambda name, here=here: ((here / name).is_symlink(), name))
        folders.clear()
        for name in inside:
            if (here / name).resolve() not in seen:
                seen.add((here / name).resolve())
                folders.append(name)
        paths = [here / name for name in files if name[0] != "."]
        found += [path for path in paths if (not path.is_symlink() or usable(path)) and path.is_file()]
    return sorted(found)


def check_test_images(configuration, manifest) -> None:
    """Stop a training on images that were put into the test folder after the data were split.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest.
    Raises:
      DataError: `test_image_in_shards`: a test image is one of the training or validation images.
    """
    again = "Run python3 Data.py again"
    split = {item["sha256"]: item["file"] for items in manifest.splits.values() for item in items}
    added = []
    for path in list_test_files(configuration):
        digest = atomic_files.sha256_file(path)
        if digest in split:
            raise DataError(
                f"{path}: this test image is also {split[digest]}, which the model would learn from. {again}",
                code="test_image_in_shards",
            )
        if manifest.tests is not None and digest not in manifest.tests:
            added.append(path)
    if added and manifest.tests is not None:
        log.warning(
            "%d files were added to the test folder after the data were split, %s the first; images of their patients "
            "may be in training. %s.",
            len(added),
            added[0],
            again,
        )


def _check_classes(files, items):
    found = {item.class_name for item in items if not grouping.is_augmented_view(item.path.name)}
    for name in files:
        if name not in found:
            raise DataError(
                f"class {name}: none of its {len(files[name])} images is left, all are unreadable, copies, views, or "
                "belong to test images; add others"
            )


def _split_records(configuration, items):
    """({side: [Item]}, views that are not used).

    Originals alone decide. A view of Data.py Augment follows its original into training; for validation it would be
    an image that no microscope took, so it stays out.
    """
    views = [item for item in items if grouping.is_augmented_view(item.path.name)]
    groups = {}
    for item in items:
        if not grouping.is_augmented_view(item.path.name):
            groups.setdefault(item.group, collections.Counter())[item.class_name] += 1
    sides = splitting.split_groups(groups, configuration["ValidationSize"], configuration["RandomSeed"])
    # A view whose original was left out, as its label cannot be trusted, has no side.
    unused = [item for item in views if sides.get(item.group) != "train"]
    left_out = {item.filename for item in unused}
    used = [item for item in items if item.filename not in left_out]
    splits = {side: [item for item in used if sides[item.group] == side] for side in splitting.SPLITS}
    return {side: tfrecords.interleave_by_class(configuration, chosen) for side, chosen in splits.items()}, unused


def color_reference(configuration, manifest, view, most=1000):
    """The colours of the training images, for the model card.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest.
      view: network_input.InputSpec, the colours' as the network sees them.
      most: images that are looked at; shards are in the order of content hashes, so the first are a fair sample.
    Returns:
      color_stats.fit_reference's answer; views do not count, since nobody will send one.
    """
    if not manifest.paths("train"):
        return None
    records = (
        each for each in tfrecords.iter_records(configuration, "train") if not grouping.is_augmented_view(each.filename)
    )

    def measured(record):
        return color_stats.color_features(view.decode_and_resize(record.encoded, decode.decode_limits(configuration)))

    chosen = ((record,) for record in itertools.islice(records, most))
    return color_stats.fit_reference(list(parallel.map_threads(measured, chosen, configuration.workers)))


def _report(configuration, manifest, about):
    for split in tfrecords.SPLITS:
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
    _report_proof(about["proof"], manifest.synthetic)
    log.info("Completed sorting data!")
    log.info("Next: python3 Trainer.py")


def _report_proof(proof, synthetic):
    """Say what was compared, and how far patients are known: no more than that is proven."""
    known = sum(each["known"] for each in proof["patients"].values())
    images = sum(each["images"] for each in proof["patients"].values())
    words = (
        "No image, no original and no known patient is in two of training, validation and test (proof in the manifest)."
    )
    log.info(words if known else words.replace(", no original and no known patient", " and no original"))
    if known == images or synthetic:
        return
    counts = ", ".join(f"{each['known']} of {each['images']} {side}" for side, each in proof["patients"].items())
    log.warning(
        "The patient is known for %s images. Nothing keeps the others of one patient together; list them in %s.",
        counts,
        grouping.GROUPS_FILE,
    )
