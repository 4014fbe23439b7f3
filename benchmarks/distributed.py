"""Time two worker processes on this machine against one, with the same global batch, and compare their losses.

python3 benchmarks/distributed.py --set NetworkPath=FOLDER                   # the whole network on its shards
python3 benchmarks/distributed.py --set NetworkPath=FOLDER --set TrainingPrecision=f32

Both train from the same start on the same batches, one after the other, and are ended after some steps; nothing is
written into the folder.
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import timing
from Classes.common import cli

STEP = re.compile(r"Glb Stp (\d+): Loss: (\S+) \((\S+) sec/step\)")
# The first ones trace and warm up.
WARM = 3


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("--steps", type=int, default=20, help="steps of each (default: 20)")
    options = parser.parse_args(arguments)
    passed = [part for text in options.settings for part in ("--set", text)]
    found = {workers: _train(passed, workers, options.steps) for workers in (1, 2)}
    rows = [
        timing.row(f"step of {workers} process(es)", seconds[WARM:], "s") for workers, (_, seconds) in found.items()
    ]
    print(timing.table(rows))
    one, two = (statistics.median(seconds[WARM:]) for _, seconds in found.values())
    print(f"two processes have {one / two:.2f} of the speed of one (at least 0.8 wanted)")
    losses = zip(*(losses for losses, _ in found.values()), strict=True)
    shown = [f"{abs(first - second):.4f}" for first, second in losses]
    print(f"losses differ by {', '.join(shown)}")
    return 0


def _train(passed, workers, steps):
    """(losses, seconds) of the first steps of Trainer.py as so many processes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        names = {"LogDir": "log", "ALLGraph": "ALLGraph.pb", "FeatureCache": "features"}
        own = [part for key, name in names.items() for part in ("--set", f"{key}={folder}/{name}")]
        command = [sys.executable, "-u", str(timing.PROJECT / "Trainer.py")]
        command += ["--set", "TrainableScopes=all", *passed, *own]
        started = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
            for environment in _environments(workers)
        ]
        for process in started:
            stack.callback(process.kill)
        matches = filter(None, map(STEP.search, started[0].stdout))
        found = [(float(match[2]), float(match[3])) for match, _ in zip(matches, range(steps), strict=False)]
    if len(found) < steps:
        raise SystemExit(f"Trainer.py ended after {len(found)} steps; run it by itself to see why")
    return tuple(zip(*found, strict=True))


def _environments(workers):
    if workers == 1:
        return [dict(os.environ)]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    clusters = (
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(workers)
    )
    return [{**os.environ, "TF_CONFIG": json.dumps(each)} for each in clusters]


if __name__ == "__main__":
    sys.exit(main())
