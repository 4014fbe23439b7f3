"""Checkpoints with TF-Slim's variable names. A kill at any moment leaves a complete checkpoint behind."""

import logging
import pathlib
import re
import shutil
from collections.abc import Mapping

import numpy
import tensorflow as tf

from Classes.common import atomic_files, file_system, interrupts, temp_files
from Classes.common.errors import CheckpointError, tf_error_reason
from Classes.common.translation import Message

PREFIX = "model.ckpt-"
KEEP_LAST = 2
DATA_SUFFIX = ".data-00000-of-00001"


@interrupts.defer_signals()
def save_checkpoint(
    folder: str | pathlib.Path, step: int, arrays: Mapping[str, numpy.ndarray | tf.Variable]
) -> pathlib.Path:
    """Write a checkpoint and keep the newest two.

    The files are written to a temporary folder and renamed, the index last: a checkpoint without an index is
    incomplete. Then the pointer file `checkpoint` is written, and only then the oldest checkpoint is deleted.

    Args:
      folder: LogDir.
      step: number of completed steps; part of the name.
      arrays: values by variable name.
    Returns:
      The prefix `folder/model.ckpt-<step>`.
    Raises:
      CheckpointError: it cannot be written.
    """
    folder = pathlib.Path(folder)
    prefix = folder / f"{PREFIX}{step}"
    folder.mkdir(parents=True, exist_ok=True)
    temp_files.remove_stale_temp_files(folder)
    making = temp_files.temp_path_for(prefix)
    try:
        # Inside the try block, so that Ctrl-C does not leave the folder behind.
        making.mkdir()
        names = sorted(arrays)
        tensors = [tf.convert_to_tensor(arrays[name]) for name in names]
        tf.raw_ops.SaveV2(
            prefix=str(making / prefix.name), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
        )
        for suffix in (DATA_SUFFIX, ".index"):
            made = making / (prefix.name + suffix)
            file_system.fsync_path(made)
            made.replace(folder / made.name)
    except tf.errors.OpError as error:
        message = Message(
            "{prefix}: cannot be written ({reason}). Free some disk space and run the command again; the "
            "previous checkpoint is kept.",
            prefix=prefix,
            reason=tf_error_reason(error),
        )
        raise CheckpointError(message, "write_failed") from error
    finally:
        with interrupts.defer_signals():
            shutil.rmtree(making, ignore_errors=True)
    file_system.fsync_path(folder)
    atomic_files.write_atomic(folder / "checkpoint", f'model_checkpoint_path: "{prefix.name}"\n')
    _remove_old(folder, step)
    return prefix


def _remove_old(folder: pathlib.Path, step: int) -> None:
    """Remove all checkpoints but the newest ones up to a step."""
    found = saved_steps(folder)
    # Checkpoints of later steps are damaged: otherwise this run would have resumed from them.
    kept = [other for other in found if other <= step][-KEEP_LAST:]
    for old in sorted(set(found) - set(kept)):
        for suffix in (".index", DATA_SUFFIX):
            (folder / f"{PREFIX}{old}{suffix}").unlink(missing_ok=True)


def saved_steps(folder: str | pathlib.Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in ascending order."""
    names = (re.fullmatch(rf"{re.escape(PREFIX)}(\d+)\.index", path.name) for path in pathlib.Path(folder).glob("*"))
    return sorted(int(name[1]) for name in names if name)


def checkpoint_files(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """Return all files of checkpoints in a folder, including the pointer file."""
    pattern = rf"checkpoint|{re.escape(PREFIX)}\d+\.(index|meta|data-\d+-of-\d+)"
    return sorted(path for path in pathlib.Path(folder).glob("*") if re.fullmatch(pattern, path.name))


def latest_checkpoint(folder: str | pathlib.Path) -> tuple[int, dict[str, numpy.ndarray]] | None:
    """Read the newest intact checkpoint of a folder.

    Every value is compared with its checksum. A damaged checkpoint is logged, and the one before it is used.

    Returns:
      (step, values by variable name), or None if there is no checkpoint.
    Raises:
      CheckpointError: all checkpoints are damaged.
    """
    folder = pathlib.Path(folder)
    found = saved_steps(folder)
    for step in reversed(found):
        prefix = folder / f"{PREFIX}{step}"
        try:
            return step, read_checkpoint(prefix)
        except CheckpointError as error:
            logging.getLogger("Trainer").warning("%s The checkpoint before it is used.", error)
    if found:
        raise CheckpointError(
            Message("{folder}: all checkpoints are damaged. Move the folder away to start over.", folder=folder),
            code="all_checkpoints_damaged",
        )
    return None


@interrupts.defer_signals()
def read_checkpoint(prefix: str | pathlib.Path) -> dict[str, numpy.ndarray]:
    """Read every value of a checkpoint, of version 1 or 2.

    Args:
      prefix: the path without `.index` and `.data-...`.
    Raises:
      CheckpointError: there is no checkpoint, or it is damaged.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        words = getattr(error, "message", None) or str(error)
        raise CheckpointError(
            Message("{prefix}: not an intact checkpoint ({reason}).", prefix=prefix, reason=words.splitlines()[0]),
            code="damaged_checkpoint",
        ) from error
