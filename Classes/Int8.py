"""The int8 form of a frozen graph: two files beside it that its model card answers for, never half of them.

Both are first written under a name of their own, then the card says their SHA-256, then they are renamed. The card is
one file, so that at every moment it names two whole files that belong together, under one name or the other.
"""

import dataclasses
import logging

import openvino

from Classes import Card, Files
from Classes.Errors import ALLError, GraphError

NAME = "int8"

log = logging.getLogger("OpenVINO")


def paths(card):
    """(the network's file, the weights' file), whether they are there or not."""
    return tuple(card.graph_path.with_suffix(f".{NAME}.{kind}") for kind in ("xml", "bin"))


def find(card):
    """The two files of a card's int8 form.

    Returns:
      (path of the network, path of the weights).
    Raises:
      GraphError: there is none, or a file is missing or not the one that was accepted.
    """
    if card.int8 is None:
        raise GraphError(f"{card.path}: this model has no int8 form; run python3 Trainer.py Quantize, or set Precision")
    return tuple(_find(path, digest) for path, digest in _files(card))


def choose(card, wanted, device):
    """The int8 files where a configuration means them.

    Args:
      card: Card.Card.
      wanted: `Precision`.
      device: a name that OpenVINO lists; AUTO means int8 on the CPU only, where it was compared.
    Returns:
      what `find` returns; None where another arithmetic is meant.
    Raises:
      GraphError: int8 is demanded and not to be had; AUTO warns and does without.
    """
    if wanted == NAME:
        return find(card)
    if wanted != "AUTO" or device != "CPU" or card.int8 is None:
        return None
    try:
        return find(card)
    except GraphError as error:
        # As text: the error's frames would keep a device alive for as long as anybody keeps the log's record.
        log.warning("%s; without it this runs slower", str(error))
        return None


def stage(card, model):
    """Write an int8 network where it is not in use yet.

    Args:
      card: Card.Card of the frozen graph.
      model: openvino.Model.
    Returns:
      Card.Card that names the new files; written nowhere.
    Raises:
      ALLError: it cannot be written.
    """
    staged = [_staged(path) for path in paths(card)]
    try:
        openvino.save_model(model, staged[0], compress_to_fp16=False)
    except RuntimeError as error:
        raise ALLError(f"{staged[0]}: cannot be written; is the disk full or the folder read-only?") from error
    for path in (*staged, card.path.parent):
        Files.flush(path)
    network, weights = (Files.sha256(path) for path in staged)
    return dataclasses.replace(card, int8={"xml_sha256": network, "bin_sha256": weights})


def commit(card):
    """Put staged files into use.

    Args:
      card: Card.Card from `stage`.
    Raises:
      GraphError: another graph was frozen meanwhile.
    """
    with Files.lock(card.path.parent, wait=True):
        newest = Card.load(card.path)
        if newest.graph_sha256 != card.graph_sha256:
            raise GraphError(f"{card.path}: a newer model was written meanwhile; run python3 Trainer.py Quantize again")
        Card.write(card.path, dataclasses.replace(newest, int8=card.int8))
    settle(card)


def settle(card):
    """Finish what a run began that was killed: rename staged files that the card names, remove others."""
    for path, digest in _files(card):
        staged = _staged(path)
        if _is(staged, digest):
            Files.put(staged, path)
        else:
            staged.unlink(missing_ok=True)
    Files.flush(card.path.parent)


def _files(card):
    digests = card.int8 or {}
    return [(path, digests.get(f"{path.suffix[1:]}_sha256")) for path in paths(card)]


def _staged(path):
    return path.with_suffix(f".next{path.suffix}")


def _find(path, digest):
    # Once more under its own name: it may be renamed between the two looks.
    for candidate in (path, _staged(path), path):
        if _is(candidate, digest):
            return candidate
    state = "not the file that was accepted" if path.exists() else "missing"
    raise GraphError(f"{path}: {state}; copy it again with its card, or run python3 Trainer.py Quantize")


def _is(path, digest):
    return path.is_file() and Files.sha256(path) == digest
