"""--scale."""

import argparse

import pytest

from Classes.common.scale_option import parse_scale
from Classes.fields.scale import given_scale


@pytest.mark.parametrize("text", ["0.02", "0.1", "1.2", "1e-1"])
def test_what_the_option_accepts_the_finder_accepts(text):
    assert given_scale(parse_scale(text)).microns == float(text)


@pytest.mark.parametrize("text", ["", "a", "nan", "inf", "-0.1", "0", "0.019", "1.21", "100"])
def test_other_texts_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_scale(text)
