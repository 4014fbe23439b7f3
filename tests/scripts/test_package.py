"""What the package does to the interpreter that imports it."""

import pytest

from tests.support import processes

pytestmark = pytest.mark.slow

SILENT = """
import importlib, os
forked = []
os.register_at_fork(before=lambda: forked.append(1))
importlib.import_module("{module}")
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, len(forked))
"""


@pytest.mark.parametrize(
    "module",
    ["Classes.inference.openvino_backend", "Classes.inference.int8_files", "Classes.inference.class_activation"],
)
def test_openvino_reports_to_nobody_and_forks_nothing(module):
    done = processes.python(SILENT.format(module=module))

    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "0"], done.stderr
