"""Evaluate the frozen graph on the validation split, which was not used for training.

python3 Validation.py                           # cross-fitted accuracy, sensitivity, ... with 95 % intervals
python3 Validation.py Folds 5                   # cross-validation of the last layer with five folds of all images
python3 Validation.py --set Prevalence=0.01     # predictive values if 1 % of the images are positive
python3 Validation.py --set Precision=f32       # in float32 instead of the default precision of this machine
python3 Validation.py --device NCS1             # on the Movidius stick
python3 Validation.py Compare                   # all runs in Model/Runs: a table, and a page with their curves
python3 Validation.py Compare 3 latest          # two of them, by number, name or path
python3 Validation.py Field Photographs/         # cells of annotated photographs: found, counted, typed
python3 Trainer.py Board                        # the curves in TensorBoard

Reads the shards in Model/Data, Model/ALLGraph.pb and its model card. Folds reads the pretrained weights instead of the
graph and its card. Writes TensorBoard events, metrics.json with the probabilities of every image, folds.json and plots
to Model/_logs_eval, the metrics to Model/ALLGraph.json, the report to Model/Report, and Model/MODEL_CARD.md. Copies
are kept with the run in Model/Runs. Compare reads only that folder and writes Model/Runs/Compare.html. Field reads the
annotations that Data.py Fields reads, and writes FieldValidation.html and .json to Model/Report.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING

from Classes.common import cli
from Classes.common.loading import loading
from Classes.common.scale_option import parse_scale
from Classes.common.translation import gettext as _

if TYPE_CHECKING:
    from Classes.common.config import Configuration


def main(arguments: list[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Validation", device=True)
    parser.add_argument(
        "command",
        nargs="?",
        choices=["Folds", "Compare", "Field"],
        help="instead of measuring the frozen graph: Folds: cross-validation; Compare: compare the runs that are kept; "
        "Field: find the cells of annotated photographs",
    )
    parser.add_argument(
        "values",
        nargs="*",
        metavar="COUNT | RUN | FOLDER",
        help="Folds: number of folds (default: 5); Compare: numbers, names or paths of runs (default: all); "
        "Field: the photographs",
    )
    words = "with Field: micrometers per pixel of the photographs (default: from the image)"
    parser.add_argument("--scale", metavar="UM", type=parse_scale, help=words)
    options = parser.parse_args(arguments)
    if len(options.values) > (options.command in ("Folds", "Field")) and options.command != "Compare":
        parser.error(_("unrecognized arguments: {arguments}").format(arguments=" ".join(options.values)))
    _check_field_options(parser, options)
    count = _count(parser, *options.values) if options.command == "Folds" else 0
    if options.command == "Folds" and any(text.startswith("Device=") for text in options.settings):
        parser.error(_("--device is for the frozen graph. Folds trains and evaluates in TensorFlow."))
    from Classes import Helpers

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "Validation")
    if options.command == "Compare":
        from Classes.evaluation import run_comparison

        return run_comparison.compare_runs(configuration, options.values)
    from Classes.dataset.presets import settings

    configuration = settings.adopt_from_manifest(configuration)
    if options.command == "Field":
        from Classes.evaluation import field_models, measure_fields

        models = field_models.open_analysis(configuration, options.scale)
        return measure_fields.measure_annotated_fields(
            configuration, pathlib.Path(options.values[0]), models, options.scale
        )
    _require_input(configuration, options.command)
    cli.import_tensorflow()
    if options.command:
        from Classes.training import cross_validation

        return cross_validation.cross_validate(configuration, count)
    with loading():
        from Classes.evaluation import evaluate

    return evaluate.evaluate_model(configuration)


def _require_input(configuration: "Configuration", command: str | None) -> None:
    """Raise the error for a missing model or missing shards at once, because TensorFlow takes seconds to load."""
    from Classes.dataset import tfrecords
    from Classes.inference import model_card
    from Classes.networks import registry, weight_files

    if command == "Folds":
        registry.require_network(configuration)
        weight_files.require_named_weights(configuration)
        tfrecords.require_manifest(configuration)
    else:
        model_card.load_model_card(configuration.card, cell_types=True)


def _check_field_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program if options do not fit together."""
    if options.command == "Field" and not options.values:
        parser.error(_("Field needs the folder of the photographs"))
    if options.scale is not None and options.command != "Field":
        parser.error(_("--{option} needs the command {command}").format(option="scale", command="Field"))


def _count(parser: argparse.ArgumentParser, text: str = "5") -> int:
    if not text.isdecimal() or int(text) < 2:
        parser.error(_("{text}: expected a number of folds, at least 2").format(text=text))
    return int(text)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
