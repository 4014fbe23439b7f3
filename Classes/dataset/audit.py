"""The audit of a data folder: what is broken, doubled, unbalanced or tells the classes apart without a cell."""

import collections
import dataclasses
import hashlib
import itertools
import logging
import pathlib
import statistics

import numpy
import PIL.Image
import PIL.ImageStat

from Classes import Helpers
from Classes.common import atomic_files, input_files, parallel
from Classes.common.errors import ImageError
from Classes.dataset import (
    audit_report,
    discovery,
    grouping,
    held_out,
    image_records,
    leakage_probe,
    near_duplicates,
    overlapping_crops,
    perceptual_hash,
    tfrecords,
)
from Classes.imaging import color_stats, content_check, decode, network_input

# Lower than what Data.py acts on: here a person looks at the pairs. Much lower, and the fingerprints' bound would spare
# no comparison.
SIMILARITY_REPORTED = 0.85

# A side or a proportion that differs from the usual one by more than this factor is odd.
OUTLIER_RATIO = 1.5

# A class with less than this share of the largest one's images is told.
MIN_BALANCE = 0.5

# What the comparison of images does not find; docs/data.md has the measured shares.
NOT_FOUND = (
    "Crops are found if both show the same prominent nucleus far enough from their borders: nearly all up to a shift "
    "of a twentieth of the side, fewer beyond a tenth. Crops that share only a cut nucleus or only red cells, crops of "
    "less than 0.7 of the other's magnification, cells cut out on a plain background and images below 32 pixels are "
    "not found."
)

log = logging.getLogger("Data")


@dataclasses.dataclass(slots=True)
class AuditRecord:
    """What the audit keeps of an image.

    Attributes:
      path, filename, group, sha256: as of Data.ImageRecord; class_name is "Test" for a test image.
      split: "train", "validation", "test", or "" where Data.py has not used it.
      width, height, mode, format: of the stored image.
      metadata: figures of the file that have nothing to do with its picture.
      bytes_per_pixel: size of the file.
      colours: color_stats.color_features's figures; background and means: three levels each.
      fingerprint, crops: see perceptual_hash and overlapping_crops.
    """

    path: pathlib.Path
    filename: str
    class_name: str
    group: str
    split: str
    sha256: str
    width: int
    height: int
    mode: str
    format: str
    metadata: list
    bytes_per_pixel: float
    background: tuple
    means: list
    colours: numpy.ndarray
    fingerprint: numpy.ndarray
    crops: numpy.ndarray


def audit_dataset(configuration, strict=False):
    """Audit DatasetDir and TestImagePath; nothing is changed there.

    Writes ReportDir/Data.html, which needs no network, and Data.json with the same findings.

    Args:
      configuration: Configuration.
      strict: any finding makes the exit code 1.
    Returns:
      exit code.
    Raises:
      DataError: the folders are not what the configuration expects.
    """
    files, ignored = discovery.find_class_images(configuration)
    looks, unreadable = scan_images(configuration, files)
    findings = summarize(configuration, looks)
    findings |= {"unreadable": unreadable, "ignored": ignored, "notice": Helpers.DISCLAIMER}
    findings["problems"] = list_problems(findings)
    folder = configuration.path("ReportDir")
    page = audit_report.render_audit(configuration, findings, looks)
    with atomic_files.folder_lock(folder, wait=True):
        atomic_files.write_json(folder / "Data.json", atomic_files.with_checksum(findings))
        atomic_files.write_atomic(folder / "Data.html", page)
    for problem in findings["problems"]:
        log.warning("%s: %s", problem["title"], problem["text"])
    log.info("%d images audited, %d findings.", len(looks), len(findings["problems"]))
    log.info("Wrote %s and Data.json", folder / "Data.html")
    return 1 if strict and findings["problems"] else 0


