"""Memory and time of writing the table of many images, by kind of file.

python3 benchmarks/tables.py                        # 10,000 and 100,000 rows, as Excel workbook and Parquet
python3 benchmarks/tables.py --rows 20000 --kinds csv json xlsx parquet
python3 benchmarks/tables.py --keep FOLDER          # keeps the files there

The rows are made when they are read, as Classifier.py reads them from its part files. Each file is written by a process
of its own; printed are its processor time, and by how much writing raised the largest memory of the process.
"""

import argparse
import logging
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.common import conditions, result_table, summary, table_files

CLASSES = ("0", "1")
OUTCOMES = ("positive", "negative", "review", None)


class Rows(Sequence):
    """Rows of images with all outcomes, errors among them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number):
        if not 0 <= number < self._count:
            raise IndexError
        row = result_table.new_row(f"Slides/Patient {number % 97}/Im{number:06d}_1.png", "1", CLASSES)
        row |= {"date": f"2026-11-26 18:{number // 60 % 60:02d}:{number % 60:02d}", "outcome": OUTCOMES[number % 4]}
        if number % 4 == 3:
            return row | {"error": f"Im{number:06d}_1.png: the file is damaged"}
        share = number % 10_007 / 10_007
        row |= {"class": CLASSES[number % 2], "verdict": "ALL detected", "confidence": share, "all_probability": share}
        row |= {"probability_0": 1 - share, "probability_1": share, "low": False, "uncertain": number % 4 == 2}
        row |= {"correct": number % 2 == 1, "seconds": 0.012, "engine": "CPU", "precision": "f32"}
        row |= {"model": "InceptionV3 0123456789ab", "software_version": "2.0.0"}
        return row | ({"reasons": ["out_of_focus", "low_confidence"]} if number % 4 == 2 else {})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", default=["xlsx", "parquet"], choices=["csv", "json", "xlsx", "parquet"])
    parser.add_argument("--keep", type=pathlib.Path, help="folder of the files, which are not removed")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "ROWS", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        return write_one(options.one[0], int(options.one[1]), pathlib.Path(options.one[2]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in options.kinds:
            for count in options.rows:
                one = ["--one", kind, str(count), str(folder / f"{count}.{kind}")]
                subprocess.run([sys.executable, __file__, *one], check=True)
    return 0


def write_one(kind: str, count: int, path: pathlib.Path) -> int:
    """Write one file and print what it took."""
    write(kind, 1, path)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    write(kind, count, path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds, size = time.process_time() - began, path.stat().st_size / 1e6
    print(
        f"{kind:8}{count:>8,} rows: {grown:6.0f} MiB more, {seconds:5.1f} s of processor time, {size:.1f} MB",
        flush=True,
    )
    return 0


def write(kind: str, count: int, path: pathlib.Path) -> None:
    """Write a table of one kind."""
    rows = Rows(count)
    few = [rows[number] for number in range(min(count, 4))]
    found = summary.summarize(few, len(few), condition=conditions.ALL)
    files = table_files.TableFiles(**{kind: path})
    table_files.write_tables(files, rows, {"graph_sha256": "f" * 64}, found, logging.getLogger("benchmark"))


if __name__ == "__main__":
    sys.exit(main())
