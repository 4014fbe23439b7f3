"""OpenVINO reports nothing over the network."""

import json

from tests.support.processes import python

SCRIPT = """
import json, os, sys, threading
from Classes.inference import openvino_backend
from openvino.tools import ovc
loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
children = open(f"/proc/self/task/{os.getpid()}/children").read().split() if os.path.isdir("/proc/self") else []
print(json.dumps([loaded, type(ovc.telemetry).__module__, children]))
"""


def test_importing_openvino_loads_no_telemetry_and_starts_no_process():
    loaded, kind, children = json.loads(python(SCRIPT).stdout)

    assert loaded == []
    assert kind == "openvino.tools.ovc.telemetry_stub"
    assert children == []
