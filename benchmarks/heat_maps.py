"""What a heat map costs: the second output of the network, and an answer with a heat map over HTTP.

python3 benchmarks/heat_maps.py --set NetworkPath=FOLDER                      # Precision AUTO: what the server uses
python3 benchmarks/heat_maps.py --set NetworkPath=FOLDER --set Precision=f32

Both are measured in turns. Needs a trained model and its images.
"""

import contextlib
import functools
import http.client
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy

from benchmarks import server, timing
from Classes.common import cli
from Classes.imaging import decode
from Classes.inference import device_selection, network


def main(arguments=None) -> int:
    options, configuration, card, files = timing.model_and_images(__doc__, arguments, rounds=15, calls=10)
    started = timing.machine()
    passed = [part for text in options.settings for part in ("--set", text)]
    passed += ["--confs", options.confs] if options.confs else []
    parts = {
        "Second output": second_output(configuration, card, files, options.rounds),
        "Answers over HTTP": answers(passed, [path.read_bytes() for path in files], options.rounds),
    }
    timing.report(parts, started, None)
    return 0


def second_output(configuration, card, files, rounds):
    """Time and bits of the network with and without the second output."""
    limits = decode.decode_limits(configuration)
    inputs = [card.input_spec.normalize(card.input_spec.decode_and_resize(path, limits)[None]) for path in files]
    with device_selection.open_backend(configuration, card) as engine:
        if engine.map_output is None:
            return [{"what": "the network has no second output for heat maps", "unit": "", **timing.median([0.0])}]
        core, model, precision = engine.source
        compiled = {
            "plain": network.Network(core, model, precision),
            "second": network.Network(core, engine.map_output.model, precision),
        }
    found = {name: numpy.stack([each.infer(image)[0] for image in inputs]) for name, each in compiled.items()}
    turns = timing.in_turns(
        {
            name: lambda run=each.infer: timing.seconds(lambda: [run(image) for image in inputs])
            for name, each in compiled.items()
        },
        rounds,
    )
    per_image = 1000 / len(inputs)
    same = numpy.array_equal(found["plain"], found["second"])
    return [
        timing.row(f"one image, {engine.precision}", turns["plain"], "ms", per_image),
        timing.row("one image, with the second output, unread", turns["second"], "ms", per_image),
        {**timing.ratio("time with it over time without it", turns["second"], turns["plain"], 0), "wanted": "<= 1.01"},
        timing.row("probabilities identical to the last bit (1: yes)", [float(same)], "", wanted="1"),
    ]


def answers(passed, bodies, rounds):
    """Time and processor time of answers with and without a heat map, from one client over one connection."""
    used, fastest = {"without": [], "with": []}, {"without": {}, "with": {}}
    with server.server(passed) as process:
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)

        def post(name, path):
            before = timing.processor_seconds(process.pid)
            seconds = 0.0
            for number, body in enumerate(bodies):
                start = time.perf_counter()
                status, content = server.send(process.port, body, path=path, connection=connection)
                if status != 200:
                    raise SystemExit(f"status {status}: {content!r}")
                took = time.perf_counter() - start
                seconds += took
                fastest[name][number] = min(took, fastest[name].get(number, took))
            used[name].append(timing.processor_seconds(process.pid) - before)
            return seconds

        with contextlib.closing(connection):
            paths = {"without": "/v1/classify", "with": "/v1/classify?heatmap=1"}
            ways = {name: functools.partial(post, name, path) for name, path in paths.items()}
            found = timing.in_turns(ways, rounds)
    per_image = 1000 / len(bodies)
    # Without the turn that warms up. All turns together, because the system counts hundredths of a second.
    least = {name: sum(each.values()) for name, each in fastest.items()}
    work = {name: sum(each[1:]) / rounds for name, each in used.items()}
    return [
        timing.row("an answer", found["without"], "ms", per_image),
        timing.row("an answer with a heat map", found["with"], "ms", per_image),
        {**timing.ratio("with over without", found["with"], found["without"], 0), "wanted": "<= 1.15"},
        # What a quiet machine would need, as far as a busy one can tell.
        timing.row("the fastest answers to each image: with over without", [least["with"] / least["without"]], "times"),
        timing.row("an answer, processor time", [work["without"]], "ms", per_image),
        timing.row("an answer with a heat map, processor time", [work["with"]], "ms", per_image),
        timing.row("with over without, processor time", [work["with"] / work["without"]], "times"),
    ]


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVER))
