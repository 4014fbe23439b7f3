"""The options of Classifier.py and Client.py for tables and known classes; imports only the standard library."""

import argparse

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
        "healthy and ALL; none; auto, names if all names end in a class (default: auto)",
    )
    group.add_argument("--csv", metavar="PATH", help="write one row per image as CSV")
    group.add_argument("--json", metavar="PATH", help="write one row per image as JSON")
