"""Hold the frozen graph's answers in several TensorFlows, and in the CPU engine, against each other.

python3 benchmarks/graph.py Model/Test                                     # this TensorFlow and the engine
python3 benchmarks/graph.py Model/Test --python old/bin/python             # and TensorFlow 1.4.0 on Python 3.6

An interpreter for TensorFlow 1.4.0: Python 3.6 with `wheel<0.38` and `setuptools<60`, then
`pip install --no-deps tensorflow==1.4.0 "tensorflow-tensorboard<1.6" protobuf==3.17.3 six "numpy<1.17" enum34`.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.common import cli

# Runs under Python 3.6 too.
CHILD = """
import sys
import numpy
import tensorflow
tf = tensorflow if tensorflow.__version__.startswith("1.") else tensorflow.compat.v1
path, node, output, inputs, answers = sys.argv[1:]
definition = tf.GraphDef()
with open(path, "rb") as file:
    definition.ParseFromString(file.read())
with tf.Graph().as_default():
    tf.import_graph_def(definition, name="")
    with tf.Session() as session:
        found = [session.run(output + ":0", {node + ":0": image[None]})[0] for image in numpy.load(inputs)]
numpy.save(answers, numpy.array(found))
print(tensorflow.__version__)
"""


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("folder", help="images to answer")
    parser.add_argument("--python", action="append", default=[], help="a further interpreter with a TensorFlow")
    options = parser.parse_args(arguments)
    import numpy

    from Classes import Helpers
    from Classes.inference import model_card, openvino_backend

    configuration = Helpers.load_config(options.confs, options.settings)
    card = model_card.load_model_card(configuration.card)
    card.verify_graph()
    files = sorted(
        path for path in pathlib.Path(options.folder).iterdir() if path.suffix in configuration["ValidIType"]
    )
    images = numpy.stack([card.input_spec.decode_and_resize(path) for path in files])
    inputs = card.input_spec.normalize(images)
    engine = openvino_backend.reference_outputs(card.graph_path, inputs)
    with tempfile.TemporaryDirectory() as folder:
        numpy.save(f"{folder}/inputs.npy", inputs)
        for python in (sys.executable, *options.python):
            names = (str(card.graph_path), card.input["node"], card.output)
            command = [python, "-c", CHILD, *names, f"{folder}/inputs.npy", f"{folder}/answers.npy"]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
            answers = numpy.load(f"{folder}/answers.npy")
            same = int((answers.argmax(1) == engine.argmax(1)).sum())
            print(
                f"TensorFlow {done.stdout.split()[-1]}: {same} of {len(files)} predictions as in OpenVINO, "
                f"probabilities within {abs(answers - engine).max():.1e}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
