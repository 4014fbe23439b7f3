"""`--shard i/n`: the share of a job that one of several runs computes."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import TypeVar

from Classes.common.translation import gettext as _

Value = TypeVar("Value")

MAX_SHARDS = 100_000


@dataclasses.dataclass(frozen=True)
class Shard:
    """A share.

    Attributes:
      number: 1 to count.
      count: number of shares.
    """

    number: int
    count: int

    def select(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of this share: every `count`-th, because neighbors often take equally long."""
        return list(values[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Return the share that a text such as "2/8" names; for argparse."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= MAX_SHARDS:
        raise argparse.ArgumentTypeError(_("{text}: expected a share such as 1/8").format(text=text))
    return Shard(int(found[1]), int(found[2]))


def add_shard_option(parser: argparse.ArgumentParser) -> None:
    """Add --shard to a parser."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=parse_shard,
        help="compute only the share I of N, as in a Slurm array; the run that finishes last writes the results",
    )
