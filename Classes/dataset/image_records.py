"""One record per image: decode each image once, in full, and keep only what grouping, splitting and the audit need."""

import dataclasses
import hashlib
import itertools
import json
import logging
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from Classes.common.config import Configuration
from Classes.dataset import descriptor_store, discovery, grouping
from Classes.dataset.decoding import Decoding, Input
from Classes.dataset.descriptor_store import DescriptorStore
from Classes.jobs.job_folder import KILLED

log = logging.getLogger("Data")


@dataclasses.dataclass(slots=True)
class ImageRecord:
    """One image.

    Attributes:
      location: path of the file; it is kept as the folder, whose text all files in it share, and the name of the file.
      folder, file: of the location.
      class_name, label: its class folder and the number of the class.
      group: name of its group, see grouping.py.
      sha256, size: of the file's bytes.
      format, width, height: of the image; "", 0 and 0 for a file of the test folder that is not an image.
      rgb: background color as three bytes, which take half of the memory of a tuple.
      described: its number in the DescriptorStore of the run; -1 if the file is not an image.
      compared: whether its fingerprint can match others; not if the image is too small or too plain.
      patient: "" if unknown. A group can hold several patients if they share a copy of an image.
      name: path below the folder of the images; "": its class folder and file name.
      picture: number that all copies and views of one source image share, see near_duplicates.relate.
    """

    location: dataclasses.InitVar[str]
    folder: str = dataclasses.field(init=False)
    file: str = dataclasses.field(init=False)
    class_name: str
    label: int
    group: str
    sha256: str
    size: int
    format: str = ""
    width: int = 0
    height: int = 0
    rgb: bytes = b""
    described: int = -1
    compared: bool = False
    patient: str = ""
    name: str = ""
    picture: int = -1

    def __post_init__(self, location: str) -> None:
        path = pathlib.Path(location)
        self.folder, self.file = sys.intern(str(path.parent)), path.name
        # Most images are in their class folder, and the text would take as much memory as the name of the file.
        if self.name == discovery.relative_name(self.class_name, path):
            self.name = ""

    @property
    def background(self) -> tuple[int, ...] | None:
        """The background color, see color_stats.background_color; None if it is unknown."""
        return tuple(self.rgb) or None

    @property
    def path(self) -> pathlib.Path:
        """The file."""
        return pathlib.Path(self.folder, self.file)

    @property
    def filename(self) -> str:
        """Class folder and file name; unlike the path, it does not change if the data folder moves."""
        return self.name or discovery.relative_name(self.class_name, self.path)

    def restore(self, result: Mapping[str, Any], store: DescriptorStore) -> None:
        """Take over what decode_task.DecodeTask has found out about a readable image.

        Args:
          result: with its descriptors, which go to `store`.
          store: of the run.
        """
        self.format = sys.intern(result["format"])
        self.width, self.height = result["width"], result["height"]
        self.rgb = bytes(result.get("background") or b"")
        if "fingerprint" in result:
            self.described, self.compared = store.add(*(result[kind] for kind in descriptor_store.KINDS))

    def to_manifest(self) -> dict[str, Any]:
        """Return the entry of this image in the manifest."""
        return {
            "file": self.filename,
            "class": self.class_name,
            "label": self.label,
            "group": self.group,
            **({"patient": self.patient} if self.patient else {}),
            "sha256": self.sha256,
            "bytes": self.size,
        }


Record = TypeVar("Record", bound=ImageRecord)

# Path as text, class name and label; the label of a test image is -1.
Labeled = tuple[str, str, int]


def class_images(files: dict[str, list[pathlib.Path]]) -> list[Labeled]:
    """Return (path, class name, label) of all images in `files`, {class: [paths]} in the order of the labels."""
    return [(str(path), name, label) for label, (name, paths) in enumerate(files.items()) for path in paths]


def class_inputs(configuration: Configuration, images: Iterable[Labeled]) -> list[Input]:
    """Return images to be decoded, with their names."""
    return [
        (path, discovery.image_name(configuration, name, pathlib.Path(path), test=label < 0), False)
        for path, name, label in images
    ]


def decode_all(
    configuration: Configuration,
    record_type: type[Record],
    images: Sequence[Labeled],
    assignment: grouping.Assignment,
    decoding: Decoding | None = None,
) -> tuple[list[Record], list[dict[str, str]]]:
    """Decode every image in full and keep a record of each, not its pixels.

    Args:
      configuration: Configuration.
      record_type: ImageRecord or a subclass.
      images: (path, class name, label) of each image.
      assignment: groups and patients of the images.
      decoding: of the run; its store keeps the descriptors.
    Returns:
      (records ordered by SHA-256, of equal contents source images and known patients first;
      [{"file", "reason"}] of the images that cannot be read or are blank).
    """

    decoding = decoding or Decoding(configuration)
    inputs = class_inputs(configuration, images)
    records: list[Record] = []
    unreadable = []
    results = decoding.read(inputs)
    for (path, class_name, label), (_path, name, _test), result in zip(images, inputs, results, strict=True):
        if result == KILLED:
            result = {"reason": f"{name}: the process that decoded it ended twice"}
        if "reason" in result:
            unreadable.append({"file": name, "reason": result["reason"]})
            continue
        record = record_type(
            location=path,
            class_name=class_name,
            label=label,
            group=assignment.groups.get(name, name),
            sha256=result["sha256"],
            size=result["size"],
            patient=assignment.patients.get(name, ""),
            name=name,
        )
        record.restore(result, decoding.store)
        records.append(record)
    return sorted(records, key=_order), unreadable


def _order(record: ImageRecord) -> tuple[str, bool, bool, str]:
    return record.sha256, grouping.is_augmented_view(record.file), not record.patient, record.filename


def drop_exact_duplicates(records: Iterable[ImageRecord]) -> tuple[list[ImageRecord], list[dict[str, str]]]:
    """Keep one record per content.

    Args:
      records: ordered by SHA-256; the first of equal contents is kept.
    Returns:
      (records that are kept, [{"file", "of"}] of the other copies).
    """
    kept: list[ImageRecord] = []
    duplicates = []
    for _sha256, copies in itertools.groupby(records, key=lambda record: record.sha256):
        first, *others = copies
        kept.append(first)
        duplicates += [{"file": copy.filename, "of": first.filename} for copy in others]
    if duplicates:
        log.warning(
            "Left out: %d exact duplicates, for example %s of %s. The manifest lists them.",
            len(duplicates),
            duplicates[0]["file"],
            duplicates[0]["of"],
        )
    return kept, duplicates


def hash_images(records: Iterable[Any]) -> str:
    """Return what identifies a collection of images before any is split or left out, as 64 hexadecimal digits.

    Args:
      records: with `filename` and `sha256`, such as ImageRecord; their order does not count.
    """
    listed = sorted((record.filename, record.sha256) for record in records)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
