import datetime

import pytest

from Classes.common import number_format, translation


@pytest.mark.parametrize(
    ("value", "layout", "english", "spanish"),
    [
        (0.9671, ".3f", "0.967", "0,967"),
        (99.5, ".1f", "99.5", "99,5"),
        (12, "", "12", "12"),
        (1234567.5, ",.1f", "1,234,567.5", "1\u202f234\u202f567,5"),
        (-0.25, "g", "-0.25", "-0,25"),
        (1e-7, ".1e", "1.0e-07", "1,0e-07"),
    ],
)
def test_numbers(value, layout, english, spanish):
    assert number_format.format_number(value, layout) == english
    with translation.use_language("es"):
        assert number_format.format_number(value, layout) == spanish


@pytest.mark.parametrize(
    ("text", "spanish"),
    [
        ("0.9571", "0,9571"),
        ("0.9571 [0.914 to 0.980] (156 of 163)", "0,9571 [0,914 to 0,980] (156 of 163)"),
        ("-0.25", "-0,25"),
        ("97.5 %", "97,5 %"),
        # No numbers, or no decimal points.
        ("2.21.0", "2.21.0"),
        ("10.0.0.1:8080", "10.0.0.1:8080"),
        ("Im001_1.5x.png", "Im001_1.5x.png"),
        ("v1.2", "v1.2"),
        ("TargetSensitivity=0.95", "TargetSensitivity=0.95"),
        ("it ends in 3.", "it ends in 3."),
    ],
)
def test_numbers_in_a_text(text, spanish):
    assert number_format.localize_numbers(text) == text
    with translation.use_language("es"):
        assert number_format.localize_numbers(text) == spanish


def test_dates():
    moment = datetime.datetime(2026, 11, 26, 18, 3, 59)

    assert number_format.format_date(moment) == "2026-11-26 18:03"
    assert number_format.format_date(moment.date()) == "2026-11-26"
    with translation.use_language("es"):
        assert number_format.format_date(moment) == "26/11/2026 18:03"
        assert number_format.format_date(moment.date()) == "26/11/2026"


def test_moments_of_json_files():
    assert number_format.format_moment("2026-11-26T18:03:59+00:00") == "2026-11-26 18:03 UTC"
    assert number_format.format_moment("an unknown date") == "an unknown date"
    with translation.use_language("es"):
        assert number_format.format_moment("2026-11-26T18:03:59+00:00") == "26/11/2026 18:03 UTC"


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "> 99.9 %"), (0.99951, "> 99.9 %"), (0.9994, "99.9 %"), (0.5, "50.0 %"), (0, "0.0 %")],
)
def test_no_confidence_is_certain(probability, text):
    assert number_format.format_confidence(probability) == text
