"""Measure a Movidius stick: time per image, and how it fails, with real deadlines and a stand-in for its library.

python3 benchmarks/devices.py                              # what the process around the library costs an image
python3 benchmarks/devices.py --faults                     # also every failure at every call, with the CPU behind it
python3 benchmarks/devices.py --set NetworkPath=FOLDER     # also the predictions of the model trained there, in float16

The stand-in computes the frozen graph with every result rounded to float16. It is no stick: it says nothing of the
speed of one, and its rounding is not to the last bit that of one.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from Classes import Helpers, Movidius  # noqa: E402
from Classes.common import input_files  # noqa: E402
from Classes.imaging import network_input  # noqa: E402
from Classes.inference import device_selection, model_card, openvino_backend  # noqa: E402
from Classes.inference.ncs1 import device_process, worker  # noqa: E402
from tests.support import graphs  # noqa: E402
from tests.support import sticks as standin  # noqa: E402

IMAGES = 200
STATUSES = (
    *("BUSY", "ERROR", "OUT_OF_MEMORY", "DEVICE_NOT_FOUND", "INVALID_PARAMETERS", "TIMEOUT", "NO_DATA", "GONE"),
    *("UNSUPPORTED_GRAPH_FILE", "MYRIAD_ERROR", "hang", "die"),
)
STARTING = ("EnumerateDevices", "OpenDevice", "AllocateGraph")
WORKING = ("LoadTensor", "GetResult", "GetGraphOption", "GetDeviceOption")
ENDING = ("DeallocateGraph", "CloseDevice")
ANSWERS = ("nan", "short", "double", "none", "stale")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true", help="minutes: a stick that hangs is waited for")
    parser.add_argument("--set", dest="settings", metavar="Key=value", action="append", default=[])
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sys.path.insert(0, str(standin.FOLDER))
        os.environ["MVNC_PLAN"] = str(folder / "plan.json")
        sticks = standin.Sticks(folder / "plan.json")
        card = standin.write(folder)
        overhead(folder, card)
        if options.faults:
            faults(folder, card, sticks)
        sticks.plan(["1.1"])
        if options.settings:
            compare_predictions(Helpers.load_config(None, options.settings), folder)
    return 0


def overhead(folder, card):
    """The same calls with the library in this process and in one of its own, turn by turn."""
    tensor = network_input.normalize(graphs.red(64)[None])[0].astype("float16")
    blob = (folder / "Model" / "ALL.graph").read_bytes()
    driver = worker.Driver()
    driver.open("1.1")
    driver.allocate(blob, card.size)
    stick = device_process.NCS1Stick("1.1", blob, card.size, len(card.classes))
    inside, outside = [], []
    for number in range(IMAGES):
        inside.append(_seconds(driver.infer, tensor.tobytes(), number))
        outside.append(_seconds(stick.infer, tensor))
    stick.close()
    added = 1000 * (statistics.median(outside) - statistics.median(inside))
    print(f"the library in a process of its own: {added:.2f} ms more an image (medians of {IMAGES})")


def faults(folder, card, sticks):
    """Every failure at every call, with AUTO: longest wait, and images not rightly answered."""
    plans = [(1, call, status, 0) for call in (*STARTING, *WORKING, *ENDING) for status in STATUSES]
    plans += [(1, call, status, 2) for call in WORKING for status in STATUSES]
    plans += [(1, "GetResult", each, after) for each in ANSWERS for after in (0, 2)]
    plans += [(2, call, "hang", 0) for call in (*STARTING, *WORKING)]
    longest, lost = 0, 0
    for number, call, fault, after in plans:
        sticks.plan(["1.1", "1.2"][:number], (call, fault, {"after": after}), silence=15)
        waits, wrong, used = _waits(folder, card)
        longest, lost = max(longest, *waits), lost + wrong
        moment = "after two images" if after else "at once"
        print(f"  {number} {call:17}{fault:23}{moment:17}{max(waits):6.1f} s   {used}", flush=True)
    print(f"{len(plans)} failures: longest wait {longest:.1f} s, {lost} images lost")


def _waits(folder, card):
    """(seconds that opening, each image and closing took, images not rightly answered, who answered in the end)."""
    configuration = graphs.configuration(folder, "Precision=AUTO", "Device=AUTO")
    waits, lost, began = [], 0, time.perf_counter()
    with device_selection.open_backend(configuration, card) as engine:
        waits.append(time.perf_counter() - began)
        for red, expected in graphs.RED.items():
            began = time.perf_counter()
            lost += abs(engine.classify(graphs.red(red)[None])[0, 1] - expected) > 0.01
            waits.append(time.perf_counter() - began)
        used, began = engine.name, time.perf_counter()
    return [*waits, time.perf_counter() - began], lost, used


def compare_predictions(configuration, folder):
    """The test images of a trained model: the stand-in against the CPU in float32."""
    card = model_card.load_model_card(configuration.card)
    files = input_files.resolve_inputs(configuration, [])
    images = numpy.stack([card.input_spec.decode_and_resize(path) for path in files])
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as engine:
        expected = engine.classify(images)
    model = standin.write(
        folder / "real",
        classes=card.classes,
        content=card.graph_path.read_bytes(),
        input=card.input,
        output=card.output,
    )
    # In numpy an image takes seconds, which no stick's does.
    device_process.CALL_TIMEOUTS.update(infer=300, allocate=300)
    device_process.START_TIMEOUT = 300
    with Movidius.NCS1Backend(standin.configuration(folder / "real"), model, ["1.1"]) as engine:
        found = engine.classify(images)
    same = (found.argmax(1) == expected.argmax(1)).sum()
    print(
        f"{same} of {len(files)} predictions as on the CPU in float32; farthest {numpy.abs(found - expected).max():.5f}"
    )


def _seconds(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
