"""Compile the frozen graph for the Movidius stick (NCS1) with its own compiler, mvNCCompile of the NCSDK.

The compiler runs on TensorFlow 1.4, so it only reads graphs with the ops and attributes of that version.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from Classes.common import atomic_files, locks, provenance, terminal
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, GraphError, system_reason
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.inference import model_card
from Classes.inference.ncs1 import graph_file

# The attributes that TensorFlow 1.4 knows, for each op that our networks use.
TENSORFLOW_1_4 = {
    "AvgPool": {"T", "data_format", "ksize", "padding", "strides"},
    "BiasAdd": {"T", "data_format"},
    "ConcatV2": {"N", "T", "Tidx"},
    "Const": {"dtype", "value"},
    "Conv2D": {"T", "data_format", "padding", "strides", "use_cudnn_on_gpu"},
    "Identity": {"T"},
    "MatMul": {"T", "transpose_a", "transpose_b"},
    "MaxPool": {"T", "data_format", "ksize", "padding", "strides"},
    "Placeholder": {"dtype", "shape"},
    "Relu": {"T"},
    "Reshape": {"T", "Tshape"},
    "Softmax": {"T"},
    "Squeeze": {"T", "squeeze_dims"},
}

# GraphDef version of TensorFlow 1.4.0.
PRODUCER = 24

# Processors of the stick to use: all of them.
SHAVES = 12

# Seconds. The compiler needs some minutes for Inception V3.
TIMEOUT = 3600

# The compiler exits with 0 even if it fails.
FAILURE_PATTERN = re.compile(r"\[Error \d+\].*")

log = logging.getLogger("Trainer")


def remove_new_attributes(definition: Any) -> None:
    """Remove attributes that TensorFlow 1.4 does not know from a GraphDef if they have their default value."""
    for node in definition.node:
        for name in set(node.attr) - TENSORFLOW_1_4.get(node.op, set(node.attr)):
            if _is_default(name, node.attr[name]):
                del node.attr[name]
    definition.versions.producer = PRODUCER


def unsupported_node(definition: Any) -> str | None:
    """Return the name and op of the first node of a GraphDef that TensorFlow 1.4 cannot read, or None."""
    for node in definition.node:
        if node.op not in TENSORFLOW_1_4 or set(node.attr) - TENSORFLOW_1_4[node.op]:
            return f"{node.name} ({node.op})"
    return None


def _is_default(name: str, value: Any) -> bool:
    """Return whether an attribute has no effect: no dilation, no explicit padding, not a gradient."""
    if name in ("dilations", "explicit_paddings"):
        return set(value.list.i) <= {1}
    return name.startswith("_") or (name in ("grad_a", "grad_b") and not value.b)


def compile_for_ncs1(configuration: Configuration) -> int:
    """Compile `ALLGraph` to `InceptionGraph` and record it in the model card; return exit code 0.

    Args:
      configuration: uses `ALLGraph`, `InceptionGraph` and `StickCompiler`.
    Raises:
      ConfigurationError: `compiler_missing`, or the command cannot be started.
      GraphError: no model, `compilation_failed`, or an invalid compiled graph.
    """
    path, models = configuration.path("InceptionGraph"), configuration.card.parent
    # Files that a container has created as root may remain.
    with tempfile.TemporaryDirectory(prefix="ALL-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with locks.folder_lock(models, wait=True):
            card = model_card.load_model_card(configuration.card)
            card.verify_graph()
            shutil.copyfile(card.graph_path, folder / card.graph)
        # The lock is released, so that a training can publish its model during the compilation.
        content, header = run_compiler(folder, configuration["StickCompiler"], card, path.name)
        with locks.folder_lock(models, wait=True):
            newest = _reload_unchanged_card(configuration, card)
            # The graph first: a graph without its record is rejected, which is safe.
            atomic_files.write_atomic(path, content)
            _record_in_card(newest, path, content, header)
    log.info("Wrote %s: %d stages, %d outputs, %d bytes.", path, header.stages, header.outputs, len(content))
    log.info("Next: python3 Classifier.py --device NCS1, on a machine with the stick")
    terminal.show_end(
        _("Compiled the model for the Movidius stick."), [(_("Graph"), path)], "python3 Classifier.py --device NCS1"
    )
    return 0


def run_compiler(folder: Path, command: str, card: model_card.ModelCard, name: str) -> tuple[bytes, graph_file.Header]:
    """Return content and header of the compiled graph; the folder is new, so that no older file is mistaken for it.

    Args:
      name: of the compiled file, for the command.
    """
    try:
        command_line = [part.replace("{folder}", str(folder)) for part in shlex.split(command)]
    except ValueError as error:
        raise ConfigurationError(
            Message("StickCompiler={command}: {error}. Write it as in a shell.", command=command, error=error),
            "compiler_quotes",
        ) from error
    if not command_line or shutil.which(command_line[0]) is None:
        raise ConfigurationError(
            Message(
                "{command}: not found. Install NCSDK 1 (https://github.com/movidius/ncsdk, Ubuntu 16.04), or "
                "let StickCompiler start it in a container or on another machine, see docs/devices.md.",
                command=command,
            ),
            "compiler_missing",
        )
    compiled = folder / name
    arguments = ["-s", str(SHAVES), card.graph, f"-in={card.input['node']}", f"-on={card.output}", "-o", compiled.name]
    log.info("Compiling: %s", shlex.join([*command_line, *arguments]))
    lines = _run_command([*command_line, *arguments], folder)
    for line in lines:
        log.debug("%s", line)
    failure = next((match[0] for line in lines if (match := FAILURE_PATTERN.search(line))), None)
    if failure or not compiled.is_file():
        last = lines[-1] if lines else "-"
        reason = failure or Message("it wrote no graph; its last line is: {line}", line=last)
        raise GraphError(
            Message("{command} failed: {reason}. Its output is in Trainer.log.", command=command, reason=reason),
            "compilation_failed",
        )
    content = compiled.read_bytes()
    return content, graph_file.check_outputs(content, compiled, len(card.classes))


def _run_command(command: list[str], folder: Path) -> list[str]:
    """Return the lines that a command prints; the exit code is ignored."""
    try:
        # A context manager would wait without limit for a process of another user, started by sudo.
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except BaseException:
            _kill_process_group(process)
            raise
        finally:
            if process.stdout:
                process.stdout.close()
    except subprocess.TimeoutExpired as error:
        raise GraphError(
            Message("{command}: did not end within {minutes} minutes", command=command[0], minutes=TIMEOUT // 60),
            "timeout",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            Message("{command}: {reason}. Check StickCompiler.", command=command[0], reason=system_reason(error)),
            "compiler_start",
        ) from error
    return [line.strip() for line in output.splitlines() if line.strip()]


def _kill_process_group(process: subprocess.Popen) -> None:
    """End a command and the processes that it started, such as those of a shell, docker or ssh."""
    try:
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            # docker and ssh forward SIGTERM. SIGKILL alone would leave a container or a remote process behind.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(5)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def _reload_unchanged_card(configuration: Configuration, card: model_card.ModelCard) -> model_card.ModelCard:
    """Return the newest card of the compiled model."""
    newest = model_card.load_model_card(configuration.card)
    if newest.graph_sha256 != card.graph_sha256:
        raise GraphError(
            Message(
                "{graph_path}: replaced by a training run while it was compiled. Run python3 Trainer.py Compile again.",
                graph_path=card.graph_path,
            ),
            "model_replaced",
        )
    return newest


def _record_in_card(card: model_card.ModelCard, path: Path, content: bytes, header: graph_file.Header) -> None:
    """Record in the model card which file was compiled from which graph."""
    record = {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": card.graph,
        "source_sha256": card.graph_sha256,
        "stages": header.stages,
        "shaves": SHAVES,
        "created": provenance.utc_now_iso(),
    }
    model_card.write_model_card(card.path, dataclasses.replace(card, compiled=record))
