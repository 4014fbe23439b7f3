"""--shard i/n."""

import argparse

import pytest

from Classes.jobs.shards import Shard, parse_shard


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_shares_hold_every_value_once(count):
    values = list(range(11))
    shares = [Shard(number, count).select(values) for number in range(1, count + 1)]
    assert sorted(value for share in shares for value in share) == values
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_is_parsed():
    assert parse_shard("2/8") == Shard(2, 8)


@pytest.mark.parametrize("text", ["", "2", "0/8", "9/8", "-1/8", "1/0", "a/b", "1/8/2", "1/100001"])
def test_other_texts_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_shard(text)
