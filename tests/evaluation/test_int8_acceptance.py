import dataclasses

import numpy
import pytest

from Classes.evaluation import int8_acceptance
from Classes.inference import model_card
from tests.support import graphs

SURE, FAIR, CLOSE = [0.05, 0.95], [0.2, 0.8], [0.45, 0.55]


@pytest.fixture
def card(tmp_path):
    return model_card.load_model_card(graphs.write(tmp_path, content=b"a graph"))


def swapped(probabilities):
    return probabilities[::-1]


def compare(card, labels, before, after):
    return int8_acceptance.compare_predictions(card, labels, before, after)


def test_equal_predictions_have_no_difference(card):
    answers = [SURE, swapped(SURE), FAIR, swapped(CLOSE)]

    found = compare(card, [1, 0, 1, 0], answers, answers)

    assert found == {
        "images": 4,
        "accuracy": [1.0, 1.0],
        "roc_auc": [1.0, 1.0],
        "error_difference": 0.0,
        # z² / (n + z²) for four images and no difference.
        "error_interval": pytest.approx([-0.489891, 0.489891], abs=1e-5),
        "flips": 0,
        "confident_flips": 0,
        "largest_difference": 0.0,
    }
    assert int8_acceptance.rejection_reasons(found, 0) == []


def test_a_comparison_calculated_by_hand(card):
    before = [[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.8, 0.2]]
    after = [[0.1, 0.9], [0.55, 0.45], [0.5, 0.5], [0.8, 0.2]]

    found = compare(card, [1, 1, 0, 0], before, after)

    # Of the four pairs of an image of either class, all were in order; now 0.45 lies below 0.5.
    assert found["accuracy"] == [1.0, 0.5]
    assert found["roc_auc"] == [1.0, 0.75]
    assert (found["flips"], found["confident_flips"]) == (2, 0)
    assert found["largest_difference"] == pytest.approx(0.25)
    (reason,) = int8_acceptance.rejection_reasons(found, 0.4)
    assert "1.0000 to 0.5000" in reason
    assert len(int8_acceptance.rejection_reasons(found, 0.2)) == 2
    assert int8_acceptance.rejection_reasons(found, 0.5) == []


def test_an_improvement_is_no_reason_for_rejection(card):
    found = compare(card, [1, 0], [swapped(FAIR), swapped(CLOSE)], [CLOSE, swapped(FAIR)])

    assert found["accuracy"] == [0.5, 1.0]
    assert int8_acceptance.rejection_reasons(found, 0) == []


@pytest.mark.parametrize(
    ("before", "after", "confident"),
    [
        (SURE, swapped(CLOSE), 1),
        (CLOSE, swapped(SURE), 1),
        ([0.1, 0.9], swapped(CLOSE), 1),
        ([0.101, 0.899], swapped(FAIR), 0),
        (SURE, CLOSE, 0),
    ],
)
def test_a_confident_prediction_must_not_change(card, before, after, confident):
    found = compare(card, [1] * 1000, [before] + [SURE] * 999, [after] + [SURE] * 999)

    assert found["confident_flips"] == confident
    assert bool(int8_acceptance.rejection_reasons(found, 1)) == bool(confident)


def test_the_threshold_of_the_card_is_applied(tmp_path):
    card = model_card.load_model_card(graphs.write(tmp_path, content=b"a graph", threshold=0.3))

    assert compare(card, [1], [[0.6, 0.4]], [[0.5, 0.5]])["flips"] == 0
    assert compare(card, [1], [[0.6, 0.4]], [[0.8, 0.2]])["flips"] == 1


def test_a_decrease_by_exactly_the_margin_is_accepted(card):
    before = [SURE] * 200
    after = [SURE] * 199 + [swapped(FAIR)]
    found = {**compare(card, [1] * 200, before, after), "confident_flips": 0}

    assert int8_acceptance.rejection_reasons(found, 0.005) == []
    assert int8_acceptance.rejection_reasons(found, 0.0049) != []


def test_images_of_one_class_have_no_roc_auc(card):
    found = compare(card, [1, 1], [SURE, FAIR], [SURE, CLOSE])

    assert found["roc_auc"] == [None, None]
    assert int8_acceptance.rejection_reasons(found, 0) == []
    assert "ROC AUC" not in int8_acceptance.format_comparison(found)


def test_without_images_nothing_is_accepted(card):
    found = compare(card, [], numpy.zeros((0, 2)), numpy.zeros((0, 2)))

    assert len(int8_acceptance.rejection_reasons(found, 1)) == 1
    assert int8_acceptance.format_comparison(found).startswith("0 images")


def test_a_different_number_of_probabilities_is_an_error(card):
    with pytest.raises(ValueError, match="1"):
        compare(card, [1], [SURE], [SURE, SURE])


def test_the_line_contains_every_metric(card):
    found = compare(card, [1, 1, 0, 0], [SURE, FAIR, swapped(FAIR), swapped(SURE)], [SURE, FAIR, CLOSE, swapped(SURE)])

    text = int8_acceptance.format_comparison(found)

    for part in (
        "4 images",
        "1.0000 -> 0.7500",
        "1.0000 -> 1.0000",
        "+0.2500",
        "1 predictions change, 0 of them",
        "0.350",
    ):
        assert part in text


