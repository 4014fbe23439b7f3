"""Write TFRecord shards and their manifest; tfrecords.py reads them."""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from Classes.common import atomic_files, file_system, interrupts, logs, output_targets, provenance, temp_files
from Classes.common.config import Configuration
from Classes.common.errors import DataError, tf_error_reason
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import manifest_rows
from Classes.dataset.image_records import ImageRecord
from Classes.dataset.tfrecords import SPLITS, VERSION, Manifest, content_hash, manifest_path


def interleave_by_class(configuration: Configuration, records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Return the records of a split in an order in which every shard gets its fraction of every class.

    The order depends only on the contents of the images.
    """
    by_class = sorted(records, key=lambda record: (record.label, record.sha256))
    count = _shard_count(configuration, records)
    dealt = (sorted(by_class[number::count], key=lambda record: record.sha256) for number in range(count))
    return [record for shard in dealt for record in shard]


def write_shards(
    configuration: Configuration, splits: Mapping[str, Sequence[ImageRecord]], about: dict[str, Any]
) -> Manifest:
    """Replace the shards of DatasetDir; if anything fails, the previous shards stay unchanged.

    Everything is first written to a new folder and flushed. Then only renames are left, which succeed on a full disk.

    Args:
      configuration: Configuration.
      splits: {"train" and "validation": records}; the files must not have changed since they were hashed.
      about: further values of the manifest: classes, synthetic, proof, what was left out, …
    Raises:
      DataError: an image has changed, or the disk is full.
    """
    folder = configuration.path("DatasetDir")
    classes = about["classes"]
    staging = temp_files.temp_path_for(folder / "shards")
    try:
        # Inside of the try block, so that Ctrl-C cannot leave the folder behind.
        staging.mkdir()
        with logs.progress(total=sum(map(len, splits.values())), desc=_("Shards"), unit="image") as bar:
            shards = [
                shard for split in SPLITS for shard in _write_split(configuration, split, splits[split], staging, bar)
            ]
        listed = {split: manifest_rows.RecordRows(splits[split]) for split in SPLITS}
        content = content_hash(classes, listed)
        atomic_files.write_atomic(staging / configuration["Classes"], "".join(f"{name}\n" for name in classes))
        # Nothing here reads this file; it is for users of the first system's layout.
        labels = "".join(f"{label}:{name}\n" for label, name in enumerate(classes))
        atomic_files.write_atomic(staging / configuration["Labels"], labels)
        values = {"version": VERSION, "content_sha256": content, **about, "shards": shards, "splits": listed}
        with (
            atomic_files.atomic_replace(staging / manifest_path(configuration).name) as temporary,
            open(temporary, "w") as file,
        ):
            # Written in pieces, because the manifest of a large data set would need more memory than everything else.
            file.writelines(json.JSONEncoder(indent=1, allow_nan=False).iterencode(values))
        # For a few milliseconds, an interrupt would lose the previous shards.
        with interrupts.defer_signals():
            replace_shards(configuration, staging)
    finally:
        with interrupts.defer_signals():
            shutil.rmtree(staging, ignore_errors=True)
    images = about.get("images_sha256")
    return Manifest(folder, classes, listed, shards, about["synthetic"], content, images_sha256=images)


def _shard_count(configuration: Configuration, records: Sequence[ImageRecord]) -> int:
    return min(configuration["Shards"], len(records))


def _write_split(
    configuration: Configuration, split: str, records: Sequence[ImageRecord], folder: pathlib.Path, bar: Any
) -> list[dict[str, Any]]:
    """Write the shards of a split, none of them empty, and return their entries in the manifest."""
    # Imported late, so that errors in the data are reported before TensorFlow has started.
    import tensorflow as tf

    count = _shard_count(configuration, records)
    shards, start = [], 0
    for number in range(count):
        chosen = records[start : start + len(records) // count + (number < len(records) % count)]
        start += len(chosen)
        name = f"{configuration['TFRecordFile']}_{split}_{number:05d}-of-{count:05d}.tfrecord"
        try:
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for record in chosen:
                    # Otherwise the order of the features, and with it every byte, is another in every process.
                    writer.write(_example(tf, record).SerializeToString(deterministic=True))
                    bar.update()
        except tf.errors.OpError as error:
            raise DataError(
                Message(
                    "{parent}: cannot write {name} ({reason}); the previous shards are unchanged. Free some "
                    "space and run python3 Data.py again",
                    parent=folder.parent,
                    name=name,
                    reason=tf_error_reason(error),
                ),
                "shards_not_written",
            ) from error
        file_system.fsync_path(folder / name)
        shards.append(
            {"file": name, "split": split, "count": len(chosen), "sha256": provenance.sha256_file(folder / name)}
        )
    return shards


def _example(tf: Any, record: ImageRecord) -> Any:
    """Return the tf.train.Example of an image."""
    encoded = record.path.read_bytes()
    if hashlib.sha256(encoded).hexdigest() != record.sha256:
        raise DataError(
            Message("{path}: the file has changed. Run python3 Data.py again", path=record.path), "image_changed"
        )

    def text(value: str | bytes) -> Any:
        value = value if isinstance(value, bytes) else value.encode()
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def number(value: int) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    features = {
        "image/encoded": text(encoded),
        "image/format": text(record.format),
        "image/class/label": number(record.label),
        "image/height": number(record.height),
        "image/width": number(record.width),
        "image/filename": text(record.filename),
        "image/group": text(record.group),
        "image/sha256": text(record.sha256),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def replace_shards(configuration: Configuration, staging: pathlib.Path) -> None:
    """Move the new files to DatasetDir and remove the previous shards.

    There is no manifest from the removal of the previous one to the rename of the new one. If the machine crashes in
    between, the next run asks for Data.py instead of mixing two data sets.
    """
    folder, name = configuration.path("DatasetDir"), manifest_path(configuration).name
    manifest = output_targets.replaceable_target(folder / name)
    if manifest is not None:
        manifest.unlink(missing_ok=True)
    file_system.fsync_path(folder)
    digits = "[0-9]" * 5
    for split in SPLITS:
        for old in folder.glob(f"{configuration['TFRecordFile']}_{split}_{digits}-of-{digits}.tfrecord"):
            old.unlink()
    for path in sorted(staging.iterdir()):
        if path.name != name:
            atomic_files.move_into_place(path, folder / path.name)
    file_system.fsync_path(folder)
    atomic_files.move_into_place(staging / name, folder / name)
    file_system.fsync_path(folder)
