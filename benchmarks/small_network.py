"""Time the small network on 1,180 training images of 100x100 pixels, as many as its historic document has.

python3 benchmarks/small_network.py              # 10 epochs on synthetic smears, a test on 200 more, the backend alone
python3 benchmarks/small_network.py --epochs 3

Works in a temporary folder and removes it. An epoch is what lies between two of Trainer.py's lines, so with
distortions, validation and checkpoints. Prints medians.
"""

import argparse
import datetime
import itertools
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# A class: 590 for training and 202 for validation, as nearly as the split allows; then the test.
PER_CLASS, TESTS = 792, 100
SIDE = 100
CALLS = 200


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        _draw(pathlib.Path(folder))
        settings = [f"NetworkPath={folder}", "Network=AllCNN", "ValidationSize=0.255", f"Epochs={options.epochs}"]
        settings_arguments = [part for each in settings for part in ("--set", each)]
        _run("Data.py", settings_arguments)
        before = _processor()
        trained = _run("Trainer.py", settings_arguments)
        spent = _processor() - before
        times = re.findall(r"^(\S+ \S+),\d+ - Trainer - INFO - Epoch \d+:", trained, re.MULTILINE)
        times = [datetime.datetime.fromisoformat(each) for each in times]
        epochs = [(end - start).total_seconds() for start, end in itertools.pairwise(times)]
        print(re.search(r"Training the whole network on \d+ images", trained)[0])
        print(f"epoch: median {statistics.median(epochs):.1f} s ({min(epochs):.0f} to {max(epochs):.0f})")
        print(f"processor time of Trainer.py, start and freezing included: {spent / options.epochs:.1f} s an epoch")
        print(re.findall(r"Epoch \d+: .*", trained)[-1])
        print(re.search(r"Testing ended\. .*", _run("Classifier.py", settings_arguments))[0])
        _engine(settings)
    return 0


def _draw(folder):
    import PIL.Image

    from Classes.dataset import synthetic_smears

    for positive in (0, 1):
        for number in range(PER_CLASS + TESTS):
            inside = f"Model/Data/{positive}" if number < PER_CLASS else "Model/Test"
            path = folder / inside / f"Drawn{number:04d}_{positive}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = PIL.Image.fromarray(synthetic_smears.draw_smear(bool(positive), [positive, number]))
            image.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC).save(path)


def _run(script, settings_arguments):
    command = [sys.executable, str(PROJECT / script), *settings_arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _processor():
    """Seconds of all processors that ended child processes have used; other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _engine(settings):
    """Milliseconds of one image in the engine that serves, float32 and what AUTO is here, interleaved."""
    import numpy

    from Classes import Helpers
    from Classes.inference import device_selection, model_card

    engines, seconds = {}, {}
    for precision in ("f32", "AUTO"):
        configuration = Helpers.load_config(None, [*settings, f"Precision={precision}"])
        engine = device_selection.open_backend(configuration, model_card.load_model_card(configuration.card))
        engines[engine.precision], seconds[engine.precision] = engine, []
    image = numpy.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype="uint8")
    for _ in range(CALLS):
        for precision, engine in engines.items():
            began = time.perf_counter()
            engine.classify(image)
            seconds[precision].append(1000 * (time.perf_counter() - began))
    for precision, found in seconds.items():
        found = found[CALLS // 10 :]
        print(f"engine, {precision}: median {statistics.median(found):.2f} ms an image, fastest {min(found):.2f}")


if __name__ == "__main__":
    sys.exit(main())
