"""Server.py beside a LitServe server around the same engine, and beside that engine alone.

python3 benchmarks/run.py serving --set NetworkPath=FOLDER            # LitServe makes no checks of the image
python3 benchmarks/run.py serving --set NetworkPath=FOLDER --checks   # it makes those of Server.py

Both get the same images as forms from the same clients, which run on the same processor; in turns. On a busy machine
the processor time per image says more than the seconds.
"""

import contextlib
import functools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from benchmarks import server, timing

HERE = pathlib.Path(__file__).resolve().parent
CONCURRENCY = 8
SINGLE = 10
BATCH = 32
CROWDS = (1, 2, 4, 8, 16, 32, 64)
BOUNDARY = "image-of-a-cell"


def measure(context):
    """Rows for the report.

    Args:
      context: run.Context.
    """
    from Classes.common import input_files
    from Classes.imaging import decode
    from Classes.inference import device_selection

    configuration, card = context.configuration, context.card
    files = input_files.resolve_inputs(configuration, [])
    ready = [card.input_spec.decode_and_resize(path, decode.decode_limits(configuration))[None] for path in files]
    forms = {field: [_form(path, field) for path in files] for field in ("file", "content")}
    # Room for the largest crowd: nobody is turned away while times are taken.
    passed = [*context.passed, "--set", f"MaxQueued={CROWDS[-1]}"]
    count = 4 * context.calls
    with (
        device_selection.open_backend(configuration, card) as engine,
        server.server(passed) as ours,
        _lit([*context.passed, *["--checks"] * context.checks]) as (lit, lit_process),
    ):

        def post(port, field, path, concurrency=CONCURRENCY, images=count):
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            return server.post_all(port, forms[field], images, concurrency, path, headers)[1]

        ways = {
            "ours": lambda **more: post(ours.port, "file", "/v1/classify", **more),
            "lit": lambda **more: post(lit, "content", "/predict", **more),
        }
        rows = _beside(ways, engine, ready, count, context.rounds)
        rows += _batches(ours.port, forms["file"], ways["ours"], context.rounds)
        return rows + _crowds(ways, {"ours": ours.pid, "lit": lit_process}, count, context.rounds)


def _beside(ways, engine, ready, count, rounds):
    def alone():
        start = time.perf_counter()
        for number in range(count):
            engine.classify(ready[number % len(ready)])
        return time.perf_counter() - start

    found = timing.in_turns({**ways, "engine": alone}, rounds)
    names = {"ours": "Server.py", "lit": "LitServe, same engine", "engine": "the engine alone"}
    about = f"{engine.precision}, {CONCURRENCY} clients"
    rows = [
        timing.row(f"{name}, {about}", [count / each for each in found[key]], "images/s") for key, name in names.items()
    ]
    rows.append(timing.ratio("Server.py faster than LitServe", found["lit"], found["ours"], 1.2))
    rows.append(timing.ratio("Server.py over the engine alone", found["engine"], found["ours"], 0.9))
    one = timing.in_turns(
        {key: functools.partial(way, concurrency=1, images=SINGLE) for key, way in ways.items()}, rounds
    )
    rows += [
        timing.row(f"{names[key]}: one client, one request", seconds, "ms", 1000 / SINGLE)
        for key, seconds in one.items()
    ]
    return rows


def _batches(port, forms, singles, rounds):
    """One request with BATCH images beside as many requests from CONCURRENCY clients."""
    end = f"--{BOUNDARY}--\r\n".encode()
    body = b"".join(forms[number % len(forms)].removesuffix(end) for number in range(BATCH)) + end
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def batch():
        start = time.perf_counter()
        status, content = server.send(port, body, path="/v1/batch", headers=headers)
        if status != 200 or json.loads(content)["failed"]:
            raise SystemExit(f"status {status}: {content[:500]!r}")
        return time.perf_counter() - start

    found = timing.in_turns({"batch": batch, "singles": functools.partial(singles, images=BATCH)}, rounds)
    return [
        timing.row(f"/v1/batch with {BATCH} images", [BATCH / each for each in found["batch"]], "images/s"),
        timing.ratio(f"/v1/batch faster than {BATCH} requests", found["singles"], found["batch"], 1),
    ]


def _crowds(ways, processes, count, rounds):
    rows = []
    for crowd in CROWDS:
        images = max(count, crowd)
        used = {key: [] for key in ways}

        def turn(key, crowd=crowd, images=images, used=used):
            before = timing.processor_seconds(processes[key])
            seconds = ways[key](concurrency=crowd, images=images)
            used[key].append((timing.processor_seconds(processes[key]) - before) / images)
            return seconds

        turns = {key: functools.partial(turn, key) for key in ways}
        for key, seconds in timing.in_turns(turns, max(2, rounds // 2), warm=0).items():
            name = "Server.py" if key == "ours" else "LitServe"
            rows.append(timing.row(f"{name}: {crowd} at once", [images / each for each in seconds], "images/s"))
            rows.append(timing.row(f"{name}: {crowd} at once, processor time", used[key], "ms an image", 1000))
    return rows


def _form(path, field):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{path.name}"\r\n\r\n'
    return head.encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextlib.contextmanager
def _lit(passed):
    """The port of a started LitServe server, and the number of its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(HERE / "lit.py"), str(port), *passed]
    no_output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **no_output, start_new_session=True) as process:
        try:
            _wait(port, process)
            yield port, process.pid
        finally:
            # The whole group: a SIGTERM to the parent alone would leave its workers behind.
            os.killpg(process.pid, signal.SIGKILL)


def _wait(port, process, longest=120):
    end = time.monotonic() + longest
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if server.send(port, b"", "GET", "/health")[0] == 200:
                return
        time.sleep(0.5)
    raise SystemExit("LitServe did not start; run python3 benchmarks/lit.py PORT to see why")
