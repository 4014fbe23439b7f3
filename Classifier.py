"""Report for each image whether the condition of the model, such as ALL or AML, is detected. Research use only.

python3 Classifier.py                            # the test images in Model/Test
python3 Classifier.py InceptionTest              # the same, as in older documents
python3 Classifier.py --device NCS1              # on the Movidius stick; see docs/devices.md
python3 Classifier.py Devices                    # the available devices, with the time per image
python3 Classifier.py smear.png Slides/          # any files and folders, with all subfolders
python3 Classifier.py --model WhiteCells img.jpg # the type of each white cell (shipped model, no training needed)
python3 Classifier.py --csv out.csv Slides/      # also one row per image as CSV; or --json, --xlsx, --parquet

If all file names end in _0 or _1, such as Im047_1.jpg, they state the true class, and results are counted as correct
or not. Reads Model/ALLGraph.pb and its model card; writes Logs/Classifier.log. The exit code is 1 if an image could
not be read.
"""

import sys

from Classes.common import cli, table_options
from Classes.common.translation import gettext as _


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__, "Classifier", device=True)
    parser.add_argument("sources", metavar="FILE-OR-FOLDER", nargs="*", help="images (default: TestImagePath)")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="WhiteCells: the types of white cells; or the file of a frozen graph (default: ALLGraph)",
    )
    table_options.add_table_options(parser)
    options = parser.parse_args(arguments)
    if options.sources[:1] == ["Devices"] and (len(options.sources) > 1 or table_options.writes_tables(options)):
        parser.error(_("Devices takes no images and writes no rows"))
    from Classes import Helpers
    from Classes.inference import classify_files, device_selection, shipped_models

    configuration = Helpers.load_config(options.confs, options.settings)
    if options.model:
        configuration = configuration.replace(ALLGraph=str(shipped_models.model_path(configuration, options.model)))
    Helpers.start_log(configuration, "Classifier")
    if options.sources == ["Devices"]:
        return device_selection.list_devices(configuration)
    sources = [] if options.sources == ["InceptionTest"] else options.sources
    return classify_files.classify_files(
        configuration, sources, **table_options.table_arguments(options), any_model=bool(options.model)
    )


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVING))