def scan_images(configuration, files):
    """Decode every image in full and keep what the audit needs.

    Args:
      configuration: Configuration.
      files: {class: [paths]}.
    Returns:
      ([Look, by file name], [{"file", "reason"} of what cannot be read or shows nothing]).
    """
    tests, skipped = input_files.walk(configuration, configuration.path("TestImagePath"))
    skipped.report(log, configuration.path("TestImagePath"))
    groups = held_out.group_images(
        configuration, files, grouping.load_patient_map(configuration.path("DatasetDir"))
    ).groups
    splits = _splits(configuration)
    work = [(path, name, discovery.relative_name(name, path)) for name, paths in files.items() for path in paths]
    work += [(path, "Test", discovery.relative_name("Test", path)) for path in tests]

    def one(path, class_name, filename):
        try:
            data = path.read_bytes()
            split = "test" if class_name == "Test" else splits.get(filename, "")
            return _scan_image(configuration, path, data, class_name, filename, groups.get(filename, filename), split)
        except (ImageError, OSError) as error:
            return {"file": filename, "reason": str(error)}

    looks, unreadable = [], []
    with Helpers.progress(total=len(work), desc="Audit", unit="image") as bar:
        for found in parallel.map_threads(one, work, configuration.workers):
            bar.update()
            (looks if isinstance(found, AuditRecord) else unreadable).append(found)
    return sorted(looks, key=lambda look: look.filename), unreadable


def _splits(configuration):
    """{class/file: split} of the last Data.py; empty where there was none."""
    try:
        splits = atomic_files.read_json(tfrecords.manifest_path(configuration))["splits"]
        return {row["file"]: split for split, rows in splits.items() for row in rows}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _scan_image(configuration, path, data, class_name, filename, group, split):
    facts, image = decode.decode_thumbnail(
        data, image_records.THUMBNAIL_SIDE, decode.decode_limits(configuration), name=filename
    )
    content_check.require_content(network_input.center_crop_resize(image, image_records.THUMBNAIL_SIDE), filename)
    background = color_stats.background_color(image)
    mode, metadata = decode.metadata(data)
    return AuditRecord(
        path=path,
        filename=filename,
        class_name=class_name,
        group=group,
        split=split,
        sha256=hashlib.sha256(data).hexdigest(),
        width=facts.width,
        height=facts.height,
        mode=mode,
        format=facts.format,
        metadata=[*metadata, len(mode)],
        bytes_per_pixel=len(data) / (facts.width * facts.height),
        background=background,
        means=PIL.ImageStat.Stat(PIL.Image.fromarray(image)).mean,
        colours=color_stats.color_features(image, background),
        fingerprint=perceptual_hash.descriptor(image),
        crops=overlapping_crops.describe(image),
    )


def summarize(configuration, looks):
    """The findings, as a dict for JSON."""
    data = [look for look in looks if look.class_name != "Test"]
    originals = [look for look in data if not grouping.is_augmented_view(look.path.name)]
    return {
        "images": len(data),
        "tests": len(looks) - len(data),
        "classes": _classes(data),
        "sizes": _counts(f"{look.width}x{look.height}" for look in data),
        "modes": _counts(look.mode for look in data),
        "formats": _counts(look.format for look in data),
        "odd_sizes": _odd_sizes(configuration, originals),
        "odd_modes": _odd_modes(originals),
        "exact": _exact_duplicates(looks),
        "alike": (alike := _near_duplicates(looks)),
        "crops": _overlapping_crops(configuration, looks, alike),
        "not_found": NOT_FOUND,
        "colours": {name: _color_percentiles(group) for name, group in _by_class(originals).items()},
        "probes": _probes(configuration, originals),
    }


def _by_class(looks):
    by_class = collections.defaultdict(list)
    for look in looks:
        by_class[look.class_name].append(look)
    return dict(sorted(by_class.items()))


def _counts(values):
    return dict(collections.Counter(values).most_common())


def _classes(looks):
    return {
        name: {
            "images": len(group),
            "originals": sum(not grouping.is_augmented_view(look.path.name) for look in group),
            "groups": len({look.group for look in group}),
            "splits": _counts(look.split for look in group if look.split),
        }
        for name, group in _by_class(looks).items()
    }


