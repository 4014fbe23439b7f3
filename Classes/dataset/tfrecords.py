"""TFRecord shards and their manifest: written as a whole, read only when they are what the manifest says."""

import dataclasses
import hashlib
import json
import pathlib
import shutil

from Classes import Helpers
from Classes.common import atomic_files, interrupts
from Classes.common.errors import ConfigurationError, DataError, tf_error_reason
from Classes.dataset import splitting

SPLITS = splitting.SPLITS
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
      group: what the image belongs to; see Groups.
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
      splits: {"train" and "validation": [{"file", "class", "label", "group", "sha256", "bytes"}]}, with "patient" if it
        is known.
      shards: [{"file", "split", "count", "sha256"}].
      synthetic: whether the images are drawn.
      sha256: of the classes and splits, so that equal data have equal hashes wherever and whenever they were sharded.
      tests: SHA-256 of the test images that were kept out; None in manifests that do not list them.
    """

    folder: pathlib.Path
    classes: list
    splits: dict
    shards: list
    synthetic: bool
    sha256: str
    tests: frozenset | None = None

    def paths(self, split):
        """The shards of a split, in order."""
        return [self.folder / shard["file"] for shard in self.shards if shard["split"] == split]


def interleave_by_class(configuration, items):
    """Order a split so that `write` gives every shard its part of every class.

    Args:
      configuration: Configuration.
      items: list of Data.ImageRecord.
    Returns:
      list of the same items; the order depends on their content alone.
    """
    by_class = sorted(items, key=lambda item: (item.label, item.sha256))
    count = _count(configuration, items)
    dealt = (sorted(by_class[number::count], key=lambda item: item.sha256) for number in range(count))
    return [item for shard in dealt for item in shard]


def write_shards(configuration, splits, about):
    """Replace the shards of a data folder; when anything fails, the former ones are as they were.

    All is written into a folder of its own and flushed first. What remains to be done then are a few renames, for
    which a full disk has room.

    Args:
      configuration: Configuration.
      splits: {"train" and "validation": [Data.ImageRecord]}, whose files still have to be what they were when hashed.
      about: dict for JSON that goes into the manifest: classes, synthetic, proof, what was left out, …
    Returns:
      Manifest.
    Raises:
      DataError: an image changed meanwhile, or the disk is full.
    """
    folder = configuration.path("DatasetDir")
    classes = about["classes"]
    making = atomic_files.temp_path_for(folder / "shards")
    try:
        # Not before, where Ctrl-C would leave it behind.
        making.mkdir()
        with Helpers.progress(total=sum(map(len, splits.values())), desc="Shards", unit="image") as bar:
            shards = [
                each for split in SPLITS for each in _write_split(configuration, split, splits[split], making, bar)
            ]
        listed = {split: [item.to_manifest() for item in splits[split]] for split in SPLITS}
        content = _content_hash(classes, listed)
        atomic_files.write_atomic(making / configuration["Classes"], "".join(f"{name}\n" for name in classes))
        labels = "".join(f"{label}:{name}\n" for label, name in enumerate(classes))
        atomic_files.write_atomic(making / configuration["Labels"], labels)
        values = {"version": VERSION, "content_sha256": content, **about, "shards": shards, "splits": listed}
        with (
            atomic_files.atomic_replace(making / manifest_path(configuration).name) as temporary,
            open(temporary, "w") as file,
        ):
            # Piece by piece: as one text, the manifest of a large set would take more memory than all else.
            file.writelines(json.JSONEncoder(indent=1, allow_nan=False).iterencode(values))
        # The few milliseconds in which a stop would cost the former shards.
        with interrupts.defer_signals():
            _replace_shards(configuration, making)
    finally:
        with interrupts.defer_signals():
            shutil.rmtree(making, ignore_errors=True)
    return Manifest(folder, classes, listed, shards, about["synthetic"], content)


def manifest_path(configuration):
    """The manifest, beside the shards."""
    return configuration.path("DatasetDir") / f"{configuration['TFRecordFile']}_manifest.json"


def load_manifest_for_training(configuration):
    """`manifest`, for a training: its classes have to be those of the configuration.

    Raises:
      ConfigurationError: they are others; the network would be of another width, or ALL nobody's class.
      DataError: as `manifest`.
    """
    found = load_manifest(configuration)
    listed = ", ".join(found.classes)
    if len(found.classes) != configuration["NumClasses"]:
        raise ConfigurationError(
            f"NumClasses is {configuration['NumClasses']}, but the shards hold the classes {listed}; set NumClasses to "
            f"{len(found.classes)}, or run python3 Data.py again"
        )
    if configuration["PositiveClass"] not in found.classes:
        raise ConfigurationError(
            f"PositiveClass is {configuration['PositiveClass']}, but the shards hold the classes {listed}; set "
            "PositiveClass to the one that means ALL, or run python3 Data.py again"
        )
    return found


def load_manifest(configuration):
    """The manifest, after every shard was held against it.

    Raises:
      DataError: no shards, or shards that are not what was written.
    """
    file = manifest_path(configuration)
    again = "run python3 Data.py"
    try:
        values = atomic_files.read_json(file)
        classes, splits, shards = values["classes"], values["splits"], values["shards"]
        content = values["content_sha256"]
        whole = values["version"] == VERSION and content == _content_hash(classes, splits)
        counts = {split: sum(shard["count"] for shard in shards if shard["split"] == split) for split in SPLITS}
        whole = whole and isinstance(values["synthetic"], bool)
        whole = whole and all(counts[split] == len(splits[split]) for split in SPLITS)
        tests = frozenset(test["sha256"] for test in values["tests"]) if "tests" in values else None
        found = Manifest(file.parent, classes, splits, shards, values["synthetic"], content, tests)
        sums = [(file.parent / shard["file"], shard["sha256"]) for shard in shards]
    except FileNotFoundError as error:
        raise DataError(f"{file}: there are no shards yet; {again}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: damaged ({type(error).__name__}: {error}); {again}") from error
    if not whole:
        raise DataError(f"{file}: of another version, or changed after it was written; {again}")
    for shard, expected in sums:
        if not shard.is_file():
            raise DataError(f"{shard}: missing, but {file.name} names it; {again}")
        if atomic_files.sha256_file(shard) != expected:
            raise DataError(f"{shard}: its SHA-256 is not that in {file.name}, one of the two is damaged; {again}")
    return found


def iter_records(configuration, split):
    """Every record of a split once, in the shards' order.

    Args:
      configuration: Configuration.
      split: "train" or "validation".
    Yields:
      Record.
    Raises:
      DataError: a shard that was whole cannot be read any more.
    """
    import tensorflow as tf

    folder = configuration.path("DatasetDir")
    values = atomic_files.read_json(manifest_path(configuration))
    files = [str(folder / shard["file"]) for shard in values["shards"] if shard["split"] == split]
    # The size is given, since TensorFlow remarks on the terminal when it is not.
    raw = tf.data.TFRecordDataset(files, buffer_size=1 << 20).as_numpy_iterator()
    while True:
        try:
            record = next(raw, None)
        except tf.errors.OpError as error:
            # `manifest` held every shard against its hash; the disk must have lost it since.
            raise DataError(
                f"{folder}: a shard cannot be read ({tf_error_reason(error)}); run python3 Data.py"
            ) from error
        if record is None:
            return
        yield _record(tf.train.Example.FromString(record))


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


def _count(configuration, items):
    return min(configuration["Shards"], len(items))


def _write_split(configuration, split, items, folder, bar):
    """Write a split's shards; a shard that would be empty is not made."""
    # Imported here, since it costs seconds that an error in the data should not wait for.
    import tensorflow as tf

    count = _count(configuration, items)
    shards, start = [], 0
    for number in range(count):
        mine = items[start : start + len(items) // count + (number < len(items) % count)]
        start += len(mine)
        name = f"{configuration['TFRecordFile']}_{split}_{number:05d}-of-{count:05d}.tfrecord"
        try:
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for item in mine:
                    writer.write(_example(tf, item).SerializeToString())
                    bar.update()
        except tf.errors.OpError as error:
            raise DataError(
                f"{folder.parent}: {name} could not be written ({tf_error_reason(error)}); free some space and run "
                "python3 Data.py again, the former shards are as they were"
            ) from error
        atomic_files.fsync_path(folder / name)
        shards.append(
            {"file": name, "split": split, "count": len(mine), "sha256": atomic_files.sha256_file(folder / name)}
        )
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


def _replace_shards(configuration, making):
    """Rename what was made onto what was there.

    From the former manifest's end to the new one's rename there is none, so a machine that dies in between leaves a
    folder that says "run Data.py", never one that mixes two data sets.
    """
    folder, name = configuration.path("DatasetDir"), manifest_path(configuration).name
    manifest = atomic_files.followed(folder / name)
    if manifest is not None:
        manifest.unlink(missing_ok=True)
    atomic_files.fsync_path(folder)
    for split in SPLITS:
        digits = "[0-9]" * 5
        for old in folder.glob(f"{configuration['TFRecordFile']}_{split}_{digits}-of-{digits}.tfrecord"):
            old.unlink()
    for made in sorted(making.iterdir()):
        if made.name != name:
            atomic_files.put(made, folder / made.name)
    atomic_files.fsync_path(folder)
    atomic_files.put(making / name, folder / name)
    atomic_files.fsync_path(folder)


def _content_hash(classes, splits):
    """What tells one data set from another, as 64 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for split in SPLITS:
        digest.update(split.encode())
        for item in splits[split]:
            digest.update(json.dumps(item, sort_keys=True).encode())
    return digest.hexdigest()
