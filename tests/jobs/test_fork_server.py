"""Worker processes are copies of a server that has imported what they need, and that Ctrl-C does not reach."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from Classes import Helpers
from Classes.jobs import fork_server
from tests.support import waiting

pytestmark = pytest.mark.skipif(not fork_server.AVAILABLE, reason="needs Linux")

# Waits for a line, and says then what a worker process finds.
SCRIPT = """
import os, sys
from Classes.jobs import fork_server

def look(connection):
    connection.send(("slow_module" in sys.modules, os.environ["OPENBLAS_NUM_THREADS"]))

if __name__ == "__main__":
    before = dict(os.environ)
    fork_server.start(["slow_module", "no_such_module"], [0])
    assert os.environ == before
    sys.stdin.readline()
    context = fork_server.context()
    here, there = context.Pipe()
    process = context.Process(target=look, args=(there,))
    process.start()
    print(here.recv())
    process.join()
"""


def test_ctrl_c_does_not_reach_the_server_while_it_imports(tmp_path):
    importing = tmp_path / "importing"
    (tmp_path / "slow_module.py").write_text(
        f"import pathlib, time\npathlib.Path({str(importing)!r}).touch()\ntime.sleep(0.3)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Helpers.PROJECT), str(tmp_path)])
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**environment, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        waiting.until(importing.exists)
        for child in psutil.Process(process.pid).children():
            child.send_signal(signal.SIGINT)
        output, errors = process.communicate("\n", waiting.LIMIT)
    finally:
        process.kill()
    assert (output, errors) == ("(True, '1')\n", "")