def _odd_sizes(configuration, looks):
    """Images much larger, smaller, or of other proportions than the usual one, or enlarged for the network."""
    if not looks:
        return []
    usual = statistics.median(min(look.width, look.height) for look in looks)
    shape = statistics.median(max(look.width, look.height) / min(look.width, look.height) for look in looks)
    odd = []
    for look in looks:
        short, long = sorted((look.width, look.height))
        reasons = ["larger"] * (short > usual * OUTLIER_RATIO) + ["smaller"] * (short < usual / OUTLIER_RATIO)
        reasons += ["of other proportions"] * (not shape / OUTLIER_RATIO <= long / short <= shape * OUTLIER_RATIO)
        reasons += ["enlarged for the network"] * (
            short * network_input.CROP_FRACTION < configuration["ImageSize"] / OUTLIER_RATIO
        )
        if reasons:
            odd.append({"file": look.filename, "size": f"{look.width}x{look.height}", "reasons": reasons})
    return odd


def _odd_modes(looks):
    """Images that are stored otherwise than most, such as in gray, with transparency or 16 bits."""
    usual = next(iter(_counts(look.mode for look in looks)), None)
    return [{"file": look.filename, "mode": look.mode} for look in looks if look.mode != usual]


def _exact_duplicates(looks):
    """Files of one content."""
    by_content = itertools.groupby(
        sorted(looks, key=lambda look: (look.sha256, look.filename)), lambda look: look.sha256
    )
    copies = [list(group) for _, group in by_content]
    return [
        {"files": [look.filename for look in group], **_boundaries_crossed(group)} for group in copies if len(group) > 1
    ]


def _near_duplicates(looks):
    """Pairs of originals that show one picture, however turned, mirrored or saved; the most alike first."""
    chosen = [look for look in looks if not grouping.is_augmented_view(look.path.name)]
    found = []
    for one, other, similarity in perceptual_hash.matching_pairs(
        [look.fingerprint for look in chosen], same=SIMILARITY_REPORTED
    ):
        pair = [chosen[one], chosen[other]]
        related = grouping.base_stem(pair[0].path.name) == grouping.base_stem(pair[1].path.name)
        if pair[0].sha256 != pair[1].sha256 and not (related and pair[0].class_name == pair[1].class_name):
            files = [look.filename for look in pair]
            found.append({"files": files, "similarity": round(min(similarity, 1.0), 3), **_boundaries_crossed(pair)})
    return sorted(found, key=lambda pair: -pair["similarity"])


def _overlapping_crops(configuration, looks, alike):
    """Pairs of originals that are shifted or overlapping crops of one picture, without those in `alike`."""
    chosen = [look for look in looks if not grouping.is_augmented_view(look.path.name)]
    known = {frozenset(pair["files"]) for pair in alike}

    def wanted(one, other):
        stems = {grouping.base_stem(look.path.name) for look in (one, other)}
        related = len(stems) == 1 and one.class_name == other.class_name
        known_already = frozenset((one.filename, other.filename)) in known
        return one.sha256 != other.sha256 and not related and not known_already

    found = [
        {
            "files": [one.filename, other.filename],
            "similarity": round(correlation, 3),
            **_boundaries_crossed([one, other]),
        }
        for one, other, correlation in near_duplicates.overlapping(configuration, chosen, wanted)
    ]
    return sorted(found, key=lambda pair: -pair["similarity"])


def _boundaries_crossed(looks):
    """Which borders a doubled picture crosses."""
    classes = {look.class_name for look in looks} - {"Test"}
    return {
        "across_classes": len(classes) > 1,
        "across_splits": {"train", "validation"} <= {look.split for look in looks},
        "across_test": len({look.class_name == "Test" for look in looks}) > 1,
    }


def _color_percentiles(looks):
    """{figure: [5 %, middle, 95 %]} of a class."""
    figures = {name: [look.colours[place] for look in looks] for place, name in enumerate(color_stats.FEATURES)}
    for place, name in enumerate(("mean red", "mean green", "mean blue")):
        figures[name] = [look.means[place] for look in looks]
    return {
        name: [round(float(each), 1) for each in numpy.quantile(values, [0.05, 0.5, 0.95])]
        for name, values in figures.items()
    }


