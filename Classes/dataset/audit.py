"""Audit a data folder: unreadable images, duplicates, class imbalance, and differences that predict the class."""

import collections
import itertools
import logging
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from Classes import Helpers
from Classes.common import (
    atomic_files,
    error_messages,
    input_files,
    json_files,
    locks,
    provenance,
    temp_files,
    terminal,
)
from Classes.common.config import Configuration
from Classes.common.errors import ALLError, error_reason
from Classes.common.translation import Message, mark, ngettext
from Classes.common.translation import gettext as _
from Classes.dataset import (
    audit_problems,
    audit_report,
    discovery,
    grouping,
    held_out,
    image_records,
    image_source,
    leakage_probe,
    near_duplicates,
    perceptual_hash,
    tfrecords,
)
from Classes.dataset.audit_record import TEST, AuditRecord
from Classes.dataset.decoding import Decoding
from Classes.dataset.descriptor_store import DescriptorStore
from Classes.dataset.presets.existing_split import ExistingSplit
from Classes.imaging import color_stats, network_input

# Similarity from which a pair is reported. Lower than the similarity at which Data.py acts, because a person checks the
# pairs; much lower, and the upper bound of the comparison would exclude nothing.
SIMILARITY_REPORTED = 0.85

# Largest ratio of a side or an aspect ratio to the usual one.
OUTLIER_RATIO = 1.5

# What the comparison of images does not find; docs/data.md has the measured shares.
NOT_FOUND = Message(
    "Crops are found if both show the same prominent nucleus far enough from their borders: nearly all up to a shift "
    "of a twentieth of the side, fewer beyond a tenth. Crops that share only a cut nucleus or only red cells, crops of "
    "less than 0.7 of the other's magnification, many cells cut out on a plain background, some cells that were "
    "photographed twice with another light and focus, and images below 32 pixels are not found."
)

log = logging.getLogger("Data")


def audit_dataset(configuration: Configuration, strict: bool = False) -> int:
    """Audit DatasetDir and TestImagePath without changing them.

    Writes ReportDir/Data.html, which works offline, and Data.json with the same findings.

    Args:
      configuration: Configuration.
      strict: return exit code 1 if there is any finding.
    Returns:
      exit code.
    Raises:
      DataError: the folders do not have the expected layout.
    """
    configuration, source = image_source.find_images(configuration)
    image_source.announce(source)
    findings = _write_audit(configuration, source)
    for problem in findings["problems"]:
        log.warning("%s: %s. %s", problem["title"], problem["text"], problem["advice"])
    images, count = findings["images"] + findings["tests"], len(findings["problems"])
    page = configuration.path("ReportDir") / "Data.html"
    log.info("%d images audited, %d findings.", images, count)
    log.info("Wrote %s and Data.json", page)
    result = ngettext("{images} images audited, {count} finding.", "{images} images audited, {count} findings.", count)
    terminal.show_end(result.format(images=images, count=count), [(_("Audit"), page)], "python3 Data.py")
    return 1 if strict and findings["problems"] else 0


def audit_if_outdated(configuration: Configuration, decoding: Decoding | None = None) -> None:
    """Audit the images if there are at most `AuditImages`, and the last audit is not of these images and this split.

    Without images, for example on a machine that has only the shards, or if the report cannot be written, a line in the
    log is all that happens.

    Args:
      configuration: Configuration.
      decoding: of a run that has decoded the images and removes its part files later; None: decode them.
    """
    # A killed Data.py Check leaves files here even if the audit before it is still valid.
    temp_files.remove_stale_temp_files(configuration.path("ReportDir"))
    try:
        manifest = tfrecords.load_manifest(configuration)
        images = sum(map(len, manifest.splits.values()))
        if images > configuration["AuditImages"] or not why_outdated(manifest, read_audit(configuration)):
            return
        count = len(_write_audit(*image_source.find_images(configuration), decoding)["problems"])
        page = configuration.path("ReportDir") / "Data.html"
        log.info("Audited the images, %d findings: see %s", count, page)
    except (ALLError, OSError) as error:
        log.info("The images were not audited: %s", error_messages.error_message(error)[0])


