"""One record per image: decode each image once, in full, and keep only what grouping, splitting and the audit need."""

import dataclasses
import hashlib
import itertools
import json
import logging
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy

from Classes.common import logs, parallel
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.common.translation import gettext as _
from Classes.dataset import crop_descriptors, discovery, grouping, perceptual_hash
from Classes.imaging import color_stats, content_check, decode, network_input

# Shorter side in pixels of the reduced copy that color statistics and descriptors are computed from.
THUMBNAIL_SIDE = 128

log = logging.getLogger("Data")


@dataclasses.dataclass(slots=True)
class ImageRecord:
    """One image.

    Attributes:
      path: the file.
      class_name, label: its class folder and the number of the class.
      group: name of its group, see grouping.py.
      sha256, size: of the file's bytes.
      format, width, height: of the image; "", 0 and 0 for a file of the test folder that is not an image.
      background: background color, see color_stats.background_color.
      fingerprint: see perceptual_hash.descriptor; None if the file is not an image or the value was released.
      crops: see crop_descriptors.describe; None in the cases of `fingerprint`.
      patient: "" if unknown. A group can hold several patients if they share a copy of an image.
      name: path below the folder of the images; "": its class folder and file name.
      picture: number that all copies and views of one source image share, see near_duplicates.relate.
    """

    path: pathlib.Path
    class_name: str
    label: int
    group: str
    sha256: str
    size: int
    format: str = ""
    width: int = 0
    height: int = 0
    background: tuple[int, int, int] | None = None
    fingerprint: numpy.ndarray | None = None
    patient: str = ""
    name: str = ""
    picture: int = -1
    crops: numpy.ndarray | None = None

    @property
    def filename(self) -> str:
        """Class folder and file name; unlike the path, it does not change if the data folder moves."""
        return self.name or discovery.relative_name(self.class_name, self.path)

    def measure(self, data: bytes, image: numpy.ndarray) -> None:
        """Compute the attributes that depend on pixels.

        Args:
          data: content of the file.
          image: uint8 [H, W, 3], RGB, the reduced copy.
        """
        self.background = color_stats.background_color(image)
        self.fingerprint = perceptual_hash.descriptor(image)
        self.crops = crop_descriptors.describe(image)

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


def class_images(files: dict[str, list[pathlib.Path]]) -> list[tuple[pathlib.Path, str, int]]:
    """Return (path, class name, label) of all images in `files`, {class: [paths]} in the order of the labels."""
    return [(path, name, label) for label, (name, paths) in enumerate(files.items()) for path in paths]


def decode_all(
    configuration: Configuration,
    record_type: type[Record],
    images: Sequence[tuple[pathlib.Path, str, int]],
    assignment: grouping.Assignment,
) -> tuple[list[Record], list[dict[str, str]]]:
    """Decode every image in full in several threads and keep a record of each, not its pixels.

    Args:
      configuration: Configuration.
      record_type: ImageRecord or a subclass.
      images: (path, class name, label) of each image.
      assignment: groups and patients of the images.
    Returns:
      (records ordered by SHA-256, of equal contents source images and known patients first;
      [{"file", "reason"}] of the images that cannot be read or are blank).
    """

    limits = decode.decode_limits(configuration)

    def read(path: pathlib.Path, class_name: str, label: int) -> Record | dict[str, str]:
        filename = discovery.image_name(configuration, class_name, path, test=label < 0)
        try:
            data = path.read_bytes()
            info, image = decode.decode_thumbnail(data, THUMBNAIL_SIDE, limits, name=filename)
            content_check.require_content(network_input.center_crop_resize(image, THUMBNAIL_SIDE), filename)
        except ImageError as error:
            return {"file": filename, "reason": str(error)}
        except OSError as error:
            return {"file": filename, "reason": f"{filename}: {error.strerror}"}
        record = record_type(
            path=path,
            class_name=class_name,
            label=label,
            group=assignment.groups.get(filename, filename),
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            format=info.format,
            width=info.width,
            height=info.height,
            patient=assignment.patients.get(filename, ""),
            name=filename,
        )
        record.measure(data, image)
        return record

    records: list[Record] = []
    unreadable = []
    with logs.progress(total=len(images), desc=_("Images"), unit="image") as bar:
        for found in parallel.map_threads(read, images, configuration.workers):
            bar.update()
            if isinstance(found, dict):
                unreadable.append(found)
            else:
                records.append(found)
    return sorted(records, key=_order), unreadable


def _order(record: ImageRecord) -> tuple[str, bool, bool, str]:
    return record.sha256, grouping.is_augmented_view(record.path.name), not record.patient, record.filename


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
