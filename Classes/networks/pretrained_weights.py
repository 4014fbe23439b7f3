"""Read pretrained weights: a Slim checkpoint, its published archive, a Keras file, or a frozen graph."""

import hashlib
import logging
import pathlib
import re
import shutil
import tarfile
import tempfile
import types
import zlib
from collections.abc import Mapping, Sequence

import h5py
import numpy

from Classes.common.config import Configuration
from Classes.common.errors import CheckpointError, error_reason
from Classes.common.translation import Message
from Classes.networks import checkpoint_files, compact_graph, download_weights, registry, weight_files

log = logging.getLogger("Trainer")


def load_pretrained(configuration: Configuration, shapes: Mapping[str, Sequence[int]]) -> dict[str, numpy.ndarray]:
    """Read the pretrained values of a network.

    Args:
      configuration: the key `Pretrained` selects the file.
      shapes: {variable name: shape} of the network.
    Returns:
      {variable name: float32 array}, empty if there are no pretrained weights. The variables that the network lists in
      SKIP_RESTORE are not restored: a last layer belongs to the classes of its own training.
    Raises:
      CheckpointError: the file cannot be read, or its shapes do not match the network.
    """
    path, network = weight_files.resolve_weights(configuration), registry.get_network(configuration)
    if path is None:
        log.info("No pretrained weights: all variables start from random values.")
        return {}
    arrays = _read(path, network, list(shapes))
    wanted = [name for name in shapes if not name.startswith(network.SKIP_RESTORE)]
    restored = {name: _checked(path, name, arrays[name], shapes[name]) for name in wanted if name in arrays}
    missing = [name for name in wanted if name not in restored]
    if not restored:
        message = Message(
            "{path}: contains none of the variables of {network}. Set Pretrained to weights of this network.",
            path=path,
            network=configuration["Network"],
        )
        raise CheckpointError(message, "weights_of_another_network")
    unused = len(set(arrays) - set(restored))
    log.info("Restored %d of %d variables from %s.", len(restored), len(shapes), path)
    new = sorted(_layer_name(name) for name in set(shapes) - set(restored))
    log.info("Not restored, randomly initialized: %s.", ", ".join(dict.fromkeys(new)) or "nothing")
    if unused:
        log.info("Not used of that file: %d variables (other last layers, optimizer state).", unused)
    if missing:
        log.warning("%s lacks %d variables below the last layer: %s.", path, len(missing), ", ".join(missing[:5]))
    return restored


def _checked(path: pathlib.Path, name: str, values: numpy.ndarray, shape: Sequence[int]) -> numpy.ndarray:
    """Return the values of a variable as float32, if they have the shape that the network needs."""
    if values.shape == tuple(shape):
        return values.astype("float32")
    message = Message(
        "{path}: {name} has the shape {shape}, the network needs {expected}; it is of another "
        "network, or DepthMultiplier is not the one it was trained with",
        path=path,
        name=name,
        shape=values.shape,
        expected=tuple(shape),
    )
    raise CheckpointError(message, "weights_shape")


def _layer_name(name: str) -> str:
    return "/".join(name.split("/")[1:3]) if "/BatchNorm/" not in name else "/".join(name.split("/")[1:-2])


def _read(path: pathlib.Path, network: types.ModuleType, names: Sequence[str]) -> dict[str, numpy.ndarray]:
    """Read a file of any of the three kinds, which are recognized by content."""
    if not path.is_file():
        return checkpoint_files.read_checkpoint(path)
    # HDF5 has no checksums, so a damaged value would not be noticed.
    if path.name == download_weights.WEIGHTS_FILE and not download_weights.checksum_ok(path):
        raise CheckpointError(
            Message("{path}: damaged, not the file that Keras publishes; remove it and run sh Setup.sh", path=path),
            "weights_damaged",
        )
    if path.suffix == ".pb":
        return compact_graph.read_frozen_weights(path, network)
    if h5py.is_hdf5(path):
        return read_keras_file(path, network, names)
    if tarfile.is_tarfile(path):
        return _read_archive(path)
    return checkpoint_files.read_checkpoint(path.with_suffix("") if path.suffix == ".index" else path)


def _read_archive(path: pathlib.Path) -> dict[str, numpy.ndarray]:
    try:
        with tempfile.TemporaryDirectory() as folder:
            prefix = _unpack(path, pathlib.Path(folder))
            found = checkpoint_files.read_checkpoint(prefix) if prefix else None
    except (tarfile.TarError, EOFError, zlib.error, CheckpointError, OSError) as error:
        # An error with a number comes from the system, such as a full disk, and not from the archive.
        if getattr(error, "errno", None):
            raise
        raise CheckpointError(
            Message("{path}: damaged archive ({error}); download it again", path=path, error=error), "weights_damaged"
        ) from error
    if found is None:
        raise CheckpointError(
            Message("{path}: no .ckpt file in this archive; use the published Slim archive", path=path),
            "weights_missing",
        )
    return found


def _unpack(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path | None:
    """Extract the checkpoint of an archive into a folder and return its prefix; None if there is no checkpoint."""
    with tarfile.open(path) as archive:
        # Only the file names are used, so that no member can be written outside the folder.
        members = {pathlib.PurePath(member.name).name: member for member in archive if member.isfile()}
        members = {name: member for name, member in members.items() if ".ckpt" in name}
        for name, member in members.items():
            content = archive.extractfile(member)
            assert content is not None, "a regular file"
            with content, open(folder / name, "wb") as file:
                shutil.copyfileobj(content, file)
    return folder / re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", min(members, key=len)) if members else None


def read_keras_file(path: pathlib.Path, network: types.ModuleType, names: Sequence[str]) -> dict[str, numpy.ndarray]:
    """Read the weights of a Keras file.

    Args:
      path: the .h5 file.
      network: module of the network; its `read_keras_weights` knows the order of Keras's layers.
      names: the network's variables.
    Raises:
      CheckpointError: the file is damaged or belongs to another network.
    """
    try:
        return network.read_keras_weights(path, names)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            Message(
                "{path}: not complete Keras weights for this network ({reason})", path=path, reason=error_reason(error)
            ),
            "weights_damaged",
        ) from error


def backbone_hash(arrays: Mapping[str, numpy.ndarray], last: str) -> str:
    """Return the SHA-256 of names and values of all variables except the ones of the `last` layer."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if not name.startswith(last):
            digest.update(name.encode())
            digest.update(numpy.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
