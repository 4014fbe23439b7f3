"""The entry scripts as processes that can be limited, stopped and killed, on a tiny project.

They are forked from one process that has loaded TensorFlow, so that each starts at once.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import importlib
import io
import logging
import multiprocessing
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time

from Classes.common import cli, error_messages
from Classes.common.errors import escape_control_chars
from Classes.networks import checkpoint_files
from tests.support import small_networks, smears, waiting

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.preloaded"])

QUICK = (*small_networks.SMALL, "Epochs=2", "LearningRate=0.01", "Shards=2", "BatchSize=5")


@dataclasses.dataclass
class Run:
    """What a script did: its exit code (negative: the signal that ended it) and what it said."""

    code: int
    said: str

    @property
    def error(self):
        """The line for the user; the text holds nothing else that went wrong."""
        assert "Traceback" not in self.said, self.said
        assert "defect" not in self.said, self.said
        lines = [line for line in self.said.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.said
        return lines[0]


@contextlib.contextmanager
def started(folder, script, *arguments, settings=(), before=None):
    """A script at work; ended with the block.

    Args:
      folder: the project folder that it works on.
      script: "Data", "Trainer", …
      arguments: its arguments, such as "Augment".
      settings: Key=value, in addition to QUICK.
      before: what its process does first; a function of this module, or a partial of one.
    Yields:
      multiprocessing.Process with `said`, a function that returns what it has printed.
    """
    options = [part for text in (f"NetworkPath={folder}", *QUICK, *settings) for part in ("--set", text)]
    output = _Output(pathlib.Path(tempfile.mkdtemp()) / "said")
    process = PROCESSES.Process(target=_script, args=(script, [*arguments, *options], str(output.path), before))
    process.start()
    process.said = output.read
    try:
        yield process
    finally:
        process.kill()
        process.join()
        process.close()
        output.close()


class _Output:
    """What a process prints, through a pipe, so that no limit on files holds for it."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, getattr(fcntl, "F_SETPIPE_SZ", 1031), 1 << 20)
        self._text = ""

    def read(self):
        """All that was printed so far."""
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._descriptor, 1 << 16):
                self._text += block.decode(errors="replace")
        return self._text

    def close(self):
        os.close(self._descriptor)
        shutil.rmtree(self.path.parent)


def run(folder, script, *arguments, **options):
    """A script until its end; returns Run."""
    with started(folder, script, *arguments, **options) as process:
        process.join(waiting.LIMIT)
        assert process.exitcode is not None, f"{script} hangs: {process.said()}"
        return Run(process.exitcode, process.said())


def main(folder, script, *arguments):
    """A script's own main, in this process; returns its exit code."""
    options = [part for text in (f"NetworkPath={folder}", *QUICK) for part in ("--set", text)]
    return importlib.import_module(script).main([*arguments, *options])


def prepare(folder):
    """A project folder of toy smears in which everything was run once; returns it."""
    smears.fill(folder, per_class=20, test=1)
    checkpoint_files.save_checkpoint(folder / "Model/Pretrained", 1, small_networks.arrays(classes=7))
    (folder / "Model/Data/groups.csv").write_text("file,patient\nToy001_0.png,a\n")
    for arguments in (["Data"], ["Data", "Check"], ["Trainer"], ["Validation", "Folds", "2"], ["Validation"]):
        assert main(folder, *arguments) == 0
    return folder


def _script(script, arguments, output, before):
    descriptor = os.open(output, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(descriptor, number)
    # The ones that were inherited believe in a file that can be wound back.
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), line_buffering=True) for number in (1, 2))
    logging.getLogger().handlers.clear()
    sys.argv = [script, *arguments]
    if before is not None:
        before()
    sys.exit(cli.run_cli(lambda: importlib.import_module(script).main(arguments), ()))


@contextlib.contextmanager
def full_disk(most=0):
    """A disk with space for files of `most` bytes: the one full disk that needs neither root nor a mount."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def line(error):
    """What Entry tells the user of an error; it must be one that is meant for him."""
    text = escape_control_chars(error_messages.error_message(error)[0])
    assert "this is a defect" not in text, text
    return text


def clock_back(folder):
    """What a clock that is set back leaves: every file is from the future, and the older the later."""
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    for age, path in enumerate(sorted(files, key=lambda each: each.stat().st_mtime_ns, reverse=True)):
        then = time.time() + 365 * 86400 + age
        os.utime(path, (then, then))


def no_override():
    """Root without the capabilities that let it write where nobody may (CAP_DAC_OVERRIDE and all the others)."""
    if os.getuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        nothing = (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, nothing) == 0


def tree(folder):
    """{path: content} of every file, to see what a fault has changed; logs and our own notes left out."""
    folder = pathlib.Path(folder)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock" and "Logs" not in path.parts
    }
