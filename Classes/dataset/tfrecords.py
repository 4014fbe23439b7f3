"""Read TFRecord shards, only if they match their manifest; shard_writer.py writes both."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from Classes.common import class_scheme, json_files, provenance
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, DataError, error_reason, tf_error_reason
from Classes.common.translation import Message
from Classes.dataset import manifest_rows, splitting

SPLITS = splitting.SPLITS
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Record:
    """One image of a shard.

    Attributes:
      encoded: content of the image file.
      format: "jpg", "png", …
      label: index of the class in `Classes.txt`.
      height, width: pixels.
      filename: class folder and name.
      group: see grouping.py.
      sha256: of `encoded`, 64 hexadecimal digits.
    """

    encoded: bytes
    format: str
    label: int
    height: int
    width: int
    filename: str
    group: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Content of the shards.

    Attributes:
      folder: contains the shards.
      classes: class names in the order of their labels.
      splits: {"train" and "validation": rows {"file", "class", "label", "group", "sha256", "bytes"}}, with "patient" if
        it is known; a list, or ManifestRows if they were loaded.
      shards: [{"file", "split", "count", "sha256"}].
      synthetic: whether the images are synthetic.
      sha256: of the classes and splits; equal data sets have equal hashes.
      tests: SHA-256 of the test images that were held out; None if the manifest does not list them.
      images_sha256: of all images before any was left out, see image_records.hash_images; None in older manifests.
      data_set: what is known of a published data set, see image_source.ImageSource.describe; None for class folders.
    """

    folder: pathlib.Path
    classes: list[str]
    splits: Mapping[str, Sequence[dict[str, Any]]]
    shards: list[dict[str, Any]]
    synthetic: bool
    sha256: str
    tests: frozenset[str] | None = None
    images_sha256: str | None = None
    data_set: dict[str, Any] | None = None

    def paths(self, split: str) -> list[pathlib.Path]:
        """Return the shards of a split, in order."""
        return [self.folder / shard["file"] for shard in self.shards if shard["split"] == split]


def fit_to_classes(configuration: Configuration, manifest: Manifest) -> Configuration:
    """Return the configuration with the number of classes of the shards."""
    return configuration.replace(NumClasses=len(manifest.classes))


def manifest_path(configuration: Configuration) -> pathlib.Path:
    """Return the path of the manifest, which is beside the shards."""
    return configuration.path("DatasetDir") / f"{configuration['TFRecordFile']}_manifest.json"


def load_manifest_for_training(configuration: Configuration) -> Manifest:
    """Load the manifest and check that its classes match the configuration.

    Raises:
      ConfigurationError: `class_mismatch`: the classes do not match; or see class_scheme.find_error.
      DataError: as load_manifest.
    """
    found = load_manifest(configuration)
    listed = ", ".join(found.classes)
    if not configuration.accepts_class_count(len(found.classes)):
        raise ConfigurationError(
            Message(
                "NumClasses is {number}, but the shards have the classes {listed}. Set NumClasses to "
                "{count}, or run python3 Data.py again",
                number=configuration["NumClasses"],
                listed=listed,
                count=len(found.classes),
            ),
            "class_mismatch",
        )
    unknown = [name for name in class_scheme.configured_positive(configuration) if name not in found.classes]
    if unknown:
        raise ConfigurationError(
            Message(
                "PositiveClass is {positive}, but the shards have the classes {listed}. Set PositiveClass to "
                "the one that means {condition}, or run python3 Data.py again",
                condition=configuration.condition.name,
                positive=unknown[0],
                listed=listed,
            ),
            "class_mismatch",
        )
    class_scheme.from_configuration(configuration, found.classes)
    return found


def require_manifest(configuration: Configuration) -> None:
    """Raise DataError `no_shards` if there are no shards; `load_manifest` checks them."""
    file = manifest_path(configuration)
    if not file.exists():
        raise _no_shards(file)


def _no_shards(file: pathlib.Path) -> DataError:
    return DataError(Message("{file}: there are no shards yet. Run python3 Data.py", file=file), "no_shards")


