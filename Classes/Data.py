"""From class folders to shards: find, decode, deduplicate, group, split, write."""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from Classes.common import cli, input_files, locks, provenance, terminal
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import (
    discovery,
    grouping,
    held_out,
    image_records,
    image_source,
    leakage_probe,
    near_duplicates,
    shard_writer,
    splitting,
    tfrecords,
)
from Classes.dataset.decoding import Decoding, Input
from Classes.dataset.image_records import ImageRecord
from Classes.dataset.presets import existing_split
from Classes.dataset.presets.existing_split import ExistingSplit
from Classes.jobs.shards import Shard

log = logging.getLogger("Data")


def prepare_dataset(
    configuration: Configuration,
    strict: bool = False,
    shard: Shard | None = None,
    follow_up: Callable[[Configuration, Decoding], None] | None = None,
) -> int:
    """Write the images in DatasetDir as shards with a manifest.

    Args:
      configuration: Configuration.
      strict: return exit code 1 if an image cannot be read.
      shard: decode only this share; the run that finishes the last one writes the shards.
      follow_up: called when the shards of at most `AuditImages` images are written, such as audit.audit_if_outdated,
        which needs more of each image; if it is stopped, the next run decodes nothing again.
    Returns:
      exit code.
    Raises:
      DataError: the images cannot be found, read, grouped or split, or DatasetDir cannot be written.
    """
    configuration, source = image_source.find_images(configuration)
    image_source.require_writable(configuration)
    image_source.announce(source)
    files = source.files
    classes, synthetic = list(files), discovery.is_synthetic(source.folder, files)
    count = sum(map(len, files.values()))
    decoding = Decoding(configuration, audit=follow_up is not None and count <= configuration["AuditImages"])
    if shard and not decoding.compute_share(_inputs(configuration, files), shard):
        return 0
    # Shares may end at the same time; each of them writes the same shards then.
    with locks.folder_lock(configuration.path("DatasetDir"), wait=shard is not None):
        patients = grouping.load_patient_map(source.folder)
        splits, about = build_splits(configuration, files, patients, source.split, decoding)
        about = {"classes": classes, "synthetic": synthetic, "ignored": source.ignored, **about}
        if data_set := source.describe():
            about["data_set"] = data_set
        # Late, so that a mistake in the folder is reported at once.
        cli.import_tensorflow()
        _report(configuration, shard_writer.write_shards(configuration, splits, about), about)
        if follow_up and sum(map(len, splits.values())) <= configuration["AuditImages"]:
            follow_up(configuration, decoding)
        if not shard:
            decoding.remove_parts()
    return 1 if strict and about["unreadable"] else 0


def _inputs(configuration: Configuration, files: dict[str, list[pathlib.Path]]) -> list[list[Input]]:
    """Return what build_splits decodes."""
    images = image_records.class_images(files)
    return [image_records.class_inputs(configuration, images), held_out.test_inputs(configuration)]


def build_splits(
    configuration: Configuration,
    files: dict[str, list[pathlib.Path]],
    patient_map: dict[str, str],
    existing: ExistingSplit | None = None,
    decoding: Decoding | None = None,
) -> tuple[dict[str, list[ImageRecord]], dict[str, Any]]:
    """Decide which images are used for training and for validation.

    Args:
      configuration: Configuration.
      files: {class: [paths]}; emptied as soon as the images are read, because their records need less memory.
      patient_map: from grouping.load_patient_map.
      existing: a split that is kept; None: make one.
      decoding: of the run, which removes its part files when it has used the result; None: remove them here.
    Returns:
      ({"train" and "validation": records in the order of the shards}, the manifest's values: what was left out and why,
      counts of the splits, seed, configuration, versions).
    Raises:
      DataError: the images cannot be grouped or split; `split_leak`: the existing split cannot be kept.
    """
    counts = {name: len(paths) for name, paths in files.items()}
    found = _read_images(configuration, files, patient_map, existing, decoding)
    tests = found.tests
    records, conflicts = near_duplicates.without_conflicts(found.records)
    records, duplicates = image_records.drop_exact_duplicates(records)
    records, of_tests = held_out.exclude_test_groups(configuration, records, tests)
    _check_classes(counts, records)
    splits, unused = _split(configuration, list(counts), records, existing)
    for record in (*records, *tests):
        record.patient = record.patient or grouping.patient_of(record.group)
    # Files of the test folder that are not images are compared too, but not counted.
    test_images = [test for test in tests if test.format or input_files.has_image_extension(configuration, test.path)]
    proof = {**splitting.assert_disjoint({**splits, "test": tests}), **_count_known({**splits, "test": test_images})}
    sources = [record for record in records if not grouping.is_augmented_view(record.file)]
    return splits, {
        "images_sha256": found.sha256,
        "probes": leakage_probe.check_leakage(configuration, sources),
        "proof": proof,
        "unreadable": found.unreadable,
        "duplicates": duplicates,
        "contradictions": conflicts,
        "alike": _kept_pairs(found.pairs, records),
        "held_out": [{"file": record.filename, "group": record.group} for record in of_tests],
        "tests": [_test_row(test) for test in test_images],
        "unused_views": [record.filename for record in unused],
        "seed": configuration["RandomSeed"],
        "configuration": configuration.values,
        "versions": provenance.package_versions(),
    }


@dataclasses.dataclass(frozen=True)
class _Images:
    """All images before any is left out.

    Attributes:
      records: of the class folders.
      tests: test images.
      unreadable: rows of the manifest.
      pairs: near duplicates and overlapping crops.
      sha256: of `records`, see image_records.hash_images.
    """

    records: list[ImageRecord]
    tests: list[ImageRecord]
    unreadable: list[dict[str, str]]
    pairs: list[dict[str, Any]]
    sha256: str


