"""The int8 form of a frozen graph: two files beside it that its model card answers for, never half of them.

Both are first written under a name of their own, then the card says their SHA-256, then they are renamed. The card is
one file, so that at every moment it names two whole files that belong together, under one name or the other.
"""

import dataclasses
import logging

import openvino

from Classes.common import atomic_files
from Classes.common.errors import ALLError, GraphError
from Classes.inference import model_card

INT8 = "int8"

log = logging.getLogger("OpenVINO")


def int8_paths(card):
    """(the network's file, the weights' file), whether they are there or not."""
    return tuple(card.graph_path.with_suffix(f".{INT8}.{kind}") for kind in ("xml", "bin"))


def locate_int8(card):
    """The two files of a card's int8 form.

    Returns:
      (path of the network, path of the weights).
    Raises:
      GraphError: there is none, or a file is missing or not the one that was accepted.
    """
    if card.int8 is None:
        raise GraphError(f"{card.path}: this model has no int8 form; run python3 Trainer.py Quantize, or set Precision")
    return tuple(_verified_path(path, digest) for path, digest in _files(card))


def select_int8(card, wanted, device):
    """The int8 files where a configuration means them.

    Args:
      card: model_card.ModelCard.
      wanted: `Precision`.
      device: a name that OpenVINO lists; AUTO means int8 on the CPU only, where it was compared.
    Returns:
      what `find` returns; None where another arithmetic is meant.
    Raises:
      GraphError: int8 is demanded and not to be had; AUTO warns and does without.
    """
    if wanted == INT8:
        return locate_int8(card)
    if wanted != "AUTO" or device != "CPU" or card.int8 is None:
        return None
    try:
        return locate_int8(card)
    except GraphError as error:
        # As text: the error's frames would keep a device alive for as long as anybody keeps the log's record.
        log.warning("%s; without it this runs slower", str(error))
        return None


def stage_int8(card, model):
    """Write an int8 network where it is not in use yet.

    Args:
      card: model_card.ModelCard of the frozen graph.
      model: openvino.Model.
    Returns:
      model_card.ModelCard that names the new files; written nowhere.
    Raises:
      ALLError: it cannot be written.
    """
    staged = [_staged(path) for path in int8_paths(card)]
    try:
        openvino.save_model(model, staged[0], compress_to_fp16=False)
    except RuntimeError as error:
        raise ALLError(f"{staged[0]}: cannot be written; is the disk full or the folder read-only?") from error
    for path in (*staged, card.path.parent):
        atomic_files.fsync_path(path)
    network, weights = (atomic_files.sha256_file(path) for path in staged)
    return dataclasses.replace(card, int8={"xml_sha256": network, "bin_sha256": weights})


def commit_int8(card):
    """Put staged files into use.

    Args:
      card: model_card.ModelCard from `stage`.
    Raises:
      GraphError: another graph was frozen meanwhile.
    """
    with atomic_files.folder_lock(card.path.parent, wait=True):
        newest = model_card.load_model_card(card.path)
        if newest.graph_sha256 != card.graph_sha256:
            raise GraphError(f"{card.path}: a newer model was written meanwhile; run python3 Trainer.py Quantize again")
        model_card.write_model_card(card.path, dataclasses.replace(newest, int8=card.int8))
    recover_int8(card)


def recover_int8(card):
    """Finish what a run began that was killed: rename staged files that the card names, remove others."""
    for path, digest in _files(card):
        staged = _staged(path)
        if _has_hash(staged, digest):
            atomic_files.put(staged, path)
        else:
            staged.unlink(missing_ok=True)
    atomic_files.fsync_path(card.path.parent)


def _files(card):
    digests = card.int8 or {}
    return [(path, digests.get(f"{path.suffix[1:]}_sha256")) for path in int8_paths(card)]


def _staged(path):
    return path.with_suffix(f".next{path.suffix}")


def _verified_path(path, digest):
    # Once more under its own name: it may be renamed between the two looks.
    for candidate in (path, _staged(path), path):
        if _has_hash(candidate, digest):
            return candidate
    state = "not the file that was accepted" if path.exists() else "missing"
    raise GraphError(f"{path}: {state}; copy it again with its card, or run python3 Trainer.py Quantize")


def _has_hash(path, digest):
    return path.is_file() and atomic_files.sha256_file(path) == digest
