"""The file that the stick's compiler writes: what its header says, and whether it is this model's."""

import dataclasses
import hashlib
import struct

from Classes.common.errors import GraphError

HEADER_BYTES, STAGE_BYTES, FILE_VERSION, MAX_BYTES = 264, 227, 2, 512 << 20
SOFTMAX_STAGE = 3
RECOMPILE_HINT = "run python3 Trainer.py Compile"


@dataclasses.dataclass(frozen=True)
class Header:
    """What a compiled graph says of itself: number of stages, and of numbers in its answer."""

    stages: int
    outputs: int


def read_header(content, path):
    """Read and check the header of a compiled graph, file version 2.

    Args:
      content: the file's bytes.
      path: its name, for messages.
    Returns:
      Header.
    Raises:
      GraphError: no such file, of another version, or damaged.
    """
    if not HEADER_BYTES + STAGE_BYTES <= len(content) <= MAX_BYTES or any(content[:32]):
        raise GraphError(f"{path}: no graph of the stick's compiler ({len(content)} bytes); {RECOMPILE_HINT}")
    size, version = struct.unpack_from("<2I", content, 32)
    stages, data = struct.unpack_from("<2I", content, 240)
    if version != FILE_VERSION:
        raise GraphError(
            f"{path}: a graph file of version {version}, the stick reads {FILE_VERSION}; {RECOMPILE_HINT} with NCSDK 1"
        )
    if size != len(content):
        raise GraphError(f"{path}: damaged, {len(content)} bytes where its header says {size}; {RECOMPILE_HINT}")
    end = HEADER_BYTES + stages * STAGE_BYTES
    if not stages or end > size or not end <= data <= size:
        raise GraphError(f"{path}: damaged, its {stages} stages do not fit into {size} bytes; {RECOMPILE_HINT}")
    last = end - STAGE_BYTES
    if content[last + 100] != SOFTMAX_STAGE:
        raise GraphError(f"{path}: its last stage is no softmax (operation {content[last + 100]}); {RECOMPILE_HINT}")
    across, down = struct.unpack_from("<2I", content, last + 136)
    (stride,) = struct.unpack_from("<I", content, last + 172)
    return Header(stages, across * down * stride // 2)


def check_outputs(content, path, classes):
    """`header`, of a graph that must have so many outputs.

    Raises:
      GraphError: see `header`; or it has another number of outputs.
    """
    found = read_header(content, path)
    if found.outputs != classes:
        raise GraphError(
            f"{path}: answers with {found.outputs} numbers, the model has {classes} classes; {RECOMPILE_HINT}"
        )
    return found


def load_graph(path, card):
    """The bytes of the compiled graph, if it was made from the card's frozen graph.

    Args:
      path: pathlib.Path of `InceptionGraph`.
      card: model_card.ModelCard; its `compiled` tells what Trainer.py Compile made.
    Raises:
      GraphError: it is missing, damaged, or not of this model; nothing of the kind must reach a stick.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphError(f"{path}: no compiled graph ({error.strerror}); {RECOMPILE_HINT}") from error
    check_outputs(content, path, len(card.classes))
    noted = card.compiled or {}
    if noted.get("source_sha256") != card.graph_sha256:
        raise GraphError(f"{path}: not known to be compiled from {card.graph}, the model of today; {RECOMPILE_HINT}")
    if noted.get("sha256") != hashlib.sha256(content).hexdigest():
        raise GraphError(f"{path}: not the file that was compiled from {card.graph}, or damaged; {RECOMPILE_HINT}")
    return content
