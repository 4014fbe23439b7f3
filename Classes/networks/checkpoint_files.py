"""Checkpoints with TF-Slim's variable names that a kill at any moment leaves whole."""

import logging
import pathlib
import re
import shutil

import tensorflow as tf

from Classes.common import atomic_files, interrupts
from Classes.common.errors import CheckpointError, tf_error_reason

PREFIX = "model.ckpt-"
KEEP_LAST = 2
DATA_SUFFIX = ".data-00000-of-00001"


@interrupts.defer_signals()
def save_checkpoint(folder, step, arrays):
    """Write one checkpoint; the newest two are kept.

    The files are written into a folder of their own and renamed; the index goes last, and a checkpoint without an
    index is none. Only then does the pointer file `checkpoint` name it, and only then does the oldest go.

    Args:
      folder: LogDir.
      step: steps done, part of the name.
      arrays: {variable name: array or tf.Variable}.
    Returns:
      pathlib.Path, the prefix `folder/model.ckpt-<step>`.
    """
    folder = pathlib.Path(folder)
    prefix = folder / f"{PREFIX}{step}"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_files.remove_stale_temp_files(folder)
    making = atomic_files.temp_path_for(prefix)
    try:
        # Not before, where Ctrl-C would leave it behind.
        making.mkdir()
        names = sorted(arrays)
        tensors = [tf.convert_to_tensor(arrays[name]) for name in names]
        tf.raw_ops.SaveV2(
            prefix=str(making / prefix.name), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
        )
        for ending in (DATA_SUFFIX, ".index"):
            made = making / (prefix.name + ending)
            atomic_files.fsync_path(made)
            made.replace(folder / made.name)
    except tf.errors.OpError as error:
        raise CheckpointError(
            f"{prefix}: could not be written ({tf_error_reason(error)}); free some space and run this again, the one before it "
            "is kept"
        ) from error
    finally:
        with interrupts.defer_signals():
            shutil.rmtree(making, ignore_errors=True)
    atomic_files.fsync_path(folder)
    atomic_files.write_atomic(folder / "checkpoint", f'model_checkpoint_path: "{prefix.name}"\n')
    found = saved_steps(folder)
    # What is beyond this step was not whole, or this run would have begun there.
    kept = [other for other in found if other <= step][-KEEP_LAST:]
    for old in sorted(set(found) - set(kept)):
        for ending in (".index", DATA_SUFFIX):
            (folder / f"{PREFIX}{old}{ending}").unlink(missing_ok=True)
    return prefix


def saved_steps(folder):
    """The steps of which `folder` holds a checkpoint, ascending."""
    names = (re.fullmatch(rf"{re.escape(PREFIX)}(\d+)\.index", path.name) for path in pathlib.Path(folder).glob("*"))
    return sorted(int(name[1]) for name in names if name)


def files(folder):
    """Paths of all files in `folder` that belong to checkpoints, the pointer file included."""
    pattern = rf"checkpoint|{re.escape(PREFIX)}\d+\.(index|meta|data-\d+-of-\d+)"
    return sorted(path for path in pathlib.Path(folder).glob("*") if re.fullmatch(pattern, path.name))


def latest_checkpoint(folder):
    """The newest whole checkpoint of a folder.

    Every value is read and held against its checksum; a damaged checkpoint is named in the log and the one before
    it taken.

    Returns:
      (step, {variable name: array}), or None where there is none.
    Raises:
      CheckpointError: there are checkpoints and none is whole.
    """
    folder = pathlib.Path(folder)
    found = saved_steps(folder)
    for step in reversed(found):
        prefix = folder / f"{PREFIX}{step}"
        try:
            return step, read_checkpoint(prefix)
        except CheckpointError as error:
            logging.getLogger("Trainer").warning("%s; the checkpoint before it is taken", error)
    if found:
        raise CheckpointError(f"{folder}: no checkpoint in it is whole; move the folder away to train anew")
    return None


@interrupts.defer_signals()
def read_checkpoint(prefix):
    """Every value of a checkpoint, of version 1 or 2.

    Args:
      prefix: the path without `.index` and `.data-...`.
    Returns:
      {variable name: array}.
    Raises:
      CheckpointError: no checkpoint, or a damaged one.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        words = getattr(error, "message", None) or str(error)
        raise CheckpointError(f"{prefix}: not a whole checkpoint ({words.splitlines()[0]})") from error
