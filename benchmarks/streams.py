"""Streams and threads: bits of the probabilities, time, and how requests overlap.

python3 benchmarks/streams.py --set NetworkPath=FOLDER              # Precision AUTO
taskset -c 0 python3 benchmarks/streams.py --set NetworkPath=FOLDER # one core

OpenVINO uses at most as many streams as cores. More cores are simulated: a stand-in for OpenVINO computes as many
images at the same time as there are streams, and needs STAGE seconds but no core for each; all else is our code.
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
            "Simulated cores": simulated_cores(),
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


class SimulatedCore:
    """Stands in for openvino.Core and for what it compiles: `streams` images at once, STAGE seconds each, no core."""

    def __init__(self, streams_count):
        self._streams = streams_count
        self._pool = concurrent.futures.ThreadPoolExecutor(streams_count)

    def compile_model(self, *_):
        return self

    def get_property(self, *names):
        return self._streams if len(names) == 1 else []

    def create_infer_request(self):
        return SimulatedRequest(self._pool)


class SimulatedRequest:
    """A request of a SimulatedCore; its result is its input."""

    def __init__(self, pool):
        self._pool = pool

    def set_input_tensor(self, tensor):
        self._tensor = tensor

    def start_async(self):
        self._running = self._pool.submit(time.sleep, STAGE)

    def wait(self):
        self._running.result()

    def get_output_tensor(self, _):
        return self._tensor


def simulated_cores(each=8):
    """How many stages a second pass through network.Network, as one batch and as single images of 32 threads."""
    rows = []
    for count in (1, 2, 4, 8, 16):
        compiled = network.Network(SimulatedCore(count), None, "f32")
        inputs = [numpy.full((1, 2), number, "float32") for number in range(each * count)]
        start = time.perf_counter()
        found = compiled.infer_all(inputs)
        batch = time.perf_counter() - start
        if [float(first[0]) for (first,) in found] != list(range(each * count)):
            raise SystemExit("the results are not those of the images")
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(compiled.infer, inputs))
        single = time.perf_counter() - start
        for name, seconds in (("a batch", batch), ("single images of 32 threads", single)):
            share = len(inputs) * STAGE / count / seconds
            rows.append(timing.row(f"{count} streams, {name}: share of the possible", [100 * share], "%"))
    return rows


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVER))
