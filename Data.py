"""Check the images, split them by source image or patient, and write the shards that Trainer.py reads.

python3 Data.py                               # the images in Model/Data/0 and Model/Data/1
python3 Data.py --strict                      # the same, exit code 1 if an image cannot be read
python3 Data.py --set ValidationSize=0.2      # with another fraction for validation
python3 Data.py --set ImageDir=/data/C-NMC   # a published data set as it was unpacked (docs/datasets.md)
python3 Data.py Augment                       # write 27 augmented views of every training image
python3 Data.py Augment ALL_IDB/              # the same for images in another folder, which are copied too
python3 Data.py Check                         # audit the images: duplicates, leaks, colors; writes a report
python3 Data.py Demo                          # create synthetic smears if you have no images

Writes to Model/Data: ALL_train_*.tfrecord, ALL_validation_*.tfrecord, ALL_manifest.json, Classes.txt, Labels.txt.
List the patients in Model/Data/groups.csv (file,patient) to keep all images of a patient in one split. Without it, only
the views of a source image (Im001_1.jpg, Im001_1__blurred.jpg) stay together. Images that belong to an image in
Model/Test are left out. Check writes Model/Report/Data.html and Data.json.
"""

import sys

from Classes.common import cli
from Classes.common.translation import gettext as _


def main(arguments: list[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Data")
    words = "Augment: write augmented views; Check: audit the images; Demo: create synthetic smears"
    parser.add_argument("command", nargs="?", choices=["Augment", "Check", "Demo"], help=words)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="with Augment: the images (default: DatasetDir)")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 for unreadable images or findings (default: 0)"
    )
    parser.add_argument("--remove", action="store_true", help="with Demo: remove the synthetic smears")
    options = parser.parse_args(arguments)
    if options.remove and options.command != "Demo":
        parser.error(_("--remove is for Demo only"))
    if options.folder and options.command != "Augment":
        parser.error(_("FOLDER is for Augment only"))
    if options.strict and options.command == "Demo":
        parser.error(_("--strict is not for Demo"))
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
    code = Data.prepare_dataset(configuration, options.strict)
    audit.audit_if_outdated(configuration)
    return code


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
