import numpy
import pytest

from Classes import Acceptance, Card
from tests import graphs

SURE, FAIR, CLOSE = [0.05, 0.95], [0.2, 0.8], [0.45, 0.55]


@pytest.fixture
def card(tmp_path):
    return Card.load(graphs.write(tmp_path, content=b"a graph"))


def turned(answer):
    return answer[::-1]


def figures(card, labels, before, after):
    return Acceptance.compare(card, labels, before, after)


def test_the_same_answers_change_nothing(card):
    answers = [SURE, turned(SURE), FAIR, turned(CLOSE)]

    found = figures(card, [1, 0, 1, 0], answers, answers)

    assert found == {
        "images": 4,
        "accuracy": [1.0, 1.0],
        "roc_auc": [1.0, 1.0],
        "flips": 0,
        "confident_flips": 0,
        "largest_difference": 0.0,
    }
    assert Acceptance.objections(found, 0) == []


def test_figures_worked_out_by_hand(card):
    before = [[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.8, 0.2]]
    after = [[0.1, 0.9], [0.55, 0.45], [0.5, 0.5], [0.8, 0.2]]

    found = figures(card, [1, 1, 0, 0], before, after)

    # Of the four pairs of an image of either class, all were in order; now 0.45 lies below 0.5.
    assert found["accuracy"] == [1.0, 0.5]
    assert found["roc_auc"] == [1.0, 0.75]
    assert (found["flips"], found["confident_flips"]) == (2, 0)
    assert found["largest_difference"] == pytest.approx(0.25)
    assert Acceptance.objections(found, 0.4) == ["accuracy falls from 1.0000 to 0.5000, where 0.4 is allowed"]
    assert len(Acceptance.objections(found, 0.2)) == 2
    assert Acceptance.objections(found, 0.5) == []


def test_what_gets_better_is_no_objection(card):
    found = figures(card, [1, 0], [turned(FAIR), turned(CLOSE)], [CLOSE, turned(FAIR)])

    assert found["accuracy"] == [0.5, 1.0]
    assert Acceptance.objections(found, 0) == []


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
    assert bool(Acceptance.objections(found, 1)) == bool(confident)


def test_the_cards_threshold_makes_the_verdicts(tmp_path):
    card = Card.load(graphs.write(tmp_path, content=b"a graph", threshold=0.3))

    assert figures(card, [1], [[0.6, 0.4]], [[0.5, 0.5]])["flips"] == 0
    assert figures(card, [1], [[0.6, 0.4]], [[0.8, 0.2]])["flips"] == 1


def test_a_fall_of_exactly_the_margin_is_allowed(card):
    before = [SURE] * 200
    after = [SURE] * 199 + [turned(FAIR)]
    found = {**figures(card, [1] * 200, before, after), "confident_flips": 0}

    assert Acceptance.objections(found, 0.005) == []
    assert Acceptance.objections(found, 0.0049) != []


def test_one_class_alone_has_no_area(card):
    found = figures(card, [1, 1], [SURE, FAIR], [SURE, CLOSE])

    assert found["roc_auc"] == [None, None]
    assert Acceptance.objections(found, 0) == []
    assert "ROC AUC" not in Acceptance.words(found)


def test_without_images_nothing_is_accepted(card):
    found = figures(card, [], numpy.zeros((0, 2)), numpy.zeros((0, 2)))

    assert Acceptance.objections(found, 1) == ["there is no validation image to compare on"]
    assert Acceptance.words(found).startswith("0 images")


def test_answers_that_are_not_of_these_images_are_a_mistake(card):
    with pytest.raises(ValueError, match="1 labels"):
        figures(card, [1], [SURE], [SURE, SURE])


def test_the_words_hold_every_figure(card):
    found = figures(card, [1, 1, 0, 0], [SURE, FAIR, turned(FAIR), turned(SURE)], [SURE, FAIR, CLOSE, turned(SURE)])

    assert Acceptance.words(found) == (
        "4 images: accuracy 1.0000 -> 0.7500, ROC AUC 1.0000 -> 1.0000; 1 verdicts turn, 0 of them confident; "
        "probabilities within 0.350"
    )
