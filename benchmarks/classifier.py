"""Time Classifier.py: from the start of the process to the first verdict, and an image against the bare engine call.

python3 benchmarks/classifier.py Model/Test                   # with the trained model
python3 benchmarks/classifier.py Model/Test --runs 9          # more starts
python3 benchmarks/classifier.py Model/Test --set Precision=f32

Prints medians; writes nothing but the classifier's own log. Needs Model/ALLGraph.pb and a quiet machine.
"""

import itertools
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes import Entry

VERDICT = " - ALL "


def main(arguments=None) -> int:
    parser = Entry.parser(__doc__)
    parser.add_argument("folder", help="images to classify")
    parser.add_argument("--runs", type=int, default=5, help="starts of the process (default: 5)")
    parser.add_argument("--images", type=int, default=60, help="images timed each way (default: 60)")
    options = parser.parse_args(arguments)
    from Classes import Helpers, Sources

    configuration = Helpers.load(options.confs, options.settings)
    files = Sources.find(configuration, [options.folder])
    passed = [part for text in options.settings for part in ("--set", text)]
    passed += ["--confs", options.confs] if options.confs else []
    starts = [first_verdict([*passed, str(files[0])]) for _ in range(options.runs)]
    print(f"start of the process to the first verdict: {show(starts, 's')} (2.0 s allowed)")
    whole, bare = per_image(configuration, files, options.images)
    print(f"decode to probabilities: {show([1000 * seconds for seconds in whole], 'ms')} an image")
    print(f"bare engine call:        {show([1000 * seconds for seconds in bare], 'ms')} an image")
    print(f"ratio of the medians:    {statistics.median(whole) / statistics.median(bare):.3f} (1.2 allowed)")
    return 0


def first_verdict(arguments):
    """Seconds until Classifier.py, started anew, prints its first verdict."""
    start = time.perf_counter()
    command = [sys.executable, "-u", str(Entry.PROJECT / "Classifier.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        seconds = next((time.perf_counter() - start for line in process.stdout if VERDICT in line), None)
        process.stdout.read()
    if seconds is None:
        raise SystemExit("Classifier.py gave no verdict; run it by itself to see why")
    return seconds


def per_image(configuration, files, count):
    """Seconds of `count` images each way, in turns, so that whatever else the machine does meets both alike.

    Returns:
      (decode to checked probabilities as Classifier.py does it, one inference request on a ready input).
    """
    import openvino

    from Classes import Card, Engine, OpenVINO

    card = Card.load(configuration.card)
    limits = {"max_pixels": configuration["MaxPixels"], "max_side": configuration["MaxSide"]}
    whole, bare = [], []
    with Engine.open_engine(configuration, card) as engine:
        core = openvino.Core()
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": engine.precision}
        compiled = core.compile_model(OpenVINO.read(core, card.graph_path), engine.name.split()[-1], options)
        request = compiled.create_infer_request()
        ready = card.view.network_input(card.view.prepare(files[0], **limits)[None])
        for path in itertools.islice(itertools.cycle(files), count + 5):
            start = time.perf_counter()
            engine.classify(card.view.prepare(path, **limits)[None])
            middle = time.perf_counter()
            request.infer([ready])
            whole.append(middle - start)
            bare.append(time.perf_counter() - middle)
    # The first ones warm the caches.
    return whole[5:], bare[5:]


def show(values, unit):
    return (
        f"median {statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f}, {len(values)} times)"
    )


if __name__ == "__main__":
    sys.exit(Entry.run(main, Entry.SERVING))
