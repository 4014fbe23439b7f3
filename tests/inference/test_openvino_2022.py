"""The engine on OpenVINO 2022.3, the last release that drives the Neural Compute Stick 2.

It needs Python 3.10 or older, so its tests run in another interpreter: the one that ALL_OPENVINO_2022 names, with
openvino 2022.3, jsonschema, pillow, rich and pytest.
"""

import os
import subprocess

import pytest

from Classes.Helpers import PROJECT
from tests.support import graphs, waiting

pytestmark = pytest.mark.slow

SUITES = ("tests/inference/test_openvino_backend.py", "tests/inference/test_device_selection.py")


def test_the_backend_passes_its_tests_on_openvino_2022(tmp_path, monkeypatch):
    interpreter = os.environ.get("ALL_OPENVINO_2022")
    if not interpreter:
        pytest.skip("ALL_OPENVINO_2022 names no Python with OpenVINO 2022.3")
    # There is no TensorFlow to make them there.
    monkeypatch.setenv("ALL_GRAPHS", str(tmp_path))
    for each in (graphs.frozen, graphs.pooled, graphs.dense):
        each.cache_clear()
    for kind in ("softmax", "nan", "double", "negative"):
        graphs.frozen(kind)
    graphs.frozen(classes=3)
    graphs.pooled()
    graphs.dense()

    done = subprocess.run(
        [interpreter, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *SUITES],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=waiting.LONG_LIMIT,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    version = subprocess.run(
        [interpreter, "-c", "import openvino.runtime as library; print(library.get_version())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.startswith("2022.3")