def read_audit(configuration: Configuration) -> dict[str, Any] | None:
    """Return the content of Data.json; None if it is missing or, with a warning, if it is damaged."""
    path = configuration.path("ReportDir") / "Data.json"
    try:
        return json_files.read_verified(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: damaged (%s). It is left out. Run python3 Data.py Check.", path, error_reason(error))
        return None


def why_outdated(manifest: tfrecords.Manifest, findings: dict[str, Any] | None) -> Message | None:
    """Return why an audit is not of the images and the split of a data set; None if it is."""
    if findings is None:
        return Message("The images were not audited.")
    images, split = findings.get("images_sha256"), findings.get("manifest_sha256")
    if images is None or images != manifest.images_sha256:
        return Message("The audit of {created} is of other images.", created=str(findings.get("created")))
    if split not in (None, manifest.sha256):
        return Message(
            "The audit of {created} is of another split (data set {split}).",
            created=str(findings.get("created")),
            split=str(split),
        )
    return None


def _write_audit(
    configuration: Configuration, source: image_source.ImageSource, before: Decoding | None = None
) -> dict[str, Any]:
    """Audit the images, write Data.html and Data.json, and return the content of Data.json.

    Args:
      configuration: Configuration.
      source: the images.
      before: see `audit_if_outdated`.
    """
    decoding = before if before and before.audit else Decoding(configuration, audit=True)
    records, unreadable = scan_images(configuration, source.files, source.split, decoding)
    findings = summarize(configuration, records, decoding.store)
    findings |= {"unreadable": unreadable, "ignored": source.ignored, "notice": Helpers.DISCLAIMER}
    findings["data_set"] = source.describe()
    findings |= _audited_data(configuration, records)
    findings["problems"] = audit_problems.list_problems(configuration, findings)
    folder = configuration.path("ReportDir")
    page = audit_report.render_audit(configuration, findings, records)
    with locks.folder_lock(folder, wait=True):
        # Data.json is last: it decides whether the audit is outdated, so a run that is killed in between is repeated.
        atomic_files.write_atomic(folder / "Data.html", page)
        json_files.write_json(folder / "Data.json", json_files.with_checksum(findings))
    if decoding is not before:
        decoding.remove_parts()
    return findings


def scan_images(
    configuration: Configuration,
    files: dict[str, list[pathlib.Path]],
    existing: ExistingSplit | None,
    decoding: Decoding,
) -> tuple[list[AuditRecord], list[dict[str, str]]]:
    """Decode every image in full, unless Data.py has just done it.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
      existing: a split that is kept; it may not be in a manifest yet, because Data.py has refused it.
      decoding: of the run, or of Data.py's; its store keeps the descriptors.
    Returns:
      (records ordered by file name, [{"file", "reason"}] of images that cannot be read or are blank).
    """
    tests, skipped = input_files.walk(configuration, configuration.path("TestImagePath"))
    skipped.report(log, configuration.path("TestImagePath"))
    patient_map = grouping.load_patient_map(discovery.image_folder(configuration))
    assignment = held_out.group_images(configuration, files, patient_map)
    # Data.py reads the same list of the class folders, and other names of the test images.
    decoding.reuse(held_out.test_inputs(configuration))
    records, unreadable = [], []
    for images in (image_records.class_images(files), [(str(path), TEST, -1) for path in tests]):
        found, failed = image_records.decode_all(configuration, AuditRecord, images, assignment, decoding)
        records += found
        unreadable += failed
    splits = _load_splits(configuration)
    if existing:
        splits = {record.filename: existing.roles.get(record.path, "") for record in records}
    for record in records:
        record.split = "test" if record.class_name == TEST else splits.get(record.filename, "")
    return sorted(records, key=lambda record: record.filename), unreadable


def _audited_data(configuration: Configuration, records: Sequence[AuditRecord]) -> dict[str, Any]:
    """Return when and of which images and split the findings are; the split is None before Data.py has made one."""
    try:
        split = json_files.read_json(tfrecords.manifest_path(configuration))["content_sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        split = None
    images = image_records.hash_images(record for record in records if record.class_name != TEST)
    return {"created": provenance.utc_now_iso(), "images_sha256": images, "manifest_sha256": split}


def _load_splits(configuration: Configuration) -> dict[str, str]:
    """Return {class/file: split} of the last Data.py run; empty if there is no valid manifest."""
    try:
        splits = json_files.read_json(tfrecords.manifest_path(configuration))["splits"]
        return {row["file"]: split for split, rows in splits.items() for row in rows}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def summarize(configuration: Configuration, records: Sequence[AuditRecord], store: DescriptorStore) -> dict[str, Any]:
    """Return the findings for Data.json."""
    images = [record for record in records if record.class_name != TEST]
    sources = _without_views(images)
    pairs = _near_duplicates(records, store)
    return {
        "images": len(images),
        "tests": len(records) - len(images),
        "classes": _classes(images),
        "sizes": _counts(f"{record.width}x{record.height}" for record in images),
        "modes": _counts(record.mode for record in images),
        "formats": _counts(record.format for record in images),
        "odd_sizes": _unusual_sizes(configuration, sources),
        "odd_modes": _unusual_modes(sources),
        "exact": _exact_duplicates(records),
        "alike": pairs,
        "crops": _overlapping_crops(configuration, records, store, pairs),
        "not_found": NOT_FOUND,
        "colours": {name: _color_percentiles(found) for name, found in _by_class(sources).items()},
        "probes": _probes(configuration, sources),
    }


def _without_views(records: Iterable[AuditRecord]) -> list[AuditRecord]:
    return [record for record in records if not grouping.is_augmented_view(record.file)]


def _by_class(records: Iterable[AuditRecord]) -> dict[str, list[AuditRecord]]:
    by_class = collections.defaultdict(list)
    for record in records:
        by_class[record.class_name].append(record)
    return dict(sorted(by_class.items()))


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(collections.Counter(values).most_common())


def _classes(records: Iterable[AuditRecord]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "images": len(found),
            "originals": len(_without_views(found)),
            "groups": len({record.group for record in found}),
            "splits": _counts(record.split for record in found if record.split),
        }
        for name, found in _by_class(records).items()
    }


def _unusual_sizes(configuration: Configuration, records: Sequence[AuditRecord]) -> list[dict[str, Any]]:
    """Return images that are much larger or smaller than the median, of another aspect ratio, or upscaled."""
    if not records:
        return []
    usual = statistics.median(min(record.width, record.height) for record in records)
    aspect = statistics.median(
        max(record.width, record.height) / min(record.width, record.height) for record in records
    )
    found = []
    for record in records:
        short, long = sorted((record.width, record.height))
        upscaled = short * network_input.CROP_FRACTION < configuration["ImageSize"] / OUTLIER_RATIO
        reasons = [mark("larger")] * (short > usual * OUTLIER_RATIO) + [mark("smaller")] * (
            short < usual / OUTLIER_RATIO
        )
        reasons += [mark("other aspect ratio")] * (not aspect / OUTLIER_RATIO <= long / short <= aspect * OUTLIER_RATIO)
        reasons += [mark("upscaled for the network")] * upscaled
        if reasons:
            found.append({"file": record.filename, "size": f"{record.width}x{record.height}", "reasons": reasons})
    return found


def _unusual_modes(records: Sequence[AuditRecord]) -> list[dict[str, str]]:
    """Return images that are not stored in the most frequent mode, such as grayscale or 16-bit images."""
    usual = next(iter(_counts(record.mode for record in records)), None)
    return [{"file": record.filename, "mode": record.mode} for record in records if record.mode != usual]


def _exact_duplicates(records: Iterable[AuditRecord]) -> list[dict[str, Any]]:
    by_content = itertools.groupby(
        sorted(records, key=lambda record: (record.sha256, record.filename)), lambda record: record.sha256
    )
    found = [list(copies) for _, copies in by_content]
    return [
        {"files": [record.filename for record in copies], **_borders_crossed(copies)}
        for copies in found
        if len(copies) > 1
    ]


def _near_duplicates(records: Iterable[AuditRecord], store: DescriptorStore) -> list[dict[str, Any]]:
    """Return pairs of near duplicates without views, the most similar first."""
    chosen = _without_views(records)
    fingerprints = store.fingerprints_of([record.described for record in chosen])
    found = []
    for one, other, similarity in perceptual_hash.matching_pairs(fingerprints, same=SIMILARITY_REPORTED):
        pair = chosen[one], chosen[other]
        if not _same_source(*pair):
            files = [record.filename for record in pair]
            found.append({"files": files, "similarity": round(min(similarity, 1.0), 3), **_borders_crossed(pair)})
    return sorted(found, key=lambda pair: -pair["similarity"])


def _same_source(one: AuditRecord, other: AuditRecord) -> bool:
    """Return whether two images have the same content, or the names of one source image."""
    stems = {grouping.base_stem(record.file) for record in (one, other)}
    return one.sha256 == other.sha256 or (len(stems) == 1 and one.class_name == other.class_name)


def _overlapping_crops(
    configuration: Configuration,
    records: Iterable[AuditRecord],
    store: DescriptorStore,
    pairs: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return pairs of shifted or overlapping crops of one picture that are not in `pairs`."""
    known = {frozenset(pair["files"]) for pair in pairs}

    def wanted(one: AuditRecord, other: AuditRecord) -> bool:
        return not _same_source(one, other) and frozenset((one.filename, other.filename)) not in known

    found = [
        {"files": [one.filename, other.filename], "similarity": round(correlation, 3), **_borders_crossed([one, other])}
        for one, other, correlation in near_duplicates.overlapping(
            configuration, _without_views(records), store, wanted
        )
    ]
    return sorted(found, key=lambda pair: -pair["similarity"])


def _borders_crossed(records: Sequence[AuditRecord]) -> dict[str, bool]:
    """Return whether duplicates are in several classes, in training and validation, or among the test images."""
    classes = {record.class_name for record in records} - {TEST}
    return {
        "across_classes": len(classes) > 1,
        "across_splits": {"train", "validation"} <= {record.split for record in records},
        "across_test": len({record.class_name == TEST for record in records}) > 1,
    }


def _color_percentiles(records: Sequence[AuditRecord]) -> dict[str, list[float]]:
    """Return {feature: [5th percentile, median, 95th percentile]} of a class."""
    features = numpy.array([[*record.colors, *record.means] for record in records])
    means = (mark("mean red"), mark("mean green"), mark("mean blue"))
    names = (*color_stats.FEATURES, *means)
    percentiles = numpy.quantile(features, [0.05, 0.5, 0.95], axis=0).T
    return {name: [round(float(each), 1) for each in row] for name, row in zip(names, percentiles, strict=True)}


def _probes(configuration: Configuration, records: Iterable[AuditRecord]) -> dict[str, dict[str, Any]]:
    """Return the results of the leakage probe."""
    # Ordered by content hash, so that the first are a random sample.
    records = sorted(records, key=lambda record: record.sha256)[: leakage_probe.MAX_IMAGES]
    if not records:
        return {}
    formats = sorted({record.format for record in records})
    kinds = {
        "background colour": [record.background for record in records],
        "image size": [(record.width, record.height) for record in records],
        "file format and metadata": [
            [*(record.format == name for name in formats), *record.metadata] for record in records
        ],
        "bytes per pixel": [[record.bytes_per_pixel] for record in records],
    }
    names, groups = [record.class_name for record in records], [record.group for record in records]
    return leakage_probe.probe_artifacts(configuration, kinds, names, groups)
