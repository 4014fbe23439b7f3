"""Keep the test images, and every image that belongs to one, out of training and validation."""

import itertools
import logging
import os
import pathlib
from collections.abc import Iterable, Sequence

from Classes.common import input_files, provenance
from Classes.common.config import Configuration
from Classes.common.errors import DataError
from Classes.common.translation import Message
from Classes.dataset import discovery, grouping, tfrecords
from Classes.dataset.decoding import Decoding, Input
from Classes.dataset.image_records import ImageRecord
from Classes.dataset.presets import existing_split
from Classes.dataset.presets.existing_split import ExistingSplit

log = logging.getLogger("Data")


def list_test_files(configuration: Configuration) -> list[pathlib.Path]:
    """Return every file of the test folder, at any depth and with any extension.

    A file that is not an image does no harm here, but a missed image would be a leak. Linked folders are followed, each
    once. Images that a server captured are not test images.

    Raises:
      DataError: `broken_link`: the target of a link is missing, so it is unknown which images must be held out.
      OSError: a folder cannot be read.
    """
    folder = configuration.path("TestImagePath")
    found: list[pathlib.Path] = []
    seen: set[pathlib.Path] = set()

    def fail(error: OSError) -> None:
        raise error

    def exists(path: pathlib.Path) -> bool:
        """Return True, or raise DataError for a link whose target is missing."""
        if path.exists():
            return True
        raise DataError(
            Message("{path}: the target of this link is missing. Restore it or remove the link", path=path),
            "broken_link",
        )

    if not folder.is_dir() and (not folder.is_symlink() or exists(folder)):
        return []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        here = pathlib.Path(place)
        seen.add(here.resolve())
        # Real folders come before links to them, so that their files keep their own names.
        inside = [name for name in folders if not input_files.is_captured(configuration, here / name)]
        ordered = sorted(inside, key=lambda name, here=here: ((here / name).is_symlink(), name))  # type: ignore[misc]
        folders.clear()
        for name in ordered:
            if (here / name).resolve() not in seen:
                seen.add((here / name).resolve())
                folders.append(name)
        paths = [here / name for name in files if name[0] != "."]
        found += [path for path in paths if (not path.is_symlink() or exists(path)) and path.is_file()]
    return sorted(found)


def test_name(configuration: Configuration, path: pathlib.Path) -> str:
    """Return the name of a test image, "/Test/folder/file"; the slash distinguishes it from "class/file"."""
    folder = configuration.path("TestImagePath")
    return discovery.relative_name(f"/{folder.name}/{path.parent.relative_to(folder)}".removesuffix("/."), path)


def group_images(
    configuration: Configuration,
    files: dict[str, list[pathlib.Path]],
    patient_map: dict[str, str],
    existing: ExistingSplit | None = None,
) -> grouping.Assignment:
    """Assign groups and patients to the images of the class folders and to the test images, and log what is unclear.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      patient_map: from grouping.load_patient_map of DatasetDir; a table in the test folder applies to the images there.
      existing: a split that is kept; equal names in two of its folders do not make a group.
    Returns:
      Assignment; test images have the names that `test_name` gives.
    Raises:
      DataError: `groups_match_nothing`: groups.csv has rows, but none of them matches an image.
    """
    images = {path: discovery.image_name(configuration, name, path) for name, paths in files.items() for path in paths}
    names = list(images.values())
    test_names = [test_name(configuration, path) for path in list_test_files(configuration)]
    folder = configuration.path("TestImagePath")
    of_test_images = grouping.load_patient_map(folder)
    patient_map = {**patient_map, **{f"{folder.name}/{row}": patient for row, patient in of_test_images.items()}}
    assignment = grouping.assign_groups([*names, *test_names], configuration["GroupPattern"], patient_map)
    if patient_map and len(assignment.unmatched) == len(patient_map):
        raise DataError(
            Message(
                "{path}: none of its {count} rows matches an image (first row: {row}, first image: {names}). "
                "Correct the file names in it",
                path=configuration.path("DatasetDir") / grouping.GROUPS_FILE,
                count=len(patient_map),
                row=next(iter(patient_map)),
                names=names[0],
            ),
            code="groups_match_nothing",
        )
    grouping.log_doubts(assignment, names)
    if existing:
        roles = {**dict.fromkeys(test_names, "test"), **{name: existing.roles[path] for path, name in images.items()}}
        return existing_split.separate_names(assignment, roles)
    return assignment


def read_test_records(
    configuration: Configuration, assignment: grouping.Assignment, decoding: Decoding | None = None
) -> list[ImageRecord]:
    """Return a record without class for every file of the test folder; only images have a format and descriptors.

    Args:
      configuration: Configuration.
      assignment: groups and patients of the images.
      decoding: of the run; its store keeps the descriptors.
    """
    decoding = decoding or Decoding(configuration)
    records = []
    inputs = test_inputs(configuration)
    for (path, name, _test), result in zip(inputs, decoding.read(inputs), strict=True):
        record = ImageRecord(
            location=path,
            class_name=name.rpartition("/")[0],
            label=-1,
            group=assignment.groups[name],
            # Of a file whose decoding ended the process, at least the content is compared.
            sha256=result.get("sha256") or provenance.sha256_file(path),
            size=result.get("size") or pathlib.Path(path).stat().st_size,
            patient=assignment.patients.get(name, ""),
        )
        if "format" in result:
            record.restore(result, decoding.store)
        records.append(record)
    return records


def test_inputs(configuration: Configuration) -> list[Input]:
    """Return the files of the test folder, to be decoded."""
    return [(str(path), test_name(configuration, path), True) for path in list_test_files(configuration)]


def exclude_test_groups(
    configuration: Configuration, records: Iterable[ImageRecord], tests: Sequence[ImageRecord]
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Separate the images that belong to a test image: copies, views, and images of the same patient.

    Args:
      configuration: Configuration.
      records: images of the class folders, after near_duplicates.relate.
      tests: the test images, after near_duplicates.relate.
    Returns:
      (records that stay, records of groups that hold a test image).
    """
    groups = {test.group for test in tests}
    kept: list[ImageRecord] = []
    held_out: list[ImageRecord] = []
    for record in records:
        (held_out if record.group in groups else kept).append(record)
    if held_out:
        log.info(
            "Held out: %d images that belong to images in %s. The manifest lists them.",
            len(held_out),
            configuration.path("TestImagePath"),
        )
    return kept, held_out


def check_test_images(configuration: Configuration, manifest: tfrecords.Manifest) -> None:
    """Check before training that no test image is in the shards.

    Raises:
      DataError: `test_image_in_shards`: a test image is also a training or validation image.
    """
    tests = [(path, provenance.sha256_file(path)) for path in list_test_files(configuration)]
    hashes = {digest for _, digest in tests}
    rows = itertools.chain.from_iterable(manifest.splits.values())
    split = {row["sha256"]: row["file"] for row in rows if row["sha256"] in hashes}
    added = []
    for path, digest in tests:
        if digest in split:
            raise DataError(
                Message(
                    "{path}: this test image is also the training or validation image {split}. Run python3 "
                    "Data.py again",
                    path=path,
                    split=split[digest],
                ),
                code="test_image_in_shards",
            )
        if manifest.tests is not None and digest not in manifest.tests:
            added.append(path)
    if added:
        log.warning(
            "%d files were added to the test folder after the split, for example %s, so images of their patients may "
            "be in training. Run python3 Data.py again.",
            len(added),
            added[0],
        )
