"""The options of Classifier.py and Client.py for tables and known classes; imports only the standard library."""

import argparse
from typing import Any

KINDS = {"csv": "CSV", "json": "JSON", "xlsx": "an Excel workbook", "parquet": "Parquet"}

# As known_classes.SOURCES, which this module cannot import before the packages are installed.
LABELS = ("auto", "names", "folders", "none")


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; see Classes.common.known_classes and Classes.common.result_table."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--labels",
        choices=LABELS,
        default="auto",
        help="the true classes, for the accuracy: names, file names that end in _0 or _1; folders, named 0 and 1, or "
        "healthy and the short name of the condition; none; auto, names if all names end in a class (default: auto)",
    )
    for kind, name in KINDS.items():
        group.add_argument(
            f"--{kind}",
            metavar="PATH",
            help=f"write one row per image as {name}; auto: to CONDITION-results-DATE-TIME.{kind}",
        )
    group.add_argument(
        "--csv-locale",
        metavar="LOCALE",
        default="en",
        help="language, decimal mark and separator of the CSV file, such as es or de_CH; auto: as the system "
        "(default: en)",
    )


def table_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of classify_files.classify_files and send_images.send_images for the options."""
    paths = {f"{kind}_path": getattr(options, kind) for kind in KINDS}
    return {**paths, "labels": options.labels, "csv_locale": options.csv_locale}


def writes_tables(options: argparse.Namespace) -> bool:
    """Return whether the options ask for a table."""
    return any(getattr(options, kind) is not None for kind in KINDS)
