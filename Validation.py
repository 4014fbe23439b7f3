"""Measure the frozen graph on the validation split, on which no training step was made.

python3 Validation.py                           # cross-fitted accuracy, sensitivity, … with 95 % intervals
python3 Validation.py Folds 5                   # the last layer trained and measured on five folds of all images
python3 Validation.py --set Prevalence=0.01     # predictive values where one of a hundred is ALL
python3 Validation.py --set Precision=f32       # in float32 instead of what the classifier uses here
python3 Validation.py --device NCS1             # what the Movidius stick answers
tensorboard --logdir=Model/_logs_eval           # the curves

Reads the shards in Model/Data, Model/ALLGraph.pb and its card; Folds the pretrained weights instead of these two.
Writes TensorBoard events, metrics.json with every image's probabilities, folds.json and pictures to Model/_logs_eval,
the figures into Model/ALLGraph.json, the report to Model/Report and Model/MODEL_CARD.md.
"""

import argparse
import sys

from Classes.common import cli


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__, "Validation", device=True)
    parser.add_argument("command", nargs="?", choices=["Folds"], help="cross-validation instead of the frozen graph")
    parser.add_argument("count", nargs="?", type=_count, default=5, help="how many folds (default: 5)")
    options = parser.parse_args(arguments)
    if options.command and any(text.startswith("Device=") for text in options.settings):
        parser.error("--device goes with the frozen graph; Folds trains and measures in TensorFlow")
    from Classes import Helpers

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "Validation")
    cli.import_tensorflow()
    if options.command:
        from Classes.training import cross_validation

        return cross_validation.cross_validate(configuration, options.count)
    from Classes.evaluation import evaluate

    return evaluate.evaluate_model(configuration)


def _count(text):
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} folds; two is the least")
    return int(text)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
