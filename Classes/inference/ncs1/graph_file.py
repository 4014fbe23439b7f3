"""Read the file that the stick's compiler writes, and verify that it belongs to the model."""

import dataclasses
import hashlib
import pathlib
import struct

from Classes.common.errors import GraphError, system_reason
from Classes.common.translation import Message
from Classes.inference.model_card import ModelCard

HEADER_BYTES, STAGE_BYTES, FILE_VERSION, MAX_BYTES = 264, 227, 2, 512 << 20
SOFTMAX_STAGE = 3
RECOMPILE_HINT = Message("run python3 Trainer.py Compile")


@dataclasses.dataclass(frozen=True)
class Header:
    """Number of stages and of outputs of a compiled graph."""

    stages: int
    outputs: int


def read_header(content: bytes, path: pathlib.Path) -> Header:
    """Read and check the header of a compiled graph, file version 2.

    Args:
      content: the file's bytes.
      path: its name, for messages.
    Raises:
      GraphError: not a compiled graph, of another version, or damaged.
    """
    if not HEADER_BYTES + STAGE_BYTES <= len(content) <= MAX_BYTES or any(content[:32]):
        message = Message(
            "{path}: not a graph of the stick's compiler ({count} bytes); {hint}",
            path=path,
            count=len(content),
            hint=RECOMPILE_HINT,
        )
        raise GraphError(message, code="graph_format")
    size, version = struct.unpack_from("<2I", content, 32)
    stages, data = struct.unpack_from("<2I", content, 240)
    if version != FILE_VERSION:
        raise GraphError(
            Message(
                "{path}: graph file version {version}, the stick reads {expected}; {hint} with NCSDK 1",
                path=path,
                version=version,
                expected=FILE_VERSION,
                hint=RECOMPILE_HINT,
            ),
            code="graph_version",
        )
    if size != len(content):
        message = Message(
            "{path}: damaged, {count} bytes but its header states {size}; {hint}",
            path=path,
            count=len(content),
            size=size,
            hint=RECOMPILE_HINT,
        )
        raise GraphError(message, code="graph_damaged")
    end = HEADER_BYTES + stages * STAGE_BYTES
    if not stages or end > size or not end <= data <= size:
        message = Message(
            "{path}: damaged, its {stages} stages do not fit into {size} bytes; {hint}",
            path=path,
            stages=stages,
            size=size,
            hint=RECOMPILE_HINT,
        )
        raise GraphError(message, code="graph_damaged")
    return Header(stages, _count_outputs(content, end - STAGE_BYTES, path))


def _count_outputs(content: bytes, last: int, path: pathlib.Path) -> int:
    """Return the number of outputs of the last stage, which begins at the byte `last`."""
    if content[last + 100] != SOFTMAX_STAGE:
        raise GraphError(
            Message(
                "{path}: its last stage is not a softmax (operation {content}); {hint}",
                path=path,
                content=content[last + 100],
                hint=RECOMPILE_HINT,
            ),
            code="graph_outputs",
        )
    across, down = struct.unpack_from("<2I", content, last + 136)
    (stride,) = struct.unpack_from("<I", content, last + 172)
    return int(across * down * stride // 2)


def check_outputs(content: bytes, path: pathlib.Path, classes: int) -> Header:
    """Return `read_header` of a graph that must have `classes` outputs.

    Raises:
      GraphError: see `read_header`; or the number of outputs differs.
    """
    header = read_header(content, path)
    if header.outputs != classes:
        raise GraphError(
            Message(
                "{path}: has {outputs} outputs, the model has {classes} classes; {hint}",
                path=path,
                outputs=header.outputs,
                classes=classes,
                hint=RECOMPILE_HINT,
            ),
            code="graph_outputs",
        )
    return header


def load_graph(path: pathlib.Path, card: ModelCard) -> bytes:
    """Return the bytes of the compiled graph if it was compiled from the card's frozen graph.

    Args:
      path: `InceptionGraph`.
      card: its `compiled` states what Trainer.py Compile made.
    Raises:
      GraphError: it is missing, damaged, or of another model.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphError(
            Message(
                "{path}: no compiled graph ({reason}); {hint}",
                path=path,
                reason=system_reason(error),
                hint=RECOMPILE_HINT,
            ),
            code="graph_missing",
        ) from error
    check_outputs(content, path, len(card.classes))
    compiled = card.compiled or {}
    if compiled.get("source_sha256") != card.graph_sha256:
        raise GraphError(
            Message(
                "{path}: not compiled from the current {graph}; {hint}",
                path=path,
                graph=card.graph,
                hint=RECOMPILE_HINT,
            ),
            code="graph_of_another_model",
        )
    if compiled.get("sha256") != hashlib.sha256(content).hexdigest():
        raise GraphError(
            Message(
                "{path}: damaged, or not the file compiled from {graph}; {hint}",
                path=path,
                graph=card.graph,
                hint=RECOMPILE_HINT,
            ),
            code="graph_damaged",
        )
    return content