def load_manifest(configuration: Configuration) -> Manifest:
    """Load the manifest and check every shard against it.

    Raises:
      DataError: `no_shards`: there are none; `damaged_shards`: the manifest or a shard is damaged or missing.
    """
    file = manifest_path(configuration)
    again = Message("Run python3 Data.py")
    try:
        values = json_files.read_json(file, manifest_rows.pack_row)
        classes, shards = values["classes"], values["shards"]
        splits = {split: manifest_rows.ManifestRows(values["splits"][split]) for split in SPLITS}
        content = values["content_sha256"]
        valid = values["version"] == VERSION and content == content_hash(classes, splits)
        counts = {split: sum(shard["count"] for shard in shards if shard["split"] == split) for split in SPLITS}
        valid = valid and isinstance(values["synthetic"], bool)
        valid = valid and all(counts[split] == len(splits[split]) for split in SPLITS)
        tests = frozenset(test["sha256"] for test in values["tests"]) if "tests" in values else None
        images = values.get("images_sha256")
        about = values.get("data_set")
        found = Manifest(file.parent, classes, splits, shards, values["synthetic"], content, tests, images, about)
        hashes = [(file.parent / shard["file"], shard["sha256"]) for shard in shards]
    except FileNotFoundError as error:
        raise _no_shards(file) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = Message("{file}: damaged ({reason}). {again}", file=file, reason=error_reason(error), again=again)
        raise DataError(message, "damaged_shards") from error
    if not valid:
        raise DataError(
            Message("{file}: of another version, or changed after it was written. {again}", file=file, again=again),
            "damaged_shards",
        )
    _check_shards(file, hashes, again)
    return found


def _check_shards(manifest: pathlib.Path, hashes: Sequence[tuple[pathlib.Path, str]], again: Message) -> None:
    """Raise DataError `damaged_shards` if a shard is missing or differs from the manifest; `again`: what to do."""
    name = manifest.name
    for shard, expected in hashes:
        if not shard.is_file():
            message = Message("{shard}: missing, but listed in {name}. {again}", shard=shard, name=name, again=again)
            raise DataError(message, "damaged_shards")
        if provenance.sha256_file(shard) != expected:
            message = Message("{shard}: its SHA-256 differs from {name}. {again}", shard=shard, name=name, again=again)
            raise DataError(message, "damaged_shards")


def iter_records(configuration: Configuration, split: str, manifest: Manifest | None = None) -> Iterator[Record]:
    """Yield every record of a split once, in the order of the shards.

    Args:
      configuration: Configuration.
      split: "train" or "validation".
      manifest: of the shards; None: it is read for their names.
    Raises:
      DataError: `damaged_shards`: a shard can no longer be read.
    """
    import tensorflow as tf

    folder = configuration.path("DatasetDir")
    if manifest is None:
        shards = json_files.read_json(manifest_path(configuration), manifest_rows.pack_row)["shards"]
        files = [str(folder / shard["file"]) for shard in shards if shard["split"] == split]
    else:
        files = [str(path) for path in manifest.paths(split)]
    # TensorFlow prints a message if the buffer size is not given.
    raw = tf.data.TFRecordDataset(files, buffer_size=1 << 20).as_numpy_iterator()
    while True:
        try:
            record = next(raw, None)
        except tf.errors.OpError as error:
            # load_manifest has checked the hash of every shard, so the file was damaged after that.
            raise DataError(
                Message(
                    "{folder}: a shard cannot be read ({reason}). Run python3 Data.py",
                    folder=folder,
                    reason=tf_error_reason(error),
                ),
                "damaged_shards",
            ) from error
        if record is None:
            return
        yield _parse(tf.train.Example.FromString(record))


def _parse(example: Any) -> Record:
    feature = example.features.feature

    def text(name: str) -> str:
        return feature[f"image/{name}"].bytes_list.value[0].decode()

    def number(name: str) -> int:
        return feature[f"image/{name}"].int64_list.value[0]

    return Record(
        encoded=feature["image/encoded"].bytes_list.value[0],
        format=text("format"),
        label=number("class/label"),
        height=number("height"),
        width=number("width"),
        filename=text("filename"),
        group=text("group"),
        sha256=text("sha256"),
    )


def content_hash(classes: Sequence[str], splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the hash that identifies a data set, 64 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for split in SPLITS:
        digest.update(split.encode())
        rows = splits[split]
        for row in rows.packed if isinstance(rows, manifest_rows.ManifestRows) else rows:
            digest.update(row if isinstance(row, bytes) else json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
