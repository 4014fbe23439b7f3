"""Report for each image whether the condition of the model, such as ALL or AML, is detected. Research use only.

python3 Classifier.py                            # the test images in Model/Test
python3 Classifier.py InceptionTest              # the same, as in older documents
python3 Classifier.py --device NCS1              # on the Movidius stick; see docs/devices.md
python3 Classifier.py Devices                    # the available devices, with the time per image
python3 Classifier.py smear.png Slides/          # any files and folders, with all subfolders
python3 Classifier.py --model WhiteCells img.jpg # the type of each white cell (shipped model, no training needed)
python3 Classifier.py Field --html f.html Fields/ # white cells of photographed fields: found, typed, counted
python3 Classifier.py --shard 1/8 --csv out.csv Slides/ # a share of the images, as in a Slurm array
python3 Classifier.py Slide --html s.html a.svs  # a scanned slide or a very large photograph; see docs/slides.md
python3 Classifier.py --csv out.csv Slides/      # also one row per image as CSV; or --json, --xlsx, --parquet

If all file names end in _0 or _1, such as Im047_1.jpg, they state the true class, and results are counted as correct
or not. Reads Model/ALLGraph.pb and its model card; writes Logs/Classifier.log. The exit code is 1 if an image could
not be read. The same command continues a run that was stopped.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from Classes.common import cli, table_options
from Classes.common.loading import loading
from Classes.common.scale_option import parse_scale
from Classes.common.translation import gettext as _
from Classes.jobs import shards

if TYPE_CHECKING:
    from Classes.common.config import Configuration

FIELD_OPTIONS = ("overlay", "geojson", "crops", "html", "scale")


def main(arguments: list[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Classifier", device=True)
    parser.add_argument("sources", metavar="FILE-OR-FOLDER", nargs="*", help="images (default: TestImagePath)")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="WhiteCells: the types of white cells; or the file of a frozen graph (default: ALLGraph)",
    )
    table_options.add_table_options(parser)
    shards.add_shard_option(parser)
    _add_field_options(parser)
    options = parser.parse_args(arguments)
    writes = table_options.writes_tables(options) or options.shard
    if options.sources[:1] == ["Devices"] and (len(options.sources) > 1 or writes):
        parser.error(_("Devices takes no images and writes no rows"))
    command = options.sources[0] if options.sources[:1] in (["Field"], ["Slide"]) else ""
    _check_field_options(parser, options, command)
    with loading():
        from Classes import Helpers
        from Classes.inference import classify_files, device_selection, shipped_models

    configuration = Helpers.load_config(options.confs, options.settings)
    if command:
        return _classify_fields(configuration, options, command)
    if options.model:
        configuration = configuration.replace(ALLGraph=str(shipped_models.model_path(configuration, options.model)))
    Helpers.start_log(configuration, "Classifier")
    if options.sources == ["Devices"]:
        return device_selection.list_devices(configuration)
    sources = [] if options.sources == ["InceptionTest"] else options.sources
    return classify_files.classify_files(
        configuration,
        sources,
        **table_options.table_arguments(options),
        any_model=bool(options.model),
        shard=options.shard,
    )


def _add_field_options(parser: cli.Parser) -> None:
    group = parser.add_argument_group(
        "Field FILE-OR-FOLDER ... and Slide FILE ...: the white cells of photographed fields and of slides"
    )
    group.add_argument("--overlay", metavar="FOLDER", help="write each photograph with numbered boxes, or the density")
    group.add_argument("--geojson", metavar="FOLDER", help="write the cells of each photograph for QuPath")
    group.add_argument("--crops", metavar="FOLDER", help="write the cells, sorted by type; an empty or new folder")
    group.add_argument("--html", metavar="PATH", help="write a report with a gallery of all cells")
    group.add_argument(
        "--scale", metavar="UM", type=parse_scale, help="micrometers per pixel (default: from the image)"
    )
    group.add_argument(
        "--cells", metavar="N", type=int, help="Slide: stop after this many cells, which lie all over the slide"
    )


def _check_field_options(parser: cli.Parser, options: argparse.Namespace, command: str) -> None:
    """End the program if options do not fit together; command: "Field", "Slide" or ""."""
    used = [name for name in FIELD_OPTIONS if getattr(options, name) is not None]
    if used and not command:
        parser.error(_("--{option} needs the command Field or Slide").format(option=used[0]))
    if command == "Field" and len(options.sources) == 1:
        parser.error(_("Field needs a photograph or a folder"))
    if command == "Slide" and len(options.sources) == 1:
        parser.error(_("Slide needs the file of a slide"))
    if command and (options.xlsx or options.parquet):
        parser.error(_("{command} writes --csv and --json only").format(command=command))
    if options.cells is not None and (command != "Slide" or options.shard or options.cells < 1):
        parser.error(_("--cells needs the command Slide, a number of at least 1, and no --shard"))


def _classify_fields(configuration: "Configuration", options: argparse.Namespace, command: str) -> int:
    with loading():
        from Classes import Helpers
        from Classes.fields import classify_fields, field_models, field_outputs, output_files
        from Classes.inference import shipped_models
        from Classes.inference.model_card import load_model_card

    path = field_models.shipped_file(configuration, field_models.TYPE_MODEL)
    if options.model:
        path = shipped_models.model_path(configuration, options.model).with_suffix(".json")
    card = load_model_card(path, cell_types=True)
    Helpers.start_log(configuration, "Classifier")
    folders = output_files.OutputFolders(options.overlay, options.geojson, options.crops)
    if command == "Slide":
        from Classes.fields import classify_slides, slide_outputs

        return classify_slides.classify_slides(
            configuration,
            card,
            field_models.shipped_file(configuration, field_models.FINDER),
            options.sources[1:],
            slide_outputs.SlideOutputs(options.csv, options.json, options.html, folders),
            options.scale,
            options.cells,
            options.shard,
        )
    outputs = field_outputs.FieldOutputs(options.csv, options.json, options.html, folders)
    found = field_models.shipped_file(configuration, field_models.FINDER)
    return classify_fields.classify_fields(
        configuration, card, found, options.sources[1:], outputs, options.scale, options.shard
    )


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVING))