def _probes(configuration, looks):
    """leakage_probe.predict_class_from_artifacts's answers by what the class is guessed from."""
    # In the order of contents, so that a part of them is a fair choice.
    looks = sorted(looks, key=lambda look: look.sha256)[: leakage_probe.MAX_IMAGES]
    formats = sorted({look.format for look in looks})
    kinds = {
        "background colour": [look.background for look in looks],
        "image size": [(look.width, look.height) for look in looks],
        "file format and metadata": [
            [*(look.format == name for name in formats), *look.metadata] for look in looks
        ],
        "bytes per pixel": [[look.bytes_per_pixel] for look in looks],
    }  # fmt: skip
    positive = [look.class_name == configuration["PositiveClass"] for look in looks]
    groups = [look.group for look in looks]
    return (
        {name: leakage_probe.predict_class_from_artifacts(rows, positive, groups) for name, rows in kinds.items()}
        if looks
        else {}
    )


LEAK_KINDS = (
    ("across_splits", "Leak between the splits", "run python3 Data.py again, it keeps them together"),
    ("across_test", "Leak into the test images", "python3 Data.py holds what belongs to them out of training"),
    ("across_classes", "One picture in several classes", "correct the label; python3 Data.py leaves them out"),
)


def list_problems(findings):
    """What a person has to look at: [{"title", "text"}], the gravest first."""
    doubled = findings["exact"] + [
        pair for pair in findings["alike"] if pair["similarity"] >= perceptual_hash.MATCH_THRESHOLD
    ]
    found = []
    for border, title, advice in LEAK_KINDS:
        # Crops of one slide may show different cells in their middles, so their classes may differ.
        crops = [] if border == "across_classes" else findings["crops"]
        crossing = [each["files"] for each in doubled + crops if each[border]]
        if crossing:
            found.append((title, f"{len(crossing)} found, {' and '.join(crossing[0][:2])} the first; {advice}"))
    found += _leak_findings(findings["probes"])
    rest = [pair for pair in findings["alike"] if pair not in doubled or not any(pair[each[0]] for each in LEAK_KINDS)]
    sizes = [row["originals"] for name, row in findings["classes"].items() if name != "Test"]
    counted = (
        (
            "Unreadable",
            findings["unreadable"],
            "files cannot be read or show nothing; repair or remove them, Data.py leaves them out",
        ),
        ("Copies", findings["exact"], "contents lie under several names; Data.py takes each once"),
        ("Alike", rest, "pairs of images look like one picture; look whether they are"),
        ("Overlapping crops", findings["crops"], "pairs of images overlap; Data.py keeps each in one split"),
        ("Odd sizes", findings["odd_sizes"], "images are much larger or smaller than the others, or too small"),
        ("Odd modes", findings["odd_modes"], "images are stored otherwise than the others, such as in gray"),
    )
    found += [(title, f"{len(what)} {words}") for title, what, words in counted if what]
    if sizes and min(sizes) < MIN_BALANCE * max(sizes):
        words = f"the smallest class has {min(sizes)} originals, the largest {max(sizes)}"
        found.append(("Unbalanced", f"{words}; accuracy says little then, look at sensitivity and specificity"))
    return [{"title": title, "text": text} for title, text in found]


def _leak_findings(probes):
    found = []
    for name, probe in probes.items():
        # How well a file compresses depends on its picture, so that is shown and not judged.
        if name != "bytes per pixel" and (leakage_probe.lowest(probe) or 0) >= leakage_probe.WARN_AUC:
            ends = probe["interval"] and "{:.3f} to {:.3f}".format(*probe["interval"])
            words = f"the {name} alone tells the classes apart, ROC AUC {probe['auc']:.3f} ({ends or probe['note']})"
            found.append(("Possible leak", f"{words}; take both classes from the same sources"))
    return found
