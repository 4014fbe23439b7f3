"""The file that the stick's compiler writes: what its header says, and whether it is this model's."""

import dataclasses
import hashlib
import struct

from Classes.Errors import GraphError

HEADER, STAGE, VERSION, LARGEST = 264, 227, 2, 512 << 20
SOFTMAX = 3
AGAIN = "run python3 Trainer.py Compile"


@dataclasses.dataclass(frozen=True)
class Header:
    """What a compiled graph says of itself: number of stages, and of numbers in its answer."""

    stages: int
    outputs: int


def header(content, path):
    """Read and check the header of a compiled graph, file version 2.

    Args:
      content: the file's bytes.
      path: its name, for messages.
    Returns:
      Header.
    Raises:
      GraphError: no such file, of another version, or damaged.
    """
    if not HEADER + STAGE <= len(content) <= LARGEST or any(content[:32]):
        raise GraphError(f"{path}: no graph of the stick's compiler ({len(content)} bytes); {AGAIN}")
    size, version = struct.unpack_from("<2I", content, 32)
    stages, data = struct.unpack_from("<2I", content, 240)
    if version != VERSION:
        raise GraphError(f"{path}: a graph file of version {version}, the stick reads {VERSION}; {AGAIN} with NCSDK 1")
    if size != len(content):
        raise GraphError(f"{path}: damaged, {len(content)} bytes where its header says {size}; {AGAIN}")
    end = HEADER + stages * STAGE
    if not stages or end > size or not end <= data <= size:
        raise GraphError(f"{path}: damaged, its {stages} stages do not fit into {size} bytes; {AGAIN}")
    last = end - STAGE
    if content[last + 100] != SOFTMAX:
        raise GraphError(f"{path}: its last stage is no softmax (operation {content[last + 100]}); {AGAIN}")
    across, down = struct.unpack_from("<2I", content, last + 136)
    (stride,) = struct.unpack_from("<I", content, last + 172)
    return Header(stages, across * down * stride // 2)


def check(content, path, classes):
    """`header`, of a graph that must have so many outputs.

    Raises:
      GraphError: see `header`; or it has another number of outputs.
    """
    found = header(content, path)
    if found.outputs != classes:
        raise GraphError(f"{path}: answers with {found.outputs} numbers, the model has {classes} classes; {AGAIN}")
    return found


def load(path, card):
    """The bytes of the compiled graph, if it was made from the card's frozen graph.

    Args:
      path: pathlib.Path of `InceptionGraph`.
      card: Card.Card; its `compiled` tells what Trainer.py Compile made.
    Raises:
      GraphError: it is missing, damaged, or not of this model; nothing of the kind must reach a stick.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphError(f"{path}: no compiled graph ({error.strerror}); {AGAIN}") from error
    check(content, path, len(card.classes))
    noted = card.compiled or {}
    if noted.get("source_sha256") != card.graph_sha256:
        raise GraphError(f"{path}: not known to be compiled from {card.graph}, the model of today; {AGAIN}")
    if noted.get("sha256") != hashlib.sha256(content).hexdigest():
        raise GraphError(f"{path}: not the file that was compiled from {card.graph}, or damaged; {AGAIN}")
    return content
