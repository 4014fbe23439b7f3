"""Models on the stand-in for the stick's library, and files as its compiler writes them."""

import hashlib
import json
import os
import pathlib
import struct

from Classes import Movidius
from Classes.common import atomic_files
from Classes.inference import model_card
from Classes.inference.ncs1 import device_process
from tests.support import graphs, waiting

FOLDER = pathlib.Path(__file__).parent


def compiled(graph, classes=2, stages=110, softmax=3, version=2, outputs=None):
    """A file of the stick's compiler whose data are the frozen graph, which is what the stand-in reads.

    Args:
      graph: bytes of the frozen graph.
      classes, stages, softmax, version: what the header says; `softmax` is the operation of the last stage.
      outputs: numbers in the answer, where they are not `classes`.
    """
    records = bytearray(227 * stages)
    last = 227 * (stages - 1)
    records[last + 100] = softmax
    struct.pack_into("<3I", records, last + 136, 1, 1, classes)
    struct.pack_into("<I", records, last + 172, 2 * (outputs or classes))
    start = 264 + len(records)
    header = bytearray(264)
    struct.pack_into("<2I", header, 32, start + len(graph), version)
    header[40:48] = b"ALLGraph"
    struct.pack_into("<2I2H", header, 240, stages, start, 0, 11)
    return bytes(header) + bytes(records) + graph


def write(folder, made=None, **graph):
    """A model as Trainer.py and Trainer.py Compile leave it; returns the Card.

    Args:
      folder: pathlib.Path of the project's root.
      made: bytes of the compiled graph, where they are not sound.
      graph: see graphs.write.
    """
    path = graphs.write(folder / "Model", **graph)
    card = model_card.load_model_card(path)
    made = compiled(card.graph_path.read_bytes(), len(card.classes)) if made is None else made
    atomic_files.write_atomic(folder / "Model" / "ALL.graph", made)
    note = {"sha256": hashlib.sha256(made).hexdigest(), "source_sha256": card.graph_sha256}
    return model_card.load_model_card(graphs.write(folder / "Model", **{**graph, "compiled": note}))


class Sticks:
    """What is plugged in, and how it fails; see mvnc.mvncapi.

    Args:
      path: of the plan.
    """

    def __init__(self, path):
        self._path = path
        self.plan(["1.1"])

    def plan(self, sticks, *faults, **more):
        """Replace the plan; a fault is (call, fault) or (call, fault, {"after": …, "stick": …})."""
        listed = [{"call": call, "fault": fault, **dict(*rest)} for call, fault, *rest in faults]
        atomic_files.write_atomic(self._path, json.dumps({"sticks": sticks, "faults": listed, "silence": 0.3, **more}))

    def hanging(self):
        """Numbers of the processes in which a call of the stand-in hangs."""
        return self._noted("hangs")

    def forked(self):
        """Numbers of the processes that the fault `fork` has made."""
        return self._noted("forked")

    def _noted(self, what):
        return [int(path.name.rpartition("-")[2]) for path in self._path.parent.glob(f"{self._path.name}.{what}-*")]


class Clock:
    """The time that deadlines of sticks are counted in: a call that hangs is late at once, any other never.

    So it matters neither how slow this machine is nor how long a deadline lasts.

    Args:
      sticks: Sticks.
    Attributes:
      now: seconds that calls have waited in vain.
      stands: whether a call that hangs is never late either.
    """

    def __init__(self, sticks):
        self.now, self.stands = 0.0, False
        self._sticks, self._has_answer = sticks, device_process.WorkerProcess.has_answer

    def install(self, monkeypatch):
        monkeypatch.setattr(device_process, "time", self)
        monkeypatch.setattr(Movidius, "time", self)
        monkeypatch.setattr(
            device_process.WorkerProcess, "has_answer", lambda process, seconds: self._wait(process, seconds)
        )

    def monotonic(self):
        return self.now

    def _wait(self, process, seconds):
        began = self.now

        def late():
            return not self.stands and (process.pid in self._sticks.hanging() or state(process.pid) == "T")

        while not self._has_answer(process, 0.01):
            if late():
                self.now = max(self.now, began + seconds)
                return False
        return True


def state(process):
    """The letter that the system gives a process: T for one that is stopped, Z for one that has ended."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def drivers(parent=None):
    """Numbers of the processes that drive a stick for a process, which is this one unless it is given."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            starter = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if b"ncs1.worker" in command and starter == (parent or os.getpid()):
            found.append(int(entry.name))
    return found


def wait_until_none_drives():
    """The processes of all sticks have ended, or are about to."""
    waiting.until(lambda: not drivers(), lambda: f"the end of {drivers()}")


def configuration(folder, *settings):
    """graphs.configuration on the stick."""
    return graphs.configuration(folder, "Precision=AUTO", "Device=NCS1", *settings)
