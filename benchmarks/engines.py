"""One way of running the network, in a process of its own: started by inference.py, which asks it for times.

python3 benchmarks/engines.py KIND [--set Key=value]      # KIND: f32 bf16 int8 bare tensorflow keras onnx

f32, bf16 and int8 are Classifier.py's way from an image file to probabilities; the others get their input ready-made.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import timing
from Classes.common import cli


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("kind", choices=KINDS)
    options = parser.parse_args(arguments)
    from Classes import Helpers
    from Classes.common import input_files
    from Classes.inference import model_card

    configuration = Helpers.load_config(options.confs, options.settings)
    card = model_card.load_model_card(configuration.card)
    files = input_files.resolve_inputs(configuration, [])
    run, about = KINDS[options.kind](configuration, card, files)

    def answer(question):
        """{"seconds": of each call} for {"calls": number, "batch": images a call}."""
        found = []
        for number in range(question["calls"]):
            start = time.perf_counter()
            run(number, question.get("batch", 1))
            found.append(time.perf_counter() - start)
        return {"seconds": found}

    timing.serve(about, answer)
    return 0


def ours(precision):
    """Classifier.py's way in one arithmetic: read, decode, classify, judge."""

    def open_it(configuration, card, files):
        import numpy

        from Classes import Helpers
        from Classes.imaging import decode
        from Classes.inference import openvino_backend, prediction

        engine = openvino_backend.OpenVINOBackend(card, "CPU", precision)
        limits = decode.decode_limits(configuration)
        ready = numpy.stack([card.input_spec.decode_and_resize(path, limits) for path in files])

        def run(number, batch):
            if batch == 1:
                image = card.input_spec.decode_and_resize(files[number % len(files)], limits)
                answers = engine.classify(image[None])
                prediction.make_prediction(answers[0], card, configuration["InceptionThreshold"])
                return answers
            return engine.classify(ready[numpy.arange(batch) % len(ready)])

        return run, {"precision": engine.precision, "notice": Helpers.DISCLAIMER}

    return open_it


def _inputs(configuration, card, files):
    import numpy

    images = numpy.stack([card.input_spec.decode_and_resize(path) for path in files])
    return card.input_spec.normalize(images)


def bare(configuration, card, files):
    """OpenVINO's own call on the int8 network, or on the graph where there is none."""
    from Classes.inference import int8_files, openvino_backend, openvino_devices

    core = openvino_devices.new_core()
    model = openvino_backend.read_model(core, *(int8_files.locate_int8(card) if card.int8 else [card.graph_path]))
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    inputs = _inputs(configuration, card, files)

    def run(number, batch):
        images = (inputs[(number + each) % len(inputs)][None] for each in range(batch))
        return [request.infer([image]).to_tuple()[0][0].copy() for image in images]

    return run, {}


def tensorflow(configuration, card, files):
    """A TensorFlow session on the frozen graph."""
    cli.import_tensorflow()
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(card.graph_path.read_bytes())
    inputs = _inputs(configuration, card, files)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
    session = tf.compat.v1.Session(graph=graph)

    def run(number, batch):
        images = (inputs[(number + each) % len(inputs)][None] for each in range(batch))
        feeds = ({f"{card.input['node']}:0": image} for image in images)
        return [session.run(f"{card.output}:0", feed)[0] for feed in feeds]

    return run, {"version": tf.__version__}


def keras(configuration, card, files):
    """Keras's InceptionV3 with random weights, by predict."""
    cli.import_tensorflow()
    import keras as library
    import numpy

    model = library.applications.InceptionV3(weights=None, classes=len(card.classes))
    inputs = _inputs(configuration, card, files)

    def run(number, batch):
        model.predict(inputs[(number + numpy.arange(batch)) % len(inputs)], batch_size=batch, verbose=0)

    return run, {"version": library.__version__}


def onnx(configuration, card, files):
    """ONNX Runtime on the frozen graph, converted by tf2onnx."""
    import onnxruntime

    from Classes.common import atomic_files

    names = f"{card.input['node']}:0", f"{card.output}:0"
    path = pathlib.Path(tempfile.gettempdir()) / f"ALLGraph-{card.graph_sha256[:16]}.onnx"
    if not path.exists():
        # In a process of its own and once only, since it needs several gigabytes.
        with atomic_files.atomic_replace(path) as temporary:
            command = [sys.executable, "-m", "tf2onnx.convert", "--graphdef", card.graph_path, "--output", temporary]
            command += ["--inputs", names[0], "--outputs", names[1], "--opset", "17"]
            subprocess.run(command, check=True, capture_output=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = _inputs(configuration, card, files)

    def run(number, batch):
        for each in range(batch):
            session.run([names[1]], {names[0]: inputs[(number + each) % len(inputs)][None]})

    return run, {"version": onnxruntime.__version__}


KINDS = {
    **{precision: ours(precision) for precision in ("f32", "bf16", "int8")},
    "bare": bare,
    "tensorflow": tensorflow,
    "keras": keras,
    "onnx": onnx,
}

if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
