"""Every benchmark beside its peers, in one run: JSON and a Markdown table.

python3 benchmarks/run.py --set NetworkPath=FOLDER                  # all parts, with the model trained there
python3 benchmarks/run.py inference serving --rounds 9               # some parts, more turns
python3 benchmarks/run.py --output FOLDER                           # writes benchmarks.json and benchmarks.md there

Parts: inference, serving, training, data. Needs pip install -r benchmarks/requirements.txt and a quiet machine; what is
compared is measured in turns, so that the ratios hold on a busy one too. int8 needs python3 Trainer.py Quantize first.
"""

import dataclasses
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import timing
from Classes.common import cli

PARTS = {"inference": "One image", "serving": "Server", "training": "Training", "data": "Data.py"}


@dataclasses.dataclass(frozen=True)
class Context:
    """The options of the parts.

    Attributes:
      configuration: Configuration.
      card: model_card.ModelCard.
      passed: the options that hand the same configuration to another script.
      rounds: turns.
      calls: images in a turn.
      sizes: numbers of images that Data.py is measured with.
      checks: whether LitServe makes the same checks of an image as Server.py.
    """

    configuration: object
    card: object
    passed: list
    rounds: int
    calls: int
    sizes: list
    checks: bool

    def precisions(self, names):
        """Those of the arithmetics that this model and machine have."""
        from Classes.inference import openvino_devices

        missing = set() if self.card.int8 else {"int8"}
        missing |= set() if openvino_devices.cpu_precision("AUTO") == "bf16" else {"bf16"}
        return [name for name in names if name not in missing]

    def operations(self):
        """Multiplications and additions of the network for one image."""
        from Classes.inference import openvino_backend, openvino_devices

        model = openvino_backend.read_model(openvino_devices.new_core(), self.card.graph_path)
        total = 0
        for node in model.get_ordered_ops():
            if node.get_type_name() == "Convolution":
                outputs, kernel = node.get_output_shape(0), node.input_value(1).get_shape()
                total += 2 * outputs[2] * outputs[3] * kernel[0] * kernel[1] * kernel[2] * kernel[3]
        return total


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("parts", nargs="*", help="what to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="turns (default: 7)")
    parser.add_argument("--calls", type=int, default=20, help="images in a turn (default: 20)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000], help="images for Data.py")
    parser.add_argument("--checks", action="store_true", help="LitServe checks the images as Server.py does")
    parser.add_argument("--output", type=pathlib.Path, help="folder for benchmarks.json and benchmarks.md")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    from Classes import Helpers
    from Classes.inference import model_card

    configuration = Helpers.load_config(options.confs, options.settings)
    card = model_card.load_model_card(configuration.card)
    card.verify_graph()
    passed = [part for text in options.settings for part in ("--set", text)]
    passed += ["--confs", options.confs] if options.confs else []
    context = Context(configuration, card, passed, options.rounds, options.calls, options.sizes, options.checks)
    started = timing.machine()
    found = {}
    for part in options.parts or PARTS:
        found[PARTS[part]] = importlib.import_module(f"benchmarks.{part}").measure(context)
    timing.report(found, started, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
