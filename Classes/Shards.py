"""TFRecord shards and their manifest: written as a whole, read only when they are what the manifest says."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import tempfile

from Classes import Files
from Classes.Errors import DataError

SPLITS = ("train", "validation")
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Record:
    """One image of a shard.

    Attributes:
      encoded: the image file's bytes as they were.
      format: "jpg", "png", …
      label: index of the class in `Classes.txt`.
      height, width: pixels.
      filename: class folder and name.
      group: what the image belongs to; see Splits.group.
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
    """What the shards hold.

    Attributes:
      folder: where they are.
      classes: class names in the order of their labels.
      splits: {"train" and "validation": [{"file", "class", "label", "group", "sha256", "bytes"}]}.
      shards: [{"file", "split", "count", "sha256"}].
      synthetic: whether the images are drawn.
      sha256: of the classes and splits, so that equal data have equal hashes wherever and whenever they were sharded.
    """

    folder: pathlib.Path
    classes: list
    splits: dict
    shards: list
    synthetic: bool
    sha256: str

    def paths(self, split):
        """The shards of a split, in order."""
        return [self.folder / shard["file"] for shard in self.shards if shard["split"] == split]


def write(configuration, splits, about):
    """Replace the shards of a data folder; on any failure the former ones stay as they are.

    Args:
      configuration: Configuration.
      splits: {"train" and "validation": [Data.Item]}, whose files still have to be what they were when hashed.
      about: dict for JSON that goes into the manifest: classes, synthetic, proof, what was left out, …
    Returns:
      Manifest.
    """
    folder = configuration.path("DatasetDir")
    for leftover in folder.glob(".shards-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    Files.sweep(folder)
    making = pathlib.Path(tempfile.mkdtemp(prefix=".shards-", suffix=".tmp", dir=folder))
    try:
        shards = [shard for split in SPLITS for shard in _write_split(configuration, split, splits[split], making)]
        listed = {split: [item.listing() for item in splits[split]] for split in SPLITS}
        content = _content(about["classes"], listed)
        manifest = {"version": VERSION, "content_sha256": content, **about, "shards": shards, "splits": listed}
        # From here to the manifest's own rename there is no manifest, so a machine that dies in between leaves a
        # folder that says "run Data.py again", never one that mixes two data sets.
        path(configuration).unlink(missing_ok=True)
        for old in _present(configuration):
            old.unlink()
        for shard in shards:
            (making / shard["file"]).replace(folder / shard["file"])
        Files.flush(folder)
        Files.write_json(path(configuration), manifest)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return Manifest(folder, about["classes"], listed, shards, about["synthetic"], content)


def path(configuration):
    """The manifest, beside the shards."""
    return configuration.path("DatasetDir") / f"{configuration['TFRecordFile']}_manifest.json"


def manifest(configuration):
    """The manifest, after every shard was held against it.

    Raises:
      DataError: no shards, or shards that are not what was written.
    """
    file = path(configuration)
    again = "run python3 Data.py"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        found = Manifest(
            file.parent, values["classes"], values["splits"], values["shards"], values["synthetic"],
            values["content_sha256"],
        )  # fmt: skip
        whole = values["version"] == VERSION and found.sha256 == _content(found.classes, found.splits)
    except FileNotFoundError as error:
        raise DataError(f"{file}: there are no shards yet; {again}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: damaged ({error}); {again}") from error
    if not whole:
        raise DataError(f"{file}: of another version, or changed after it was written; {again}")
    for shard in found.shards:
        shard_path = file.parent / shard["file"]
        if not shard_path.is_file():
            raise DataError(f"{shard_path}: missing; {again}")
        if Files.sha256(shard_path) != shard["sha256"]:
            raise DataError(f"{shard_path}: its SHA-256 is not the manifest's, the file is damaged; {again}")
    return found


def records(configuration, split):
    """Every record of a split once, in the shards' order.

    Args:
      configuration: Configuration.
      split: "train" or "validation".
    Yields:
      Record.
    """
    import tensorflow as tf

    folder = configuration.path("DatasetDir")
    values = json.loads(path(configuration).read_text(encoding="utf-8"))
    files = [str(folder / shard["file"]) for shard in values["shards"] if shard["split"] == split]
    for raw in tf.data.TFRecordDataset(files).as_numpy_iterator():
        yield _record(tf.train.Example.FromString(raw))


def _record(example):
    feature = example.features.feature

    def text(name):
        return feature[f"image/{name}"].bytes_list.value[0].decode()

    def number(name):
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


def _write_split(configuration, split, items, folder):
    """Write a split's shards; a shard that would be empty is not made."""
    import tensorflow as tf

    count = min(configuration["Shards"], len(items))
    shards = []
    for number in range(count):
        mine = items[len(items) * number // count : len(items) * (number + 1) // count]
        name = f"{configuration['TFRecordFile']}_{split}_{number:05d}-of-{count:05d}.tfrecord"
        try:
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for item in mine:
                    writer.write(_example(tf, item).SerializeToString())
        except tf.errors.OpError as error:
            raise DataError(f"{folder / name}: {error.message}; the former shards are as they were") from error
        Files.flush(folder / name)
        shards.append({"file": name, "split": split, "count": len(mine), "sha256": Files.sha256(folder / name)})
    return shards


def _example(tf, item):
    encoded = item.path.read_bytes()
    if hashlib.sha256(encoded).hexdigest() != item.sha256:
        raise DataError(f"{item.path}: changed while it was being read; run python3 Data.py again")

    def text(value):
        value = value if isinstance(value, bytes) else value.encode()
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def number(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    features = {
        "image/encoded": text(encoded),
        "image/format": text(item.format),
        "image/class/label": number(item.label),
        "image/height": number(item.height),
        "image/width": number(item.width),
        "image/filename": text(item.filename),
        "image/group": text(item.group),
        "image/sha256": text(item.sha256),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _present(configuration):
    """Shards in the folder, of whatever run."""
    folder = configuration.path("DatasetDir")
    return [found for split in SPLITS for found in folder.glob(configuration["FilePattern"] % split)]


def _content(classes, splits):
    text = json.dumps([classes, splits], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
