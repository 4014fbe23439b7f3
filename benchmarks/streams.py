"""Streams and threads: bits of the probabilities, time, and how requests overlap.

python3 benchmarks/streams.py --set NetworkPath=FOLDER              # Precision AUTO
taskset -c 0 python3 benchmarks/streams.py --set NetworkPath=FOLDER # one core

With more than two cores it also prints what streams.py chooses. OpenVINO uses at most as many streams as cores.
"""

import concurrent.futures
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy

from benchmarks import timing
from Classes.common import cli
from Classes.imaging import decode
from Classes.inference import device_selection, network, streams

# Seconds of a simulated stage that needs no core.
STAGE = 0.05


def main(arguments=None) -> int:
    options, configuration, card, files = timing.model_and_images(__doc__, arguments, rounds=9, calls=12)
    started = timing.machine()
    limits = decode.decode_limits(configuration)
    images = numpy.stack([card.input_spec.decode_and_resize(path, limits) for path in files])
    with device_selection.open_backend(configuration, card) as engine:
        parts = {
            f"Compiled networks, {engine.precision}": compiled_networks(engine, card, images, options.rounds),
            "Backend": backend(engine, images, options.rounds),
        }
    timing.report(parts, started, None)
    return 0


def compiled_networks(engine, card, images, rounds):
    """Bits and time of each number of streams and threads, against one stream with all threads."""
    core, model, precision = engine.source
    inputs = [card.input_spec.normalize(image[None]) for image in images]
    cores = len(streams.available_cores())
    ways = {"all cores for each image": network.LATENCY}
    ways |= {f"{count} threads, 1 stream": {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": count} for count in (1, 2, 4)}
    ways |= {f"{count} streams": {"NUM_STREAMS": count} for count in sorted({2, 4, cores})}
    compiled = {name: network.Network(core, model, precision, way) for name, way in ways.items()}
    found = {name: each.infer_all(inputs) for name, each in compiled.items()}
    turns = timing.in_turns(
        {name: lambda run=each.infer_all: timing.seconds(run, inputs) for name, each in compiled.items()}, rounds
    )
    first = next(iter(found.values()))
    rows = []
    for name, times in turns.items():
        same = all(numpy.array_equal(one[0], other[0]) for one, other in zip(found[name], first, strict=True))
        about = f"{name} ({compiled[name].streams} used): {'same bits' if same else 'OTHER BITS'}"
        rows.append(timing.row(about, times, "ms an image", 1000 / len(inputs)))
    return rows


def backend(engine, images, rounds):
    """Images a second one by one, as a batch, and from threads whose other work waits without a core."""

    def one_by_one():
        return timing.seconds(lambda: [engine.classify(image[None]) for image in images])

    def staged(threads):
        def work(image):
            time.sleep(STAGE)
            engine.classify(image[None])

        def run():
            with concurrent.futures.ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, images))

        return lambda: timing.seconds(run)

    ways = {
        "one by one": one_by_one,
        "as a batch": lambda: timing.seconds(engine.classify, images),
        f"a stage of {1000 * STAGE:.0f} ms before each, 1 thread": staged(1),
        f"a stage of {1000 * STAGE:.0f} ms before each, 4 threads": staged(4),
    }
    found = timing.in_turns(ways, rounds)
    rows = [timing.row(name, [len(images) / each for each in times], "images/s") for name, times in found.items()]
    same = numpy.array_equal(
        engine.classify(images), numpy.concatenate([engine.classify(image[None]) for image in images])
    )
    return [*rows, timing.row("batch and single images identical to the last bit (1: yes)", [float(same)], "")]


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVER))
