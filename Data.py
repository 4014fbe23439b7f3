"""Check the images, split them by original or patient, and write the shards that Trainer.py reads.

python3 Data.py                               # the images in Model/Data/0 and Model/Data/1
python3 Data.py --strict                      # the same, exit code 1 if an image cannot be read
python3 Data.py --set ValidationSize=0.2      # with another share for validation
python3 Data.py Augment                       # 27 views of every training original, beside the originals
python3 Data.py Augment ALL_IDB/              # the same of originals elsewhere, which are brought in resized
python3 Data.py Check                         # audit the images: copies, leaks, colours; a page with pictures
python3 Data.py Demo                          # draw synthetic smears where no images are at hand

Writes to Model/Data: ALL_train_*.tfrecord, ALL_validation_*.tfrecord, ALL_manifest.json, Classes.txt, Labels.txt.
A file groups.csv (file,patient) in Model/Data keeps the images of one patient on one side of the split; without it,
views of one original (Im001_1.jpg, Im001_1__blurred.jpg) stay together. Whatever belongs to an image in Model/Test is
left out. Check writes Model/Report/Data.html and Data.json.
"""

import sys

from Classes.common import cli


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__, "Data")
    words = "Augment: write views of the originals; Check: audit the images; Demo: draw synthetic smears"
    parser.add_argument("command", nargs="?", choices=["Augment", "Check", "Demo"], help=words)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="with Augment: the originals (default: DatasetDir)")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 for unreadable images or findings (default: 0)"
    )
    parser.add_argument("--remove", action="store_true", help="with Demo: remove the synthetic smears again")
    options = parser.parse_args(arguments)
    if options.remove and options.command != "Demo":
        parser.error("--remove goes with Demo")
    if options.folder and options.command != "Augment":
        parser.error("FOLDER goes with Augment")
    if options.strict and options.command == "Demo":
        parser.error("--strict goes with images that are not drawn")
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
    if options.command == "Augment":
        return offline_augmentation.augment_dataset(configuration, options.folder, options.strict)
    cli.import_tensorflow()
    return Data.prepare_dataset(configuration, options.strict)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
