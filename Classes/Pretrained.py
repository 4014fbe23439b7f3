"""The weights that training starts from: a Slim checkpoint, its published archive, or Keras's file."""

import hashlib
import logging
import pathlib
import re
import shutil
import tarfile
import tempfile

import h5py
import numpy

from Classes import Checkpoints, inception_utils
from Classes.Errors import CheckpointError

FOLDER = "Model/Pretrained"

# TF-Slim creates its layers in the order in which Keras numbers them, so the n-th convolution of one is the n-th of
# the other; a test holds the features of both networks against each other.
KERAS_NORM = {"beta": "beta", "moving_mean": "moving_mean", "moving_variance": "moving_variance"}


def load(configuration, shapes):
    """The pretrained part of a network.

    Args:
      configuration: its key `Pretrained` says what to read.
      shapes: {TF-Slim name: shape} of the network to fill.
    Returns:
      {TF-Slim name: float32 array} of what was restored, empty where there is nothing to start from. The last
      layers are never restored, since they belong to other classes.
    Raises:
      CheckpointError: not readable, or of another shape than the network.
    """
    path = find(configuration)
    log = logging.getLogger("Trainer")
    if path is None:
        log.info("No pretrained weights: every value starts from random numbers.")
        return {}
    arrays = _read(path, list(shapes))
    wanted = [name for name in shapes if not _is_last(name)]
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
        raise CheckpointError(f"{path}: holds none of Inception V3's variables; give a TF-Slim or Keras Inception V3")
    unused = len(set(arrays) - set(restored))
    log.info("Restored %d of %d variables from %s.", len(restored), len(shapes), path)
    new = sorted(_layer(name) for name in set(shapes) - set(restored))
    log.info("Not restored, starting anew: %s.", ", ".join(dict.fromkeys(new)) or "nothing")
    if unused:
        log.info("Not used of that file: %d variables (other last layers, optimizer state).", unused)
    if missing:
        log.warning("%s lacks %d variables below the last layer: %s.", path, len(missing), ", ".join(missing[:5]))
    return restored


def find(configuration):
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
                raise CheckpointError(f"{path}: holds no Slim checkpoint, .tar.gz or .h5 of Inception V3")
            return found[0]
        if path.is_file() or path.with_name(path.name + ".index").is_file():
            return path
        raise CheckpointError(f"{path}: there is nothing; set Pretrained to a file, to nothing, or to none")
    found = _candidates(configuration.root / FOLDER)
    if len(found) > 1:
        logging.getLogger("Trainer").info("%d pretrained files found; %s is taken.", len(found), found[0])
    return found[0] if found else None


def _candidates(folder):
    indexes = [path.with_suffix("") for path in folder.glob("*.index")]
    endings = ("*.ckpt", "*.tar.gz", "*.tgz", "*.h5", "*.hdf5")
    return sorted(indexes) + [path for ending in endings for path in sorted(folder.glob(ending))]


def _is_last(name):
    """Layers that end in the classes of the data they were trained on."""
    return name.startswith("InceptionV3/Logits/") or name.startswith("InceptionV3/AuxLogits/Conv2d_2b_1x1/")


def _layer(name):
    return "/".join(name.split("/")[1:3]) if "/BatchNorm/" not in name else "/".join(name.split("/")[1:-2])


def _read(path, names):
    """{TF-Slim name: array} of a file of any of the three kinds, told by content."""
    if not path.is_file():
        return Checkpoints.read(path)
    if h5py.is_hdf5(path):
        return _read_keras(path, names)
    if tarfile.is_tarfile(path):
        return _read_archive(path)
    return Checkpoints.read(path.with_suffix("") if path.suffix == ".index" else path)


def _read_archive(path):
    try:
        with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as folder:
            members = [member for member in archive if member.isfile() and ".ckpt" in member.name]
            if not members:
                raise CheckpointError(f"{path}: no .ckpt file in this archive; give the published Slim archive")
            # The member's own folders are not used, so none can point out of ours.
            names = [pathlib.PurePath(member.name).name for member in members]
            for member, name in zip(members, names, strict=True):
                with archive.extractfile(member) as content, open(pathlib.Path(folder) / name, "wb") as file:
                    shutil.copyfileobj(content, file)
            prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", min(names, key=len))
            return Checkpoints.read(pathlib.Path(folder) / prefix)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CheckpointError(f"{path}: damaged archive ({error}); fetch it again") from error


def _read_keras(path, names):
    """Keras's `inception_v3_weights_tf_dim_ordering_tf_kernels*.h5` under TF-Slim's names."""
    try:
        with h5py.File(path) as file:
            groups = file.get("model_weights", file)
            convolutions = _numbered(groups, "conv2d")
            norms = _numbered(groups, "batch_normalization")
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged Keras weights ({error}); fetch them again") from error
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in names if name.endswith("/weights")))
    layers = [layer for layer in layers if "/Logits/" not in layer and "/AuxLogits/" not in layer]
    if not len(layers) == len(convolutions) == len(norms):
        raise CheckpointError(
            f"{path}: {len(convolutions)} convolutions and {len(norms)} batch norms; Keras's Inception V3 has "
            f"{len(layers)} of each"
        )
    arrays = {}
    for layer, convolution, norm in zip(layers, convolutions, norms, strict=True):
        arrays[f"{layer}/weights"] = convolution["kernel"]
        for kind in KERAS_NORM:
            arrays[f"{layer}/BatchNorm/{kind}"] = norm[kind]
    return arrays


def _numbered(groups, kind):
    """The layers of one kind in the order of their numbers, each as {"kernel" or "beta" or ...: array}."""
    numbers = {}
    for name in groups:
        match = re.fullmatch(rf"{kind}(?:_(\d+))?", name)
        if match:
            numbers[int(match[1] or 0)] = groups[name]
    layers = []
    for number in sorted(numbers):
        values = {}
        numbers[number].visititems(
            lambda path, item, values=values: (
                values.__setitem__(path.rpartition("/")[2].split(":")[0], numpy.asarray(item))
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        layers.append(values)
    return layers


def backbone_identity(arrays):
    """SHA-256 over names and values of everything below the last layer: what cached features depend on."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if not name.startswith(inception_utils.LOGITS):
            digest.update(name.encode())
            digest.update(numpy.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
