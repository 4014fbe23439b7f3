import numpy
import pytest

from Classes import Helpers
from Classes.common import class_scheme
from Classes.common.class_scheme import ClassScheme
from Classes.common.errors import ConfigurationError

NAMES = ("Benign", "Early", "Pre", "Pro")


def test_two_classes_keep_the_bits_of_the_positive_column():
    values = numpy.random.default_rng(1).random((50, 2), "float32")
    found = ClassScheme(("0", "1"), ("1",)).positive_probability(values)
    assert found.dtype == numpy.float32
    assert found.tobytes() == values[:, 1].tobytes()


def test_several_positive_classes_add_up():
    scheme = ClassScheme(NAMES, ("Pro", "Early"))
    assert scheme.positive == ("Early", "Pro")
    assert scheme.positive_probability([0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.6)
    assert scheme.side_probability([0.1, 0.2, 0.3, 0.4], positive=False) == pytest.approx(0.4)
    assert (scheme.is_positive("Early"), scheme.is_positive("Pre")) == (True, False)


def test_a_rounded_sum_is_at_most_1():
    values = numpy.full((1, 12), 0.1, "float32")
    assert ClassScheme(tuple("abcdefghijkl"), tuple("abcdefghijk")).positive_probability(values) == [1]


def test_groups_add_up_in_the_order_of_their_first_class():
    scheme = ClassScheme(("BNE", "LY", "SNE", "MO"), (), {"NEUTROPHIL": ("SNE", "BNE")})
    assert scheme.group_names == ("NEUTROPHIL", "LY", "MO")
    assert [scheme.group_of(name) for name in scheme.names] == ["NEUTROPHIL", "LY", "NEUTROPHIL", "MO"]
    numpy.testing.assert_allclose(
        scheme.group_probabilities([[0.3, 0.4, 0.2, 0.1], [0, 0, 1, 0]]), [[0.5, 0.4, 0.1], [1, 0, 0]]
    )
    # 0.4 is the most likely class, but neutrophil is the most likely group.
    assert scheme.names[scheme.most_likely([0.3, 0.4, 0.2, 0.1])] == "BNE"


def test_all_classes_are_counted_unless_some_are_named():
    assert ClassScheme(NAMES).counted == NAMES
    assert ClassScheme(NAMES, counted=("Pro", "Benign")).counted == ("Benign", "Pro")


@pytest.mark.parametrize("names", [(), ("1",), ("Early", "Pro")])
def test_names_as_text_or_list(names):
    assert class_scheme.as_names(class_scheme.as_json(names)) == names


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (['PositiveClass=["Early","Gone"]'], "unknown_class"),
        (["PositiveClass=Early", 'ClassGroups={"Malignant":["Early","Gone"]}'], "unknown_class"),
        (["PositiveClass=Early", 'CountedClasses=["Gone"]'], "unknown_class"),
        (['PositiveClass=["Early","Pre","Pro","Benign"]'], "all_positive"),
        (["PositiveClass=", 'ClassGroups={"a":["Early"],"b":["Pre","Early"]}'], "class_in_two_groups"),
        (["PositiveClass=", 'ClassGroups={"Benign":["Early","Pre"]}'], "group_name"),
        (["PositiveClass=Early", 'ClassGroups={"a":["Early","Pre"]}'], "mixed_group"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, code):
    with pytest.raises(ConfigurationError) as caught:
        class_scheme.from_configuration(Helpers.load_config(None, settings), NAMES)
    assert caught.value.code == code


def test_a_scheme_from_the_configuration():
    settings = ['PositiveClass=["Pro","Early"]', 'ClassGroups={"Malignant":["Early","Pro"]}', 'CountedClasses=["Pre"]']
    found = class_scheme.from_configuration(Helpers.load_config(None, settings), NAMES)
    assert found == ClassScheme(NAMES, ("Early", "Pro"), {"Malignant": ("Early", "Pro")}, ("Pre",))
    assert found.group_names == ("Benign", "Malignant", "Pre")
