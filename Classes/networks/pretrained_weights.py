"""The weights that training starts from: a Slim checkpoint, its published archive, or Keras's file."""

import hashlib
import logging
import pathlib
import re
import shutil
import tarfile
import tempfile
import zlib

import h5py
import numpy

from Classes.common.errors import CheckpointError
from Classes.networks import checkpoint_files, download_weights, registry


def load_pretrained(configuration, shapes):
    """The pretrained part of a network.

    Args:
      configuration: its key `Pretrained` says what to read.
      shapes: {variable name: shape} of the network to fill.
    Returns:
      {variable name: float32 array} of what was restored, empty where there is nothing to start from. What the network
      lists as ANEW is never restored, such as last layers that belong to other classes.
    Raises:
      CheckpointError: not readable, or of another shape than the network.
    """
    path, network = resolve_weights(configuration), registry.get_network(configuration)
    log = logging.getLogger("Trainer")
    if path is None:
        log.info("No pretrained weights: every value starts from random numbers.")
        return {}
    arrays = _read(path, network, list(shapes))
    wanted = [name for name in shapes if not name.startswith(network.SKIP_RESTORE)]
    restored = {}
    for name in wanted:
        if name in arrays:
            if arrays[name].shape != tuple(shapes[name]):
                raise CheckpointError(
                    f"{path}: {name} has the shape {arrays[name].shape}, the network needs {tuple(shapes[name])}; "
                    "it is of another network, or DepthMultiplier is not the one it was trained with"
                )
            restored[name] = arrays[name].astype("float32")
    missing = [name for name in wanted if name not in restored]
    if not restored:
        raise CheckpointError(f"{path}: holds none of the variables of {configuration['Network']}; give weights of it")
    unused = len(set(arrays) - set(restored))
    log.info("Restored %d of %d variables from %s.", len(restored), len(shapes), path)
    new = sorted(_layer_name(name) for name in set(shapes) - set(restored))
    log.info("Not restored, starting anew: %s.", ", ".join(dict.fromkeys(new)) or "nothing")
    if unused:
        log.info("Not used of that file: %d variables (other last layers, optimizer state).", unused)
    if missing:
        log.warning("%s lacks %d variables below the last layer: %s.", path, len(missing), ", ".join(missing[:5]))
    return restored


def resolve_weights(configuration):
    """What `Pretrained` points at: a path, or None for random weights.

    Raises:
      CheckpointError: the path is given and there is nothing.
    """
    key = configuration["Pretrained"]
    if key == "none":
        return None
    if key:
        path = configuration.path("Pretrained")
        if path.is_dir():
            found = _candidates(path)
            if not found:
                raise CheckpointError(f"{path}: holds no checkpoint, .tar.gz or .h5")
            return found[0]
        if path.is_file() or path.with_name(path.name + ".index").is_file():
            return path
        raise CheckpointError(f"{path}: there is nothing; set Pretrained to a file, to nothing, or to none")
    folder = registry.get_network(configuration).PRETRAINED
    found = _candidates(configuration.root / folder) if folder else []
    if len(found) > 1:
        logging.getLogger("Trainer").info("%d pretrained files found; %s is taken.", len(found), found[0])
    return found[0] if found else None


def _candidates(folder):
    indexes = [path.with_suffix("") for path in folder.glob("*.index")]
    endings = ("*.ckpt", "*.tar.gz", "*.tgz", "*.h5", "*.hdf5")
    return sorted(indexes) + [path for ending in endings for path in sorted(folder.glob(ending))]


def _layer_name(name):
    return "/".join(name.split("/")[1:3]) if "/BatchNorm/" not in name else "/".join(name.split("/")[1:-2])


def _read(path, network, names):
    """{variable name: array} of a file of any of the three kinds, told by content."""
    if not path.is_file():
        return checkpoint_files.read_checkpoint(path)
    # The format has no checksums: a flipped bit would be trained on.
    if path.name == download_weights.WEIGHTS_FILE and not download_weights.checksum_ok(path):
        raise CheckpointError(f"{path}: damaged, not the file that Keras publishes; remove it and run sh Setup.sh")
    if h5py.is_hdf5(path):
        return read_keras_file(path, network, names)
    if tarfile.is_tarfile(path):
        return _read_archive(path)
    return checkpoint_files.read_checkpoint(path.with_suffix("") if path.suffix == ".index" else path)


def _read_archive(path):
    try:
        with tempfile.TemporaryDirectory() as folder:
            prefix = _unpack(path, pathlib.Path(folder))
            found = checkpoint_files.read_checkpoint(prefix) if prefix else None
    except (tarfile.TarError, EOFError, zlib.error, CheckpointError, OSError) as error:
        # gzip's own complaint has no number; a full disk has one, and is no fault of the archive.
        if getattr(error, "errno", None):
            raise
        raise CheckpointError(f"{path}: damaged archive ({error}); fetch it again") from error
    if found is None:
        raise CheckpointError(f"{path}: no .ckpt file in this archive; give the published Slim archive")
    return found


def _unpack(path, folder):
    """Bring an archive's checkpoint into a folder; returns its prefix, None where there is no checkpoint."""
    with tarfile.open(path) as archive:
        # The members' own folders are not used, so none can point out of ours.
        members = {pathlib.PurePath(member.name).name: member for member in archive if member.isfile()}
        members = {name: member for name, member in members.items() if ".ckpt" in name}
        for name, member in members.items():
            with archive.extractfile(member) as content, open(folder / name, "wb") as file:
                shutil.copyfileobj(content, file)
    return folder / re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", min(members, key=len)) if members else None


def read_keras_file(path, network, names):
    """The weights of a Keras file.

    Args:
      path: the .h5 file.
      network: module of the network, whose `from_keras` knows the order of Keras's layers.
      names: the network's variables.
    Returns:
      {variable name: array}.
    Raises:
      CheckpointError: damaged, or weights of another network.
    """
    try:
        return network.read_keras_weights(path, names)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: no whole Keras weights of this network ({error})") from error


def backbone_hash(arrays, last):
    """SHA-256 over names and values of everything but the `last` layer: what cached features depend on."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if not name.startswith(last):
            digest.update(name.encode())
            digest.update(numpy.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
