"""NCAPI v1 as it is documented, without a stick: answers in float16, and fails as a plan says.

The plan is a JSON file that the environment variable MVNC_PLAN names. It is read at every call, so that a test can
unplug a stick while it works:

    {"sticks": ["1.1"],                what is plugged in
     "missing": "library" | "v2",      instead of this module
     "silence": 15,                    seconds after which the library gives up on a silent stick
     "faults": [{"call": "GetResult", "fault": "TIMEOUT", "stick": "1.1", "after": 3}]}

A fault is a name of mvncStatus, or hang, stop, die, fork, nan, short, double, none, stale. `after` calls of a process
are sound first; without `stick` it strikes all of them.
"""

import collections
import enum
import json
import os
import pathlib
import signal
import struct
import threading
import time

import numpy


def _plan():
    return {"silence": 15, "faults": [], **json.loads(pathlib.Path(os.environ["MVNC_PLAN"]).read_text())}


if _plan().get("missing") == "library":
    raise OSError("libmvnc.so: cannot open shared object file: No such file or directory")


class mvncStatus(enum.Enum):  # noqa: N801 the documented name
    OK = 0
    BUSY = -1
    ERROR = -2
    OUT_OF_MEMORY = -3
    DEVICE_NOT_FOUND = -4
    INVALID_PARAMETERS = -5
    TIMEOUT = -6
    MVCMD_NOT_FOUND = -7
    NO_DATA = -8
    GONE = -9
    UNSUPPORTED_GRAPH_FILE = -10
    MYRIAD_ERROR = -11


class GraphOption(enum.Enum):
    DONT_BLOCK = 2
    TIME_TAKEN = 1000
    DEBUG_INFO = 1001


class DeviceOption(enum.Enum):
    THERMAL_STATS = 1000
    THERMAL_THROTTLING_LEVEL = 1002


_calls = collections.Counter()


def _fail(status):
    raise Exception(status)


def _note(what):
    """What a test may wait for, see tests.support.sticks.Sticks."""
    pathlib.Path(f"{os.environ['MVNC_PLAN']}.{what}-{os.getpid()}").touch()


def _hang():
    _note("hangs")
    threading.Event().wait()


def _outlive():
    """What a child does that lives on when its parent has ended: until no fork is planned any more."""
    _note("forked")
    while any(each["fault"] == "fork" for each in _plan()["faults"]):
        time.sleep(0.05)
    os._exit(0)


def _strike(call, stick=None):
    """Count a call and do what the plan has for it; returns a fault that is one of the answer, or None."""
    _calls[call, stick] += 1
    plan = _plan()
    for each in plan["faults"]:
        if each["call"] != call or each.get("stick", stick) != stick or _calls[call, stick] <= each.get("after", 0):
            continue
        if each["fault"] == "hang":
            _hang()
        if each["fault"] == "fork" and os.fork() == 0:
            _outlive()
        if each["fault"] == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if each["fault"] == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if each["fault"] not in mvncStatus.__members__:
            return each["fault"]
        if each["fault"] == "TIMEOUT":
            time.sleep(plan["silence"])
        _fail(mvncStatus[each["fault"]])
    return None


if _plan().get("missing") != "v2":

    def EnumerateDevices():  # noqa: N802
        _strike("EnumerateDevices")
        return list(_plan()["sticks"])


class Device:
    def __init__(self, name):
        self.name, self.opened, self.graph, self.wedged = name, False, None, False

    def plugged(self):
        return self.name in _plan()["sticks"]

    def OpenDevice(self):  # noqa: N802
        if self.opened:
            _fail(mvncStatus.INVALID_PARAMETERS)
        _strike("OpenDevice", self.name)
        if not self.plugged():
            _fail(mvncStatus.DEVICE_NOT_FOUND)
        self.opened = True

    def AllocateGraph(self, blob):  # noqa: N802
        if not self.opened:
            _fail(mvncStatus.INVALID_PARAMETERS)
        if not isinstance(blob, bytes):
            raise TypeError("bytes or integer address expected instead of " + type(blob).__name__)
        _strike("AllocateGraph", self.name)
        if self.graph is not None:
            _fail(mvncStatus.BUSY)
        if not 491 <= len(blob) <= 512 << 20 or struct.unpack_from("<I", blob, 36) != (2,):
            _fail(mvncStatus.UNSUPPORTED_GRAPH_FILE)
        if not self.plugged():
            _fail(mvncStatus.ERROR)
        self.graph = Graph(self, blob)
        return self.graph

    def CloseDevice(self):  # noqa: N802
        if not self.opened:
            _fail(mvncStatus.INVALID_PARAMETERS)
        if self.wedged:
            _hang()
        _strike("CloseDevice", self.name)
        self.opened = False

    def GetDeviceOption(self, option):  # noqa: N802
        _strike("GetDeviceOption", self.name)
        if option is DeviceOption.THERMAL_STATS:
            return numpy.array([41.5, 40.0, 39.5], "float32")
        return _fail(mvncStatus.INVALID_PARAMETERS)


class Graph:
    def __init__(self, device, blob):
        # Only here: the real library opens a stick at once too.
        from mvnc import arithmetic

        self.device, self.loaded, self.blocking = device, collections.deque(), True
        self.network = arithmetic.Network(blob[struct.unpack_from("<I", blob, 244)[0] :])
        self.arrived = threading.Condition()

    def _usable(self):
        if self.device.graph is not self or not self.device.opened:
            _fail(mvncStatus.INVALID_PARAMETERS)

    def LoadTensor(self, tensor, user_object):  # noqa: N802
        self._usable()
        if self.device.wedged:
            _hang()
        content = tensor.tostring()
        try:
            _strike("LoadTensor", self.device.name)
            if not self.device.plugged():
                _fail(mvncStatus.ERROR)
        except Exception as error:
            if error.args == (mvncStatus.BUSY,):
                # It is asked again forever.
                _note("hangs")
                return False
            self.device.wedged = error.args == (mvncStatus.ERROR,)
            raise
        if len(self.loaded) >= 2:
            return False
        self.loaded.append((content, user_object))
        with self.arrived:
            self.arrived.notify()
        return True

    def GetResult(self):  # noqa: N802
        self._usable()
        fault = _strike("GetResult", self.device.name)
        with self.arrived:
            while not self.loaded:
                if not self.blocking:
                    return None, None
                self.arrived.wait()
        if not self.device.plugged():
            time.sleep(_plan()["silence"])
            _fail(mvncStatus.TIMEOUT)
        content, user_object = self.loaded.popleft()
        if fault == "none":
            return None, None
        answer = self.network.answer(content)
        if fault == "nan":
            answer = answer * numpy.float16("nan")
        elif fault == "short":
            answer = answer[:-1]
        elif fault == "double":
            answer = answer * 2
        return answer, object() if fault == "stale" else user_object

    def SetGraphOption(self, option, value):  # noqa: N802
        self._usable()
        if option is GraphOption.DONT_BLOCK:
            self.blocking = not value

    def GetGraphOption(self, option):  # noqa: N802
        self._usable()
        _strike("GetGraphOption", self.device.name)
        if option is GraphOption.TIME_TAKEN:
            return numpy.array([100.25, 200.5], "float32")
        if option is GraphOption.DEBUG_INFO:
            return "stage 7: out of slices"
        return None

    def DeallocateGraph(self):  # noqa: N802
        self._usable()
        _strike("DeallocateGraph", self.device.name)
        self.device.graph = None
