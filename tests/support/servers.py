"""Run Server.py in its own process with a fake backend, or an application in a thread, for tests with sockets."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading

import werkzeug.serving

from Classes import Helpers
from tests.support import graphs, waiting

# Server.py with a fake backend. HOLD delays every call after the warm-up by this number of seconds, or until a file of
# this name exists. A stopping server keeps idle connections until their clients close them, however slow those are.
SCRIPT = """
import os, sys, time
import Server
from Classes.common import cli; from Classes.inference import device_selection; from Classes.serving import http_server
from tests.support import services

class SlowBackend(services.FakeBackend):
    calls = 0

    def classify(self, batch):
        self.calls += 1
        # The warm-up is two calls.
        if self.calls > 2:
            hold = os.environ["HOLD"]
            if os.path.isabs(hold):
                while not os.path.exists(hold):
                    time.sleep(0.01)
            else:
                time.sleep(float(hold))
        return super().classify(batch)

http_server.IDLE_GRACE_SECONDS = 600
device_selection.open_backend = lambda configuration, card: contextlib.nullcontext(SlowBackend())
sys.exit(cli.run_cli(lambda: Server.main(sys.argv[1:]), ()))
""".replace("import os,", "import contextlib, os,")


def command(folder, *settings, real=False):
    """Return the command of a server for `folder` on a free port; `real`: Server.py itself, with its device."""
    settings = [f"NetworkPath={folder}", "Port=0", "Precision=f32", *settings]
    program = [str(Helpers.PROJECT / "Server.py")] if real else ["-c", SCRIPT]
    return [sys.executable, "-u", *program, *[part for text in settings for part in ("--set", text)]]


def run(folder, *settings, real=False, **environment):
    """Run a server that is expected to fail; return subprocess.CompletedProcess."""
    environment = {**os.environ, "HOLD": "0", **environment}
    return subprocess.run(
        command(folder, *settings, real=real),
        cwd=Helpers.PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=waiting.LIMIT,
    )


@contextlib.contextmanager
def running(folder, *settings, hold=0, real=False, model=None, own=True, **environment):
    """Start a server and yield its process, with attributes `port` and `lines` (printed so far); kill it afterwards.

    `model` has arguments for graphs.write; by default `real` gets the tiny graph, and the fake backend none. `own`:
    whether there is such a model.
    """
    if own:
        graphs.write(folder / "Model", **(model or {"content": None if real else b""}))
    environment = {**os.environ, "HOLD": str(hold), **environment}
    with subprocess.Popen(
        command(folder, *settings, real=real),
        cwd=Helpers.PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            process.lines = []
            for line in process.stdout:
                process.lines.append(line.rstrip("\n"))
                if "Running on" in line:
                    process.port = int(line.split("/ (")[0].rsplit(":", 1)[1])
                    break
            else:
                raise AssertionError("\n".join(process.lines))
            yield process
        finally:
            process.kill()


def request(port, method="POST", path="/Inference", body=None, timeout=waiting.LIMIT, **headers):
    """Send one request over a new connection; return (status, JSON or None, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        content = response.read()
        kind = response.headers.get_content_type()
        return response.status, json.loads(content) if kind == "application/json" else None, response.headers


@contextlib.contextmanager
def in_thread(application):
    """Serve a WSGI application on a free port; yield its address."""
    server = werkzeug.serving.make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
