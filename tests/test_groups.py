"""What belongs together, worked out by hand."""

import pytest

from Classes import Groups, Helpers
from Classes.Errors import DataError


@pytest.fixture
def pattern():
    return Helpers.load()["GroupPattern"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Im006_1.jpg", "im006_1"),
        ("IM006_1.JPG", "im006_1"),
        ("Im006_1__rotated.png", "im006_1"),
        ("flip_Im006_1.jpg", "im006_1"),
        ("1/Im006_1.jpg", "im006_1"),
        ("Im006_1-blur.jpg", "im006_1"),
        ("Im006_12.jpg", "im006_12"),
        ("slim006_1.jpg", "slim006_1"),
        ("LY_819068.jpg", "ly_819068"),
        ("LY_819068__blur__3.jpg", "ly_819068"),
        ("a.b.jpg", "a.b"),
        ("noending", "noending"),
        (".jpg", ".jpg"),
    ],
)
def test_the_shipped_pattern(pattern, name, expected):
    assert Groups.original(name, pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^(x)|(P\d+)", "p17"),  # the first bracket is empty
        (r"nowhere(.)", "p17_cell3"),
        (r"P\d+", "p17_cell3"),  # no bracket at all
    ],
)
def test_other_patterns(pattern, expected):
    assert Groups.original("P17_Cell3.png", pattern) == expected


def test_patients_of_a_csv(tmp_path):
    assert Groups.patients(tmp_path) == {}

    text = '\ufeffFile, patient\r\n1/a.jpg,7\r\n\r\n"b, or c.jpg", eight \r\n1/a.jpg,7\r\n'
    (tmp_path / "groups.csv").write_bytes(text.encode())

    assert Groups.patients(tmp_path) == {"1/a.jpg": "7", "b, or c.jpg": "eight"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first line has to be file,patient"),
        (b"a.jpg,1\n", "first line has to be file,patient"),
        (b"file,patient\na.jpg\n", "line 2 is 'a.jpg'"),
        (b"file,patient\na.jpg,1\nb.jpg,\n", "line 3 is 'b.jpg,'"),
        (b"file,patient\na.jpg,1,2\n", "line 2"),
        (b"file,patient\na.jpg,1\na.jpg,2\n", r"line 3 gives a\.jpg a second patient"),
        (b"file,patient\n\xff\xfe.jpg,1\n", "save it as UTF-8 CSV"),
        (b'file,patient\n"a.jpg,1\n', "not readable"),
    ],
)
def test_a_malformed_csv(tmp_path, content, words):
    (tmp_path / "groups.csv").write_bytes(content)

    with pytest.raises(DataError, match=words) as caught:
        Groups.patients(tmp_path)
    assert str(tmp_path / "groups.csv") in str(caught.value)


def test_without_patients_originals_of_all_classes_share_a_group(pattern):
    groups, missing = Groups.assign(["0/a.jpg", "1/a__blur.jpg", "1/b.jpg"], pattern, {})

    assert groups == {"0/a.jpg": "original a", "1/a__blur.jpg": "original a", "1/b.jpg": "original b"}
    assert missing == []


def test_views_that_the_csv_leaves_out_follow_their_original(pattern):
    names = ["1/a.jpg", "1/a__blur.jpg", "0/a__flip.jpg", "0/z.jpg", "1/b.jpg"]

    groups, missing = Groups.assign(names, pattern, {"a.jpg": "7", "1/b.jpg": "7"})

    assert groups == {
        "1/a.jpg": "patient 7", "1/a__blur.jpg": "patient 7", "0/a__flip.jpg": "patient 7", "1/b.jpg": "patient 7",
        "0/z.jpg": "original z",
    }  # fmt: skip
    assert missing == ["1/a__blur.jpg", "0/a__flip.jpg", "0/z.jpg"]


def test_numbers_that_start_anew_in_each_class(pattern):
    patient = {"0/1.jpg": "A", "1/1.jpg": "B"}

    groups, _ = Groups.assign(["0/1.jpg", "1/1.jpg", "0/1__x.jpg", "1/1__x.jpg", "2/1__x.jpg"], pattern, patient)

    assert groups["0/1__x.jpg"] == "patient A"
    assert groups["1/1__x.jpg"] == "patient B"
    # Of two possible patients neither is taken.
    assert groups["2/1__x.jpg"] == "original 1"


def test_joined_groups():
    joined = Groups.joined([{"a"}, {"c", "b"}, {"d", "c"}, {"e", "f"}])

    assert joined == {"a": "a", "b": "b", "c": "b", "d": "b", "e": "e", "f": "e"}
