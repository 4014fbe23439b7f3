"""Train a network on the shards and freeze it.

python3 Trainer.py                                  # as in Required/confs.json; continues a stopped run
python3 Trainer.py --set Epochs=10                  # the same, shorter
python3 Trainer.py --set TrainableScopes=Mixed_7a   # train this block and all after it, not only the last layer
python3 Trainer.py --set Pretrained=none            # all layers, from random weights
python3 Trainer.py --set Network=AllCNN             # the small network instead of Inception V3
python3 Trainer.py --set Network=AllCNN Import DIR  # its published weights (weights.h5, model.json), without training
python3 Trainer.py WhiteCells                       # the model of white-cell types that comes with the project, again
python3 Trainer.py Finder                           # the cell finder that comes with the project, again
python3 Trainer.py Quantize                         # the same model in int8, faster, if its results stay the same
python3 Trainer.py Export                           # the trained model for TensorFlow Serving and other model servers
python3 Trainer.py Compile                          # the trained model for the Movidius stick, Model/ALL.graph
python3 Trainer.py Board                            # the curves of all runs in TensorBoard

Reads the shards in Model/Data and the pretrained weights in Model/Pretrained. Writes checkpoints, TensorBoard events
and run.json to Model/_logs, the features of the images to Model/Features, the frozen graph to Model/ALLGraph.pb and its
model card to Model/ALLGraph.json. Settings, curves and model of the run are kept in Model/Runs; Model/latest is the
newest run. Import writes only the graph and its card. Quantize reads them and the shards, writes
Model/ALLGraph.int8.xml and .bin, and needs NNCF (pip install -r Required/requirements-int8.txt). With the default
network, it takes 20 s of processor time. If the first int8 model is rejected, a search follows, in several rounds: a
round takes about half a minute of processor time, and the log says how long on this machine. Export writes the next
version to Model/Export. WhiteCells reads Required/WhiteCells.json instead of Required/confs.json, and the images in
WhiteCellsDir; see docs/white_cells.md. Finder reads Required/Finder.json, and the images in FinderFieldsDir,
FinderCellsDir and FinderRedCellsDir; see docs/finder.md. Compile runs the compiler of the stick, which writes
Model/ALL.graph.
"""

import sys
from typing import TYPE_CHECKING

from Classes.common import cli
from Classes.common.loading import loading
from Classes.common.paths import PROJECT
from Classes.common.translation import gettext as _

if TYPE_CHECKING:
    from Classes.common.config import Configuration


def main(arguments: list[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Trainer")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["Train", "Import", "WhiteCells", "Finder", "Quantize", "Export", "Compile", "Board"],
        default="Train",
        help="what to do (default: Train)",
    )
    parser.add_argument("folder", nargs="?", help="Import: the folder of the published weights")
    options = parser.parse_args(arguments)
    if (options.command == "Import") != bool(options.folder):
        parser.error(_("Import needs the folder of the published weights; the other commands take no folder"))
    from Classes import Helpers

    own = options.command in ("WhiteCells", "Finder")
    shipped = PROJECT / "Required" / f"{options.command}.json" if own else None
    configuration = Helpers.load_config(options.confs or shipped, options.settings)
    Helpers.start_log(configuration, "Trainer")
    if options.command == "Board":
        from Classes.evaluation import board

        board.run_tensorboard(configuration)
    if options.command == "Compile":
        from Classes.export import ncs1_compile

        return ncs1_compile.compile_for_ncs1(configuration)
    from Classes.dataset.presets import settings

    configuration = settings.adopt_from_manifest(configuration)
    _require_input(configuration, options.command, options.folder)
    cli.import_tensorflow()
    if options.command == "Import":
        from Classes.export import keras_import

        return keras_import.import_keras_weights(configuration, options.folder)
    with loading():
        from Classes.export import int8_quantization, model_repository
        from Classes.training import finder_publish, train, white_cells

    commands = {
        "Train": train.train_and_freeze,
        "WhiteCells": white_cells.train_white_cells,
        "Finder": finder_publish.train_finder,
        "Quantize": int8_quantization.quantize_model,
        "Export": model_repository.export_model_repository,
    }
    return commands[options.command](configuration)


def _require_input(configuration: "Configuration", command: str, folder: str | None) -> None:
    """Raise the error for a missing file or a wrong name at once, because TensorFlow takes seconds to load."""
    from Classes.dataset import tfrecords
    from Classes.export import keras_files
    from Classes.inference import model_card
    from Classes.networks import registry, weight_files

    if command in ("Train", "WhiteCells", "Import"):
        registry.require_network(configuration)
        weight_files.require_named_weights(configuration)
    if command == "Train":
        tfrecords.require_manifest(configuration)
    elif command == "Import":
        keras_files.class_names(configuration)
        keras_files.find_weights(folder or "")
    elif command == "WhiteCells":
        from Classes.training import white_cell_images

        if not tfrecords.manifest_path(configuration).is_file():
            white_cell_images.require_images(configuration)
    elif command == "Finder":
        from Classes.training import finder_sources

        finder_sources.require_sources(configuration)
    else:
        model_card.load_model_card(configuration.card, cell_types=command == "Quantize")


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
