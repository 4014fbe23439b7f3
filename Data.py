"""Check the images, split them by source image or patient, and write the shards that Trainer.py reads.

python3 Data.py                               # the images in Model/Data/0 and Model/Data/1
python3 Data.py --strict                      # the same, exit code 1 if an image cannot be read
python3 Data.py --set ValidationSize=0.2      # with another fraction for validation
python3 Data.py --set ImageDir=/data/C-NMC   # a published data set as it was unpacked (docs/datasets.md)
python3 Data.py --shard 2/8                   # decode a share; the run that ends last writes the shards
python3 Data.py Augment                       # write 27 augmented views of every training image
python3 Data.py Augment ALL_IDB/              # the same for images in another folder, which are copied too
python3 Data.py Check                         # audit the images: duplicates, leaks, colors; writes a report
python3 Data.py Fields Photographs/           # crop the annotated cells of photographs into class folders
python3 Data.py Demo                          # create synthetic smears if you have no images

Writes to Model/Data: ALL_train_*.tfrecord, ALL_validation_*.tfrecord, ALL_manifest.json, Classes.txt, Labels.txt.
List the patients in Model/Data/groups.csv (file,patient) to keep all images of a patient in one split. Without it, only
the views of a source image (Im001_1.jpg, Im001_1__blurred.jpg) stay together. Images that belong to an image in
Model/Test are left out. Check writes Model/Report/Data.html and Data.json. Fields reads ALL-IDB .xyc, Pascal VOC, COCO,
YOLO, QuPath and Classifier.py Field --json files beside the photographs, and writes Model/Report/Fields.json.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from Classes.common import cli
from Classes.common.loading import loading
from Classes.common.scale_option import parse_scale
from Classes.common.translation import gettext as _
from Classes.jobs import shards

if TYPE_CHECKING:
    import numpy

    from Classes.common.config import Configuration


def main(arguments: list[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Data")
    words = "Augment: write augmented views; Check: audit the images; Fields: crop annotated cells; "
    words += "Demo: create synthetic smears"
    parser.add_argument("command", nargs="?", choices=["Augment", "Check", "Fields", "Demo"], help=words)
    words = "with Augment: the images (default: DatasetDir); with Fields: the photographs"
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help=words)
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 for unreadable images or findings (default: 0)"
    )
    parser.add_argument("--remove", action="store_true", help="with Demo: remove the synthetic smears")
    shards.add_shard_option(parser)
    _add_field_options(parser)
    options = parser.parse_args(arguments)
    _check_field_options(parser, options)
    if options.remove and options.command != "Demo":
        parser.error(_("--remove is for Demo only"))
    if options.folder and options.command not in ("Augment", "Fields"):
        parser.error(_("FOLDER is for Augment and Fields only"))
    if options.shard and options.command:
        parser.error(_("--shard is not for {command}").format(command=options.command))
    if options.strict and options.command == "Demo":
        parser.error(_("--strict is not for Demo"))
    with loading():
        from Classes import Data, Helpers
        from Classes.dataset import audit, offline_augmentation, synthetic_smears

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "Data")
    if options.remove:
        return synthetic_smears.remove_demo_dataset(configuration)
    if options.command == "Demo":
        return synthetic_smears.create_demo_dataset(configuration)
    if options.command == "Check":
        return audit.audit_dataset(configuration, options.strict)
    if options.command == "Fields":
        return _crop_fields(configuration, options)
    if options.command == "Augment":
        return offline_augmentation.augment_dataset(configuration, options.folder, options.strict)
    return Data.prepare_dataset(configuration, options.strict, options.shard, audit.audit_if_outdated)


def _add_field_options(parser: cli.Parser) -> None:
    group = parser.add_argument_group("Fields FOLDER: the annotated cells of photographs")
    words = "class folder of the cells of an annotated class (default: each class has a folder of its name)"
    group.add_argument(
        "--class", dest="classes", action="append", metavar="NAME=FOLDER", type=_class_folder, help=words
    )
    words = "use the white cells that are not annotated too: their class folder (default: only annotated cells)"
    group.add_argument("--others", metavar="FOLDER", type=_folder, help=words)
    words = "micrometers per pixel of the photographs (default: from the file, or measured on the cells)"
    group.add_argument("--scale", metavar="UM", type=parse_scale, help=words)


def _folder(text: str) -> str:
    if not text or re.search(r'[\\/:*?"<>|]', text) or text.startswith("."):
        raise argparse.ArgumentTypeError(_("{text}: not a valid name for a class folder").format(text=text))
    return text


def _class_folder(text: str) -> tuple[str, str]:
    name, separator, folder = text.rpartition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(_("{text}: expected NAME=FOLDER").format(text=text))
    return name, _folder(folder)


def _check_field_options(parser: cli.Parser, options: argparse.Namespace) -> None:
    """End the program if options do not fit together."""
    for name, value in (("class", options.classes), ("others", options.others), ("scale", options.scale)):
        if value is not None and options.command != "Fields":
            parser.error(_("--{option} needs the command {command}").format(option=name, command="Fields"))
    if options.command == "Fields" and not options.folder:
        parser.error(_("Fields needs the folder of the photographs"))


def _crop_fields(configuration: "Configuration", options: argparse.Namespace) -> int:
    from Classes.dataset import annotated_fields
    from Classes.fields import finder, scale

    def open_finder() -> annotated_fields.Finder:
        cell_finder = finder.CellFinder(configuration.path("FinderGraph").with_suffix(".json"))

        def find(path: pathlib.Path, image: "numpy.ndarray") -> tuple[Sequence[Any], float | None]:
            found = cell_finder.find(image, options.scale or scale.scale_from_file(path))
            return found.cells, None if found.scale_source == scale.ASSUMED else found.scale

        return find

    request = annotated_fields.Request(dict(options.classes or ()), options.others, options.scale, open_finder)
    return annotated_fields.crop_annotated_fields(configuration, pathlib.Path(options.folder), request, options.strict)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
