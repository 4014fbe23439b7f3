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

from Classes.common import config_schema, json_files
from Classes.common.config import Configuration
from Classes.common.errors import CheckpointError, error_reason
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.networks import checkpoint_files, compact_graph, download_weights, registry

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
    path, network = resolve_weights(configuration), registry.get_network(configuration)
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


def resolve_weights(configuration: Configuration) -> pathlib.Path | None:
    """Return the path that `Pretrained` selects, or None for random weights.

    Raises:
      CheckpointError: there are no weights at the path.
    """
    key = configuration["Pretrained"]
    if key == "none":
        return None
    if key:
        path = configuration.path("Pretrained")
        if path.is_dir():
            found = _candidates(path)
            if not found:
                raise CheckpointError(
                    Message("{path}: contains no checkpoint, .tar.gz, .h5 or .pb", path=path), "weights_missing"
                )
            return found[0]
        if path.is_file() or path.with_name(path.name + ".index").is_file():
            return path
        raise CheckpointError(
            Message(
                "{path}: there is no such file. Set Pretrained to a file or to none, or leave it empty.", path=path
            ),
            "weights_missing",
        )
    shipped = shipped_weights(configuration, configuration.root)
    if shipped:
        return shipped
    folder = registry.get_network(configuration).PRETRAINED
    found = _candidates(configuration.root / folder) if folder else []
    if len(found) > 1:
        log.info("Found %d pretrained files and use %s.", len(found), found[0])
    # `NetworkPath` may name a folder that holds only data.
    return found[0] if found else shipped_weights(configuration, PROJECT)


def shipped_weights(configuration: Configuration, root: pathlib.Path) -> pathlib.Path | None:
    """Return the weights that come with the project, if the configuration's network has the same width.

    Args:
      configuration: Configuration.
      root: the folder that holds them.
    """
    name = getattr(registry.get_network(configuration), "SHIPPED", None)
    path = root / name if name else None
    if path is None or not path.is_file():
        return None
    shape = _published_shape(path)
    width = configuration["DepthMultiplier"]
    return path if width in (shape.get("DepthMultiplier"), _default("DepthMultiplier")) else None


def fit_to_weights(configuration: Configuration) -> Configuration:
    """Return the configuration with the input size and width of the weights that training starts from.

    Weights with a model card, such as those that come with the project, know both. A value that differs from the
    default was chosen by the user and stays.

    Raises:
      CheckpointError: as `resolve_weights`.
    """
    path = resolve_weights(configuration)
    shape = _published_shape(path) if path else {}
    changes = {
        key: value
        for key, value in shape.items()
        if configuration[key] == _default(key) and configuration[key] != value
    }
    if not changes:
        return configuration
    listed = ", ".join(f"{key}={value}" for key, value in changes.items())
    log.info("Training starts from %s with %s.", path, listed)
    return configuration.replace(**changes)


def _published_shape(path: pathlib.Path) -> dict[str, float]:
    """Return {"ImageSize", "DepthMultiplier"} of the model card beside a frozen graph; {} without one."""
    card = path.with_suffix(".json")
    if path.suffix != ".pb" or not card.is_file():
        return {}
    try:
        values = json_files.read_json(card)
        return {
            "ImageSize": int(values["input"]["size"]),
            "DepthMultiplier": float(values["training"]["depth_multiplier"]),
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            Message("{card}: the model card cannot be read ({reason}).", card=card, reason=error_reason(error))
        ) from error


def _default(key: str) -> float:
    return config_schema.keys()[key].rule["default"]


def _candidates(folder: pathlib.Path) -> list[pathlib.Path]:
    indexes = [path.with_suffix("") for path in folder.glob("*.index")]
    patterns = ("*.ckpt", "*.tar.gz", "*.tgz", "*.h5", "*.hdf5", "*.pb")
    return sorted(indexes) + [path for pattern in patterns for path in sorted(folder.glob(pattern))]


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
