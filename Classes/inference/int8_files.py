"""The int8 form of a frozen graph: two files beside it, replaced together.

Both are first written under temporary names, then the card gets their SHA-256, then they are renamed. Because the card
is one file, it always names two complete files that belong together, under one name or the other.
"""

import dataclasses
import logging
import pathlib

import openvino

from Classes.common import atomic_files, file_system, locks, provenance
from Classes.common.errors import ALLError, GraphError
from Classes.common.translation import Message
from Classes.inference.model_card import ModelCard, load_model_card, write_model_card

INT8 = "int8"

log = logging.getLogger("OpenVINO")


def int8_paths(card: ModelCard) -> tuple[pathlib.Path, pathlib.Path]:
    """Return (the network's file, the weights' file), whether they exist or not."""
    return card.graph_path.with_suffix(f".{INT8}.xml"), card.graph_path.with_suffix(f".{INT8}.bin")


def locate_int8(card: ModelCard) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the verified files of a card's int8 form: (network, weights).

    Raises:
      GraphError: there is none, or a file is missing or not the one that was accepted.
    """
    if card.int8 is None:
        raise GraphError(
            Message(
                "{path}: this model has no int8 form; run python3 Trainer.py Quantize, or set Precision", path=card.path
            ),
            "no_int8",
        )
    network, weights = (_verified_path(path, digest) for path, digest in _files(card))
    return network, weights


def select_int8(card: ModelCard, precision: str, device: str) -> tuple[pathlib.Path, pathlib.Path] | None:
    """Return the int8 files if the configuration selects them, else None.

    Args:
      card: the model.
      precision: `Precision`.
      device: a name that OpenVINO lists; AUTO selects int8 only on the CPU, where it was compared.
    Raises:
      GraphError: int8 is required and does not exist; AUTO logs a warning and uses another precision.
    """
    if precision == INT8:
        return locate_int8(card)
    if precision != "AUTO" or device != "CPU" or card.int8 is None:
        return None
    try:
        return locate_int8(card)
    except GraphError as error:
        # As text: the frames of the error would keep a device open as long as the log record exists.
        log.warning("%s; without it this runs slower", str(error))
        return None


def stage_int8(card: ModelCard, model: "openvino.Model") -> ModelCard:
    """Write an int8 network under temporary names.

    Args:
      card: the card of the frozen graph.
      model: openvino.Model.
    Returns:
      a card that names the new files; it is not written.
    Raises:
      ALLError: the network cannot be written.
    """
    staged = [_staged(path) for path in int8_paths(card)]
    try:
        openvino.save_model(model, staged[0], compress_to_fp16=False)
    except RuntimeError as error:
        raise ALLError(
            Message("{staged}: cannot be written; is the disk full or the folder read-only?", staged=staged[0]),
            "write_failed",
        ) from error
    for path in (*staged, card.path.parent):
        file_system.fsync_path(path)
    network, weights = (provenance.sha256_file(path) for path in staged)
    return dataclasses.replace(card, int8={"xml_sha256": network, "bin_sha256": weights})


def commit_int8(card: ModelCard) -> None:
    """Replace the int8 form by the staged files.

    Args:
      card: from `stage_int8`.
    Raises:
      GraphError: another graph was frozen meanwhile.
    """
    with locks.folder_lock(card.path.parent, wait=True):
        newest = load_model_card(card.path, cell_types=True)
        if newest.graph_sha256 != card.graph_sha256:
            raise GraphError(
                Message(
                    "{path}: a newer model was written meanwhile; run python3 Trainer.py Quantize again", path=card.path
                ),
                "model_replaced",
            )
        write_model_card(card.path, dataclasses.replace(newest, int8=card.int8))
    recover_int8(card)


def recover_int8(card: ModelCard) -> None:
    """Complete an interrupted `commit_int8`: rename the staged files that the card names, remove others."""
    for path, digest in _files(card):
        staged = _staged(path)
        if _has_hash(staged, digest):
            atomic_files.move_into_place(staged, path)
        else:
            staged.unlink(missing_ok=True)
    file_system.fsync_path(card.path.parent)


def _files(card: ModelCard) -> list[tuple[pathlib.Path, str | None]]:
    digests = card.int8 or {}
    return [(path, digests.get(f"{path.suffix[1:]}_sha256")) for path in int8_paths(card)]


def _staged(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(f".next{path.suffix}")


def _verified_path(path: pathlib.Path, digest: str | None) -> pathlib.Path:
    # The first name again: the file may be renamed between the two checks.
    for candidate in (path, _staged(path), path):
        if _has_hash(candidate, digest):
            return candidate
    state = "not the file that was accepted" if path.exists() else "missing"
    raise GraphError(
        Message(
            "{path}: {state}; copy it again with its card, or run python3 Trainer.py Quantize", path=path, state=state
        ),
        "int8_file",
    )


def _has_hash(path: pathlib.Path, digest: str | None) -> bool:
    return path.is_file() and provenance.sha256_file(path) == digest
