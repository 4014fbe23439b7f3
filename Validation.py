"""Evaluate the frozen graph on the validation split, which was not used for training.

python3 Validation.py                           # cross-fitted accuracy, sensitivity, ... with 95 % intervals
python3 Validation.py Folds 5                   # cross-validation of the last layer with five folds of all images
python3 Validation.py --set Prevalence=0.01     # predictive values if 1 % of the images are ALL
python3 Validation.py --set Precision=f32       # in float32 instead of the default precision of this machine
python3 Validation.py --device NCS1             # on the Movidius stick
tensorboard --logdir=Model/_logs_eval           # the curves

Reads the shards in Model/Data, Model/ALLGraph.pb and its model card. Folds reads the pretrained weights instead of the
graph and its card. Writes TensorBoard events, metrics.json with the probabilities of every image, folds.json and plots
to Model/_logs_eval, the metrics to Model/ALLGraph.json, the report to Model/Report, and Model/MODEL_CARD.md.
"""

import argparse
import sys
from collections.abc import Sequence

from Classes.common import cli
from Classes.common.translation import gettext as _


def main(arguments: Sequence[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Validation", device=True)
    parser.add_argument("command", nargs="?", choices=["Folds"], help="cross-validation instead of the frozen graph")
    parser.add_argument("count", nargs="?", type=_count, default=5, help="number of folds (default: 5)")
    options = parser.parse_args(arguments)
    if options.command and any(text.startswith("Device=") for text in options.settings):
        parser.error(_("--device is for the frozen graph. Folds trains and evaluates in TensorFlow."))
    from Classes import Helpers

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "Validation")
    cli.import_tensorflow()
    if options.command:
        from Classes.training import cross_validation

        return cross_validation.cross_validate(configuration, options.count)
    from Classes.evaluation import evaluate

    return evaluate.evaluate_model(configuration)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(_("{count} folds; at least two are needed").format(count=text))
    return int(text)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
