import numpy
import pytest

from Classes.evaluation import int8_acceptance
from Classes.inference import model_card
from tests.support import graphs

SURE, FAIR, CLOSE = [0.05, 0.95], [0.2, 0.8], [0.45, 0.55]


@pytest.fixture
def card(tmp_path):
    return model_card.load_model_card(graphs.write(tmp_path, content=b"a graph"))


def turned(answer):
    return answer[::-1]


def figures(card, labels, before, after):
    return int8_acceptance.compare_predictions(card, labels, before, after)


def test_the_same_answers_change_nothing(card):
    answers = [SURE, turned(SURE), FAIR, turned(CLOSE)]

    found = figures(card, [1, 0, 1, 0], answers, answers)

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


def test_figures_worked_out_by_hand(card):
    before = [[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.8, 0.2]]
    after = [[0.1, 0.9], [0.55, 0.45], [0.5, 0.5], [0.8, 0.2]]

    found = figures(card, [1, 1, 0, 0], before, after)

    # Of the four pairs of an image of either class, all were in order; now 0.45 lies below 0.5.
    assert found["accuracy"] == [1.0, 0.5]
    assert found["roc_auc"] == [1.0, 0.75]
    assert (found["flips"], found["confident_flips"]) == (2, 0)
    assert found["largest_difference"] == pytest.approx(0.25)
    assert int8_acceptance.rejection_reasons(found, 0.4) == [
        "accuracy falls from 1.0000 to 0.5000, where 0.4 is allowed"
    ]
    assert len(int8_acceptance.rejection_reasons(found, 0.2)) == 2
    assert int8_acceptance.rejection_reasons(found, 0.5) == []


def test_what_gets_better_is_no_objection(card):
    found = figures(card, [1, 0], [turned(FAIR), turned(CLOSE)], [CLOSE, turned(FAIR)])

    assert found["accuracy"] == [0.5, 1.0]
    assert int8_acceptance.rejection_reasons(found, 0) == []


@pytest.mark.parametrize(
    ("before", "after", "confident"),
    [
        (SURE, turned(CLOSE), 1),
        (CLOSE, turned(SURE), 1),
        ([0.1, 0.9], turned(CLOSE), 1),
        ([0.101, 0.899], turned(FAIR), 0),
        (SURE, CLOSE, 0),
    ],
)
def test_a_sure_verdict_must_not_turn(card, before, after, confident):
    found = figures(card, [1] * 1000, [before] + [SURE] * 999, [after] + [SURE] * 999)

    assert found["confident_flips"] == confident
    assert bool(int8_acceptance.rejection_reasons(found, 1)) == bool(confident)


def test_the_cards_threshold_makes_the_verdicts(tmp_path):
    card = model_card.load_model_card(graphs.write(tmp_path, content=b"a graph", threshold=0.3))

    assert figures(card, [1], [[0.6, 0.4]], [[0.5, 0.5]])["flips"] == 0
    assert figures(card, [1], [[0.6, 0.4]], [[0.8, 0.2]])["flips"] == 1


def test_a_fall_of_exactly_the_margin_is_allowed(card):
    before = [SURE] * 200
    after = [SURE] * 199 + [turned(FAIR)]
    found = {**figures(card, [1] * 200, before, after), "confident_flips": 0}

    assert int8_acceptance.rejection_reasons(found, 0.005) == []
    assert int8_acceptance.rejection_reasons(found, 0.0049) != []


def test_one_class_alone_has_no_area(card):
    found = figures(card, [1, 1], [SURE, FAIR], [SURE, CLOSE])

    assert found["roc_auc"] == [None, None]
    assert int8_acceptance.rejection_reasons(found, 0) == []
    assert "ROC AUC" not in int8_acceptance.format_comparison(found)


def test_without_images_nothing_is_accepted(card):
    found = figures(card, [], numpy.zeros((0, 2)), numpy.zeros((0, 2)))

    assert int8_acceptance.rejection_reasons(found, 1) == ["there is no validation image to compare on"]
    assert int8_acceptance.format_comparison(found).startswith("0 images")


def test_answers_that_are_not_of_these_images_are_a_mistake(card):
    with pytest.raises(ValueError, match="1 labels"):
        figures(card, [1], [SURE], [SURE, SURE])


def test_the_words_hold_every_figure(card):
    found = figures(card, [1, 1, 0, 0], [SURE, FAIR, turned(FAIR), turned(SURE)], [SURE, FAIR, CLOSE, turned(SURE)])

    words = int8_acceptance.format_comparison(found)

    for part in ("4 images", "1.0000 -> 0.7500", "1.0000 -> 1.0000", "+0.2500", "1 verdicts turn, 0 of them", "0.350"):
        assert part in words


def compared(card, count, worse=0, better=0, groups=None):
    """Figures of images of which some are answered wrongly only afterwards, and some only before, by a hair."""
    truths = [1] * count
    before = [CLOSE] * (count - better) + [turned(CLOSE)] * better
    after = [turned(CLOSE)] * worse + [CLOSE] * (count - worse)
    return int8_acceptance.compare_predictions(card, truths, before, after, groups)


@pytest.mark.parametrize(
    # By the constrained likelihood, maximised numerically; the last by hand, z² / (n + z²).
    ("count", "worse", "better", "high"),
    [(100, 5, 2, 0.095113), (44, 1, 0, 0.118077), (60, 8, 3, 0.202650), (163, 0, 0, 0.023025)],
)
def test_the_paired_interval(card, count, worse, better, high):
    found = compared(card, count, worse, better)

    assert found["error_difference"] == pytest.approx((worse - better) / count)
    assert found["error_interval"][1] == pytest.approx(high, abs=1e-5)


@pytest.mark.parametrize(("count", "shown"), [(7, False), (163, False), (764, False), (765, True), (5000, True)])
def test_too_few_images_show_nothing(card, count, shown):
    found = compared(card, count)

    assert int8_acceptance.shown(found, 0.005) == shown
    assert int8_acceptance.rejection_reasons(found, 0.005) == []
    assert bool(int8_acceptance.rejection_reasons(found, 0.005, proof=True)) == (not shown)
    assert int8_acceptance.needed(0.005) == 765
    if not shown:
        assert "765" in int8_acceptance.doubt(found, 0.005)
        assert f"{found['error_interval'][1]:.4f}" in int8_acceptance.doubt(found, 0.005)


def test_a_rise_within_the_margin_is_not_shown_by_its_value_alone(card):
    found = compared(card, 2000, worse=8)

    assert found["error_difference"] < 0.005 < found["error_interval"][1]
    assert not int8_acceptance.shown(found, 0.005)
    assert int8_acceptance.shown(found, 0.01)


def test_images_of_one_patient_show_less(card):
    patients = [f"patient {number // 10}" for number in range(1000)]

    assert int8_acceptance.shown(compared(card, 1000), 0.005)
    assert not int8_acceptance.shown(compared(card, 1000, groups=patients), 0.005)
    one = compared(card, 1000, groups=["patient 1"] * 1000)
    assert one["error_interval"] is None
    assert not int8_acceptance.shown(one, 1)
    assert int8_acceptance.doubt(one, 0.005)


def test_a_margin_of_nothing_needs_no_number_of_images(card):
    assert int8_acceptance.needed(0) is None
    assert int8_acceptance.doubt(compared(card, 10), 0)
