"""Send images to the API and report the results. Research use only.

python3 Client.py Test                              # the test images in Model/Test
python3 Client.py Send smear.png Slides/            # files and folders, including their sub-folders
python3 Client.py Send --csv out.csv Slides/        # also one row per image as CSV; or --json, --xlsx, --parquet
python3 Client.py Send --field --json o.json Fields/ # photographed fields: cells found, typed, counted by the server
python3 Client.py Send --field --overlay Overlays --crops Cells Fields/  # also pictures: numbered boxes, each cell
python3 Client.py Test --server https://lab.example.org --concurrency 8
python3 Client.py Models                            # the models of the server, and what they have never seen
python3 Client.py Send --model WhiteCells smear.png # with another model than the default

Sends each file unchanged, and repeats a request if the server is busy or down. If all file names end in _0 (healthy) or
_1 (positive), the results are compared with them. If the server needs an API key, set ALL_API_KEY or ApiKeyFile.
Writes Logs/ClassifierServerClient.log and the requested tables. The exit code is 1 if an image has no result.
"""

import argparse
import sys

from Classes.common import cli, table_options
from Classes.common.loading import loading
from Classes.common.scale_option import parse_scale
from Classes.common.translation import gettext as _


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_options(parser, options)
    with loading():
        from Classes import Helpers
        from Classes.client import send_images

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "ClassifierServerClient")
    if options.command == "Models":
        return send_images.list_models(configuration, options.server, options.timeout, options.retries)
    sending = {key: getattr(options, key) for key in ("server", "concurrency", "timeout", "retries", "model")}
    if not options.field:
        tables = table_options.table_arguments(options)
        return send_images.send_images(configuration, options.sources, **sending, **tables)
    from Classes.client import field_pictures, field_results

    return field_results.send_fields(
        configuration,
        options.sources,
        **sending,
        csv_path=options.csv,
        json_path=options.json,
        scale=options.scale,
        pictures=field_pictures.PictureFolders(options.overlay, options.crops),
    )


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(__doc__, "Client")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["Test", "Send", "Models"],
        default="Test",
        help="Test: the images in TestImagePath; Send: the given ones; Models: list the models of the server",
    )
    parser.add_argument("sources", metavar="FILE-OR-FOLDER", nargs="*", help="with Send: images and folders")
    add = parser.add_argument_group("sending").add_argument
    add("--server", metavar="URL", type=_url, help="address of the API (default: Domain, or IP and Port)")
    add("--model", metavar="NAME", default="", help="model on the server (default: the server's)")
    words = "images sent at the same time (default: 4)"
    add("--concurrency", metavar="N", type=_positive_number, default=4, help=words)
    words = "for one response (default: RequestTimeout + 5)"
    add("--timeout", metavar="SECONDS", type=_positive_number, help=words)
    add("--retries", metavar="N", type=_number, default=12, help="how often a request is repeated (default: 12)")
    add("--field", action="store_true", help="the images are photographed fields: count white cells")
    words = "with --field: micrometers per pixel (default: from the image)"
    add("--scale", metavar="UM", type=parse_scale, help=words)
    words = "with --field: write each photograph with numbered boxes to this folder"
    add("--overlay", metavar="FOLDER", help=words)
    words = "with --field: write the cells, sorted by type; an empty or new folder"
    add("--crops", metavar="FOLDER", help=words)
    table_options.add_table_options(parser)
    return parser


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program if options do not fit together."""
    if (options.command == "Send") != bool(options.sources):
        parser.error(_("Send needs files or folders, and Test and Models accept none"))
    if options.field and options.command != "Send":
        parser.error(_("--field needs the command Send"))
    used = [name for name in ("scale", "overlay", "crops") if getattr(options, name) is not None]
    if used and not options.field:
        parser.error(_("--{option} needs --field").format(option=used[0]))
    if options.field and (options.xlsx or options.parquet):
        parser.error(_("Field writes --csv and --json only"))


def _number(text: str, minimum: int = 0) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(
            _("{text}: expected a whole number, at least {minimum}").format(text=text, minimum=minimum)
        )
    return int(text)


def _positive_number(text: str) -> int:
    return _number(text, 1)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(_("{text}: not a URL; write it with http:// or https://").format(text=text))
    return text


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.CLIENT))
