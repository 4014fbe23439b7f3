"""Time a step of end-to-end training: batch 10, 299x299, the whole network with its auxiliary head.

python3 benchmarks/training.py                 # float32 and bf16, interleaved
python3 benchmarks/training.py --steps 9       # more of them

Prints medians; writes nothing. Needs a quiet machine; tracing the network takes a while before the first step.
"""

import pathlib
import statistics
import sys
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes import Entry


def main(arguments=None) -> int:
    parser = Entry.parser(__doc__)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each kind (default: 5)")
    options = parser.parse_args(arguments)
    Entry.import_tensorflow()
    import numpy

    from Classes import Helpers, Learners, OpenVINO, Training, inception_utils

    configuration = Helpers.load(options.confs, [*options.settings, "Pretrained=none"])
    size, batch = configuration["ImageSize"], configuration["BatchSize"]
    generator = numpy.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 3), dtype="uint8")
    labels = generator.integers(0, 2, batch)
    manifest = types.SimpleNamespace(splits={"train": [None] * 100 * batch})
    kinds = ["f32", "bf16"] if OpenVINO.precision("AUTO") == "bf16" else ["f32"]
    learners, seconds = {}, {kind: [] for kind in kinds}
    # The first step of each is its tracing, the second warms its memory up.
    for step in range(options.steps + 2):
        for kind in kinds:
            chosen = Helpers.load(options.confs, [*options.settings, f"TrainingPrecision={kind}"])
            if kind not in learners:
                learners[kind] = Learners.Network(configuration, manifest, inception_utils.BLOCKS, {})
            with Training.precision(learners[kind], chosen):
                began = time.perf_counter()
                learners[kind].train((images, labels), step)
                seconds[kind].append(time.perf_counter() - began)
    for kind, found in seconds.items():
        timed = found[2:]
        print(
            f"{kind:5} step of {batch} images: median {statistics.median(timed):.2f} s "
            f"({min(timed):.2f} to {max(timed):.2f}), the first with tracing {found[0]:.1f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(Entry.run(main, Entry.TRAINING))
