"""The frozen graph compiled for the Movidius stick (NCS1) by its own compiler, mvNCCompile of the NCSDK."""

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

from Classes.common import atomic_files, provenance
from Classes.common.errors import ConfigurationError, GraphError
from Classes.inference import model_card
from Classes.inference.ncs1 import graph_file

# Processors of the stick that share the work: all of them.
SHAVES = 12

# Seconds; Inception V3 takes the compiler some minutes.
TIMEOUT = 3600

# The compiler's own name of a failure; it exits with 0 all the same.
FAILURE_PATTERN = re.compile(r"\[Error \d+\].*")

log = logging.getLogger("Trainer")


def compile_for_ncs1(configuration):
    """Compile `ALLGraph` to `InceptionGraph`, whole or not at all, and note in the card what was made of what.

    Args:
      configuration: Configuration; `ALLGraph`, `InceptionGraph` and `StickCompiler` are used.
    Returns:
      exit code 0.
    Raises:
      ConfigurationError: the compiler is not there.
      GraphError: there is no model, or the compiler made no sound graph of it.
    """
    path, models = configuration.path("InceptionGraph"), configuration.card.parent
    # What a container left there as root may stay.
    with tempfile.TemporaryDirectory(prefix="ALL-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with atomic_files.folder_lock(models, wait=True):
            card = model_card.load_model_card(configuration.card)
            card.verify_graph()
            shutil.copyfile(card.graph_path, folder / card.graph)
        # Not held meanwhile: a training that ends within the hour this may take must be able to publish its model.
        content, header = _run_compiler(folder, configuration["StickCompiler"], card)
        with atomic_files.folder_lock(models, wait=True):
            newest = _unchanged(configuration, card)
            # The graph first: without its note it is refused, a note without its graph says where to get one.
            atomic_files.write_atomic(path, content)
            _record_in_card(newest, path, content, header)
    log.info("Wrote %s: %d stages, %d outputs, %d bytes.", path, header.stages, header.outputs, len(content))
    log.info("Next: python3 Classifier.py --device NCS1, on a machine with the stick")
    return 0


def _run_compiler(folder, command, card):
    """(bytes, graph_file.Header) of what the compiler makes in a folder of its own, where no older file can deceive."""
    try:
        words = [word.replace("{folder}", str(folder)) for word in shlex.split(command)]
    except ValueError as error:
        raise ConfigurationError(f"StickCompiler={command}: {error}; write it as in a shell") from error
    if not words or shutil.which(words[0]) is None:
        raise ConfigurationError(
            f"{command}: not found; install NCSDK 1 (https://github.com/movidius/ncsdk, Ubuntu 16.04), or let "
            "StickCompiler start it in a container or on another machine, see docs/devices.md"
        )
    made = folder / "ALL.graph"
    arguments = ["-s", str(SHAVES), card.graph, f"-in={card.input['node']}", f"-on={card.output}", "-o", made.name]
    log.info("Compiling: %s", shlex.join([*words, *arguments]))
    said = _run_command([*words, *arguments], folder)
    for line in said:
        log.debug("%s", line)
    failed = next((found[0] for line in said if (found := FAILURE_PATTERN.search(line))), None)
    if failed or not made.is_file():
        reason = failed or f"no graph, and at last: {said[-1] if said else 'nothing'}"
        raise GraphError(f"{command} failed: {reason}; its whole output is in Trainer.log")
    content = made.read_bytes()
    return content, graph_file.check_outputs(content, made, len(card.classes))


def _run_command(command, folder):
    """The lines that a command says; how it exits tells nothing."""
    try:
        # Not as a context, which would wait without end for a process that sudo made another user's.
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
            said, _ = process.communicate(timeout=TIMEOUT)
        except BaseException:
            _kill_process_group(process)
            raise
        finally:
            process.stdout.close()
    except subprocess.TimeoutExpired as error:
        raise GraphError(f"{command[0]}: did not end within {TIMEOUT // 60} minutes") from error
    except OSError as error:
        raise ConfigurationError(f"{command[0]}: {error.strerror}; see StickCompiler") from error
    return [line.strip() for line in said.splitlines() if line.strip()]


def _kill_process_group(process):
    """End a command with all that it started: a shell's children, and what docker and ssh run for it."""
    try:
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            # docker and ssh pass it on; killed at once, they would leave a container or a process elsewhere behind.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(5)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def _unchanged(configuration, card):
    """The newest card of the model that was compiled."""
    newest = model_card.load_model_card(configuration.card)
    if newest.graph_sha256 != card.graph_sha256:
        raise GraphError(f"{card.graph_path}: trained anew while it was compiled; run python3 Trainer.py Compile again")
    return newest


def _record_in_card(card, path, content, header):
    """Write into the card which file was made of which graph."""
    note = {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": card.graph,
        "source_sha256": card.graph_sha256,
        "stages": header.stages,
        "shaves": SHAVES,
        "created": provenance.utc_now_iso(),
    }
    model_card.write_model_card(card.path, dataclasses.replace(card, compiled=note))