def _read_images(
    configuration: Configuration,
    files: dict[str, list[pathlib.Path]],
    patient_map: dict[str, str],
    existing: ExistingSplit | None,
    decoding: Decoding | None,
) -> _Images:
    """Decode all images and join the groups of those that look alike; the arguments are as for `build_splits`."""
    assignment = held_out.group_images(configuration, files, patient_map, existing)
    images = image_records.class_images(files)
    files.clear()
    remove = decoding is None
    decoding = decoding or Decoding(configuration)
    records, unreadable = image_records.decode_all(configuration, ImageRecord, images, assignment, decoding)
    del images
    for row in unreadable:
        log.warning("Left out: %s", row["reason"])
    sha256 = image_records.hash_images(records)
    tests = held_out.read_test_records(configuration, assignment, decoding)
    pairs = near_duplicates.relate(records, tests, "" if existing else configuration["GroupPattern"], decoding.store)
    pairs += near_duplicates.relate_crops(configuration, records, tests, decoding.store)
    if remove:
        decoding.remove_parts()
    if existing:
        existing_split.require_apart(records, tests, existing.roles)
    return _Images(records, tests, unreadable, pairs, sha256)


def _split(
    configuration: Configuration,
    classes: Sequence[str],
    records: Sequence[ImageRecord],
    existing: ExistingSplit | None,
) -> tuple[dict[str, list[ImageRecord]], list[ImageRecord]]:
    """Return (records of each split in the order of the shards, views that are not used)."""
    if existing and "validation" in existing.folders:
        splits, unused = existing_split.split_records(records, existing, classes)
    else:
        splits, unused = splitting.split_records(records, configuration["ValidationSize"], configuration["RandomSeed"])
    return {split: shard_writer.interleave_by_class(configuration, splits[split]) for split in splits}, unused


def _test_row(test: ImageRecord) -> dict[str, Any]:
    return {"file": test.filename, "group": test.group, "patient": test.patient, "sha256": test.sha256}


def _check_classes(counts: Mapping[str, int], records: Sequence[ImageRecord]) -> None:
    found = {record.class_name for record in records if not grouping.is_augmented_view(record.file)}
    for name, count in counts.items():
        if name not in found:
            raise DataError(
                Message(
                    "class {name}: none of its {count} images can be used, because all are unreadable, "
                    "duplicates, augmented views, or belong to test images. Add other images",
                    name=name,
                    count=count,
                ),
                "class_without_images",
            )


def _count_known(splits: Mapping[str, Sequence[ImageRecord]]) -> dict[str, dict[str, Any]]:
    """Return per split how many patients are known, and how many images were not compared as near duplicates.

    An image that is too small or too plain for a fingerprint is compared by its content only.
    """
    return {
        "patients": {
            split: {"known": sum(bool(record.patient) for record in records), "images": len(records)}
            for split, records in splits.items()
        },
        "not_compared": {split: sum(not record.compared for record in records) for split, records in splits.items()},
    }


def _kept_pairs(pairs: list[dict[str, Any]], records: Sequence[ImageRecord]) -> list[dict[str, Any]]:
    """Return and log the near duplicates of which both images are used."""
    kept = {record.filename for record in records}
    pairs = [pair for pair in pairs if kept.issuperset(pair["files"])]
    if pairs:
        log.warning(
            "%d pairs of images are near duplicates, for example %s and %s. Both images of a pair are in one split.",
            len(pairs),
            *pairs[0]["files"],
        )
    return pairs


def _report(configuration: Configuration, manifest: tfrecords.Manifest, about: dict[str, Any]) -> None:
    for split in splitting.SPLITS:
        rows = manifest.splits[split]
        counts = collections.Counter(row["class"] for row in rows)
        shards = len(manifest.paths(split))
        classes = ", ".join(f"class {name}: {counts[name]}" for name in manifest.classes)
        groups = about["proof"]["group"][split]
        log.info(
            "%s: %d images (%s) of %d source images or patients in %d shards.",
            split,
            len(rows),
            classes,
            groups,
            shards,
        )
        if shards < configuration["Shards"]:
            log.info("%s: fewer images than Shards=%d, so one shard per image.", split, configuration["Shards"])
    if about["unused_views"]:
        log.info("%d views are not used, because their source images are not in training.", len(about["unused_views"]))
    if about["unreadable"]:
        log.warning("%d images could not be read; see the messages above or the manifest.", len(about["unreadable"]))
    _report_patients(about["proof"]["patients"], manifest.synthetic)
    log.info("Completed sorting data!")
    log.info("Next: python3 Trainer.py")
    sizes = {split: len(manifest.splits[split]) for split in splitting.SPLITS}
    terminal.show_end(
        _("Prepared {train} images for training and {validation} for validation.").format(**sizes),
        [(_("Manifest"), tfrecords.manifest_path(configuration))],
        "python3 Trainer.py",
    )


def _report_patients(counts: Mapping[str, Mapping[str, int]], synthetic: bool) -> None:
    """Log what the splits were compared by; without known patients, they can share a patient."""
    known = sum(each["known"] for each in counts.values())
    images = sum(each["images"] for each in counts.values())
    compared = "image, source image or known patient" if known else "image or source image"
    log.info("Training, validation and test images have no %s in common. The manifest lists the counts.", compared)
    if known == images or synthetic:
        return
    log.warning(
        "The patient is known for only %s images. Other images of one patient can be in several splits; list their "
        "patients in %s.",
        ", ".join(f"{each['known']} of {each['images']} {split}" for split, each in counts.items()),
        grouping.GROUPS_FILE,
    )
