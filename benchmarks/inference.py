"""One image after another through our engine in each arithmetic, beside TensorFlow, Keras, ONNX Runtime and OpenVINO.

python3 benchmarks/run.py inference --set NetworkPath=FOLDER

Ours is everything that Classifier.py does from an image file to a prediction; the others get their input ready-made.
Each runs in its own process, in turns.
"""

import contextlib
import pathlib
import subprocess
import sys
import time

from benchmarks import timing

HERE = pathlib.Path(__file__).resolve().parent
OURS = ("f32", "bf16", "int8")
PEERS = {
    "bare": "OpenVINO's bare call, int8",
    "tensorflow": "TensorFlow session, frozen graph",
    "keras": "Keras inceptionv3.predict, random weights",
    "onnx": "ONNX Runtime, frozen graph",
}
BATCHES = (1, 2, 4, 8, 16, 32)
# Seconds an image on the Neural Compute Stick, in the documents of the first system.
STICK = 0.33
RESULT = " - ALL "


def measure(context):
    """Rows for the report.

    Args:
      context: run.Context.
    """
    with contextlib.ExitStack() as stack:
        peers = {
            kind: stack.enter_context(timing.Peer(HERE / "engines.py", kind, *context.passed))
            for kind in (*context.precisions(OURS), *PEERS)
        }
        rates = stack.enter_context(timing.Peer(HERE / "arithmetic.py"))
        times, found = _one_by_one(context, peers, rates)
        rows = [*_latency(context, times, found), *_targets(times), *_growth(context, peers)]
    return [*rows, _start(context)]


def _one_by_one(context, peers, rates):
    """({kind: median seconds of each turn}, {precision: operations a second of each turn})."""
    times, found = {kind: [] for kind in peers}, {kind: [] for kind in peers if kind in OURS}
    for turn in range(context.rounds + 1):
        for kind, peer in peers.items():
            seconds = peer.ask({"calls": context.calls})["seconds"]
            times[kind].append(timing.median(seconds)["median"])
        for precision in found:
            found[precision].append(rates.ask({"precision": precision})["rate"])
        if turn == 0:
            # The first turn warms everything up.
            times, found = {kind: [] for kind in times}, {kind: [] for kind in found}
    return times, found


def _latency(context, times, rates):
    rows = []
    operations = context.operations()
    for kind, seconds in times.items():
        name = PEERS.get(kind, f"Classifier path, {kind}")
        wanted = {"wanted": "at most 20"} if kind == "int8" else {}
        rows.append(timing.row(f"{name}: one image", seconds, "ms", 1000, **wanted))
    for precision, found in rates.items():
        rows.append(timing.row(f"matrix product, {precision}", found, "G operations/s", 1e-9))
        percentages = [100 * operations / second / rate for second, rate in zip(times[precision], found, strict=True)]
        rows.append(timing.row(f"of which one image reaches, {precision}", percentages, "%"))
    return rows


def _targets(times):
    if "int8" not in times:
        return []
    stick = [STICK] * len(times["int8"])
    return [
        timing.ratio("int8 faster than the stick (0.33 s)", stick, times["int8"], 16),
        timing.ratio("int8 faster than the TensorFlow session", times["tensorflow"], times["int8"], 4),
        timing.ratio("int8 faster than Keras predict", times["keras"], times["int8"], 8),
        timing.ratio("int8 faster than ONNX Runtime", times["onnx"], times["int8"], 1),
        timing.ratio("int8 whole way over OpenVINO's bare call", times["int8"], times["bare"], 1),
    ]


def _growth(context, peers):
    """Images a second as batches grow."""
    rows = []
    chosen = [kind for kind in ("bf16", "int8", "keras") if kind in peers]
    for batch in BATCHES:
        calls = max(1, context.calls * 2 // batch)
        asked = {"calls": calls, "batch": batch}
        turns = [{kind: peers[kind].ask(asked)["seconds"] for kind in chosen} for _ in range(context.rounds)]
        for kind in chosen:
            values = [batch * len(turn[kind]) / sum(turn[kind]) for turn in turns]
            wanted = {"wanted": "at least 70"} if (kind, batch) == ("int8", BATCHES[-1]) else {}
            name = "Keras predict" if kind == "keras" else f"engine, {kind}"
            rows.append(timing.row(f"{name}: batch {batch}", values, "images/s", **wanted))
    return rows


def _start(context):
    """Seconds until Classifier.py, from its start, prints its first result."""
    from Classes.common import input_files

    first = input_files.resolve_inputs(context.configuration, [])[0]
    command = [sys.executable, "-u", str(timing.PROJECT / "Classifier.py"), *context.passed, str(first)]
    found = []
    for _ in range(context.rounds):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            if not any(RESULT in line for line in process.stdout):
                raise SystemExit("Classifier.py printed no result; run it by itself to see why")
            found.append(time.perf_counter() - start)
            process.stdout.read()
    return timing.row("start of Classifier.py to its first result", found, "s", wanted="at most 2")