def compare_many(card, count, worse=0, better=0, groups=None):
    """The comparison of `count` images, of which some become wrong and some become right, with low confidence."""
    truths = [1] * count
    before = [CLOSE] * (count - better) + [swapped(CLOSE)] * better
    after = [swapped(CLOSE)] * worse + [CLOSE] * (count - worse)
    return int8_acceptance.compare_predictions(card, truths, before, after, groups)


@pytest.mark.parametrize(
    # By the constrained likelihood, maximised numerically; the last by hand, z² / (n + z²).
    ("count", "worse", "better", "high"),
    [(100, 5, 2, 0.095113), (44, 1, 0, 0.118077), (60, 8, 3, 0.202650), (163, 0, 0, 0.023025)],
)
def test_the_paired_interval(card, count, worse, better, high):
    found = compare_many(card, count, worse, better)

    assert found["error_difference"] == pytest.approx((worse - better) / count)
    assert found["error_interval"][1] == pytest.approx(high, abs=1e-5)


@pytest.mark.parametrize(("count", "shown"), [(7, False), (163, False), (764, False), (765, True), (5000, True)])
def test_too_few_images_prove_nothing(card, count, shown):
    found = compare_many(card, count)

    assert int8_acceptance.is_non_inferior(found, 0.005) == shown
    assert int8_acceptance.rejection_reasons(found, 0.005) == []
    assert bool(int8_acceptance.rejection_reasons(found, 0.005, proof=True)) == (not shown)
    assert int8_acceptance.images_needed(0.005) == 765
    if not shown:
        assert "765" in int8_acceptance.missing_proof(found, 0.005)
        assert f"{found['error_interval'][1]:.4f}" in int8_acceptance.missing_proof(found, 0.005)


def test_non_inferiority_needs_the_interval_within_the_margin(card):
    found = compare_many(card, 2000, worse=8)

    assert found["error_difference"] < 0.005 < found["error_interval"][1]
    assert not int8_acceptance.is_non_inferior(found, 0.005)
    assert int8_acceptance.is_non_inferior(found, 0.01)


def test_images_of_one_patient_prove_less(card):
    patients = [f"patient {number // 10}" for number in range(1000)]

    assert int8_acceptance.is_non_inferior(compare_many(card, 1000), 0.005)
    assert not int8_acceptance.is_non_inferior(compare_many(card, 1000, groups=patients), 0.005)
    one = compare_many(card, 1000, groups=["patient 1"] * 1000)
    assert one["error_interval"] is None
    assert not int8_acceptance.is_non_inferior(one, 1)
    assert int8_acceptance.missing_proof(one, 0.005)


def test_a_margin_of_0_cannot_be_proven(card):
    assert int8_acceptance.images_needed(0) is None
    assert int8_acceptance.missing_proof(compare_many(card, 10), 0)


def test_a_model_of_cell_types_is_compared_by_group_too(tmp_path):
    groups = {"neutrophil": ["BNE", "SNE"]}
    about = {"names": {"BNE": "band", "LY": "lymphocyte", "SNE": "segmented"}, "groups": groups, "limits": []}
    fields = {"classes": ("BNE", "LY", "SNE"), "positive": "", "cell_types": about, "content": b"a graph"}
    card = model_card.load_model_card(graphs.write(tmp_path, **fields), cell_types=True)
    before = [[0.6, 0.1, 0.3], [0.15, 0.6, 0.25], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]]
    # The first changes its type, the second its group: 0.2 + 0.4 is more than 0.4.
    after = [[0.3, 0.1, 0.6], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]]

    found = compare(card, [0, 1, 2, 1], before, after)

    # In the second, LY is still one of the two most likely types, and the first of them counts.
    assert found["accuracy"] == [1.0, 0.75]
    assert found["group_accuracy"] == [1.0, 0.75]
    assert len(int8_acceptance.rejection_reasons(found, 0.2)) == 2
    assert int8_acceptance.rejection_reasons(found, 0.25) == []


def test_classes_on_one_side_must_not_be_mixed_up(card):
    card = dataclasses.replace(card, classes=("Benign", "Pre-B", "Pro-B"), positive=("Pre-B", "Pro-B"))
    before = [[0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.1, 0.4, 0.5], [0.1, 0.2, 0.7]]
    # The second image changes its class, but not its side.
    after = [before[0], [0.1, 0.4, 0.5], *before[2:]]

    found = compare(card, [0, 1, 2, 2], before, after)

    assert (found["accuracy"], found["flips"]) == ([1.0, 1.0], 0)
    assert found["class_accuracy"] == [1.0, 0.75]
    assert len(int8_acceptance.rejection_reasons(found, 0.005)) == 1
    assert int8_acceptance.rejection_reasons(found, 0.25) == []


def test_a_proof_is_hopeless_if_no_change_is_too_uncertain_and_there_is_no_error_to_mend(card):
    # The upper limit without a difference is z² / (n + z²): 0.4899 for four images.
    right = compare(card, [1, 0, 1, 0], *[[SURE, swapped(SURE), FAIR, swapped(CLOSE)]] * 2)
    wrong = compare(card, [1, 0, 1, 1], *[[SURE, swapped(SURE), FAIR, swapped(CLOSE)]] * 2)

    assert int8_acceptance.is_hopeless(right, 0.4898)
    assert not int8_acceptance.is_hopeless(right, 0.49)
    assert not int8_acceptance.is_hopeless(wrong, 0.4898)
