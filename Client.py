"""Send images to the API and show its verdicts. Research use only.

python3 Client.py Test                              # the test images in Model/Test
python3 Client.py Send smear.png Slides/            # any files and folders, folders with everything below them
python3 Client.py Send --csv out.csv Slides/        # also one row an image as CSV; --json PATH the same as JSON
python3 Client.py Test --server https://lab.example.org --concurrency 8

Sends each image as it is on the disk, again where the server is busy or away, and counts the verdicts against names
that end in _0 or _1. The API key, where the server wants one, comes from ALL_API_KEY or ApiKeyFile. Writes the log to
Logs/ClassifierServerClient.log and, when asked, the rows. The exit code is 1 when an image has no verdict.
"""

import argparse
import sys

from Classes.common import cli


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__, "Client")
    parser.add_argument(
        "command", nargs="?", choices=["Test", "Send"], default="Test", help="Test: what is in TestImagePath; Send: any"
    )
    parser.add_argument("sources", metavar="FILE-OR-FOLDER", nargs="*", help="with Send: the images")
    group = parser.add_argument_group("sending")
    group.add_argument(
        "--server", metavar="URL", type=_address, help="the API's address (default: Domain, or IP and Port)"
    )
    group.add_argument("--concurrency", metavar="N", type=_count, default=4, help="images at once (default: 4)")
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_count,
        help="for one answer (default: RequestTimeout + 5)",
    )
    group.add_argument(
        "--retries", metavar="N", type=_number, default=12, help="times an image is sent again (default: 12)"
    )
    group = parser.add_argument_group("results")
    group.add_argument("--csv", metavar="PATH", help="write one row an image as CSV")
    group.add_argument("--json", metavar="PATH", help="write one row an image as JSON")
    options = parser.parse_args(arguments)
    if (options.command == "Send") != bool(options.sources):
        parser.error("Send wants files or folders, Test takes none")
    from Classes import Helpers
    from Classes.client import send_images

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "ClassifierServerClient")
    return send_images.send_images(
        configuration,
        options.sources,
        server=options.server,
        concurrency=options.concurrency,
        timeout=options.timeout,
        retries=options.retries,
        csv_path=options.csv,
        json_path=options.json,
    )


def _number(text, least=0):
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from {least} is expected")
    return int(text)


def _count(text):
    return _number(text, 1)


def _address(text):
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text}: write the address with http:// or https:// before it")
    return text


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.CLIENT))
