import types

import numpy
import pytest

from Classes.common import conditions, input_files
from Classes.common.class_scheme import ClassScheme
from Classes.inference import prediction


def card(classes=("0", "1"), threshold=0.5, positive="1", uncertain=None, condition=conditions.ALL):
    scheme = ClassScheme(classes, (positive,))
    return types.SimpleNamespace(
        classes=classes, threshold=threshold, scheme=scheme, uncertain=uncertain, condition=condition
    )


def predict(*probabilities, low=0.8, **fields):
    return prediction.make_prediction(numpy.array(probabilities, "float32"), card(**fields), low)


@pytest.mark.parametrize(
    ("probabilities", "truth", "words"),
    [
        ((0.0283, 0.9717), "1", "ALL correctly detected with confidence of 0.9717 in 0.33"),
        ((0.6353, 0.3647), "0", "ALL correctly not detected with LOW confidence of 0.6353 in 0.33"),
        ((0.6143, 0.3857), "1", "ALL incorrectly not detected with LOW confidence of 0.6143 in 0.33"),
        ((0.1, 0.9), "0", "ALL incorrectly detected with confidence of 0.9 in 0.33"),
        ((0.0, 1.0), "1", "ALL correctly detected with confidence of 1.0 in 0.33"),
        ((0.052, 0.948), None, "ALL detected with a confidence of 0.948 in 0.33"),
        ((0.728, 0.272), None, "ALL not detected with a LOW confidence of 0.728 in 0.33"),
    ],
)
def test_historic_messages(probabilities, truth, words):
    assert predict(*probabilities).message(0.33, truth) == words


def test_messages_name_the_condition():
    result = predict(0.052, 0.948, condition=conditions.AML)

    assert result.description == "AML detected"
    assert result.message(0.33) == "AML detected with a confidence of 0.948 in 0.33"
    assert result.message(0.33, "0") == "AML incorrectly detected with confidence of 0.948 in 0.33"


def test_fields():
    result = predict(0.25, 0.75)

    assert (result.detected, result.label, result.confidence, result.low_confidence) == (True, "1", 0.75, True)
    assert result.probabilities == {"0": 0.25, "1": 0.75}
    assert result.description == "ALL detected"


@pytest.mark.parametrize(
    ("probabilities", "fields", "outcome", "reasons"),
    [
        ((0.1, 0.9), {}, "positive", ()),
        ((0.9, 0.1), {}, "negative", ()),
        ((0.3, 0.7), {}, "review", ("low_confidence",)),
        ((0.15, 0.85), {"uncertain": [0.4, 0.9]}, "review", ("uncertain",)),
        ((0.7, 0.3), {"uncertain": [0.2, 0.6]}, "review", ("uncertain", "low_confidence")),
    ],
)
def test_outcome_and_reasons(probabilities, fields, outcome, reasons):
    result = predict(*probabilities, **fields)

    assert (result.outcome, result.reasons) == (outcome, reasons)


def test_what_the_image_check_finds_is_a_reason():
    result = prediction.make_prediction(numpy.array([0.1, 0.9]), card(), 0.8, ["unlike_training"])

    assert (result.detected, result.outcome, result.reasons) == (True, "review", ("unlike_training",))


@pytest.mark.parametrize("level", [0.8, 0.7, 0.9, 0.5])
def test_a_confidence_of_exactly_the_threshold_is_not_low(level):
    below = float(numpy.nextafter(numpy.float32(level), numpy.float32(0)))

    assert not predict(1 - level, level, low=level).low_confidence
    assert predict(1 - below, below, low=level, threshold=0.3).low_confidence


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.7])
def test_the_cards_threshold_itself_is_a_detection(threshold):
    below = float(numpy.nextafter(numpy.float32(threshold), numpy.float32(0)))

    assert predict(1 - threshold, threshold, threshold=threshold).detected
    assert not predict(1 - below, below, threshold=threshold).detected


def test_with_another_threshold_the_confidence_is_of_the_class_that_is_said():
    assert predict(0.6, 0.4, threshold=0.3).confidence == 0.4
    assert predict(0.4, 0.6, threshold=0.7).confidence == 0.4


@pytest.mark.parametrize(
    ("probability", "uncertain"), [(0.1, False), (0.2, True), (0.5, True), (0.69, True), (0.7, False), (0.9, False)]
)
def test_uncertain_from_the_bands_low_end_to_below_its_high_one(probability, uncertain):
    result = predict(1 - probability, probability, uncertain=[0.2, 0.7])

    assert result.uncertain is uncertain
    assert result.detected is (probability >= 0.5), "an uncertain image has a prediction too"


def test_without_a_band_nothing_is_uncertain():
    assert not predict(0.5, 0.5).uncertain


def test_the_positive_class_may_stand_first():
    result = predict(0.9, 0.1, classes=("ALL", "healthy"), positive="ALL")

    assert (result.detected, result.label) == (True, "ALL")


def test_of_several_other_classes_the_likeliest_is_said():
    result = predict(0.1, 0.4, 0.3, 0.2, classes=("0", "1", "2", "3"))

    assert (result.detected, result.label) == (False, "2")
    assert result.is_correct("3")
    assert not result.is_correct("1")


def test_without_truth_nothing_is_correct_or_wrong():
    assert predict(0.5, 0.5).is_correct(None) is None


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("Im047_0.jpg", "0"),
        ("Model/Test/Im101_1.JPG", "1"),
        ("a_0_1.png", "1"),
        ("Im047.jpg", None),
        ("Im047_2.jpg", None),
        ("Im047_10.jpg", None),
        ("Im047_1_copy.jpg", None),
        ("1.jpg", None),
        ("folder_1/cell.jpg", None),
    ],
)
def test_the_truth_stands_at_the_end_of_the_name(name, truth):
    assert input_files.label_from_filename(name, ("0", "1")) == truth
