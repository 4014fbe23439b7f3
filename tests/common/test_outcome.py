import pytest

from Classes.common import conditions, outcome


@pytest.mark.parametrize(
    ("detected", "reasons", "expected"),
    [(True, (), "positive"), (False, (), "negative"), (True, ("uncertain",), "review"), (False, ("empty",), "review")],
)
def test_any_reason_means_review(detected, reasons, expected):
    assert outcome.decide(detected, reasons) == expected


def test_reasons_have_one_order_and_no_repetition():
    found = outcome.collect_reasons(True, True, ["unlike_training", "not_one_cell", "unlike_training"])

    assert found == ("not_one_cell", "unlike_training", "uncertain", "low_confidence")
    assert outcome.collect_reasons(False, False) == ()


def test_each_code_has_a_text_of_its_own():
    texts = [outcome.reason_text(code, conditions.AML) for code in outcome.REASONS]
    texts += [outcome.outcome_text(code, conditions.AML) for code in outcome.OUTCOMES]

    assert len(set(texts)) == len(outcome.REASONS) + len(outcome.OUTCOMES)
    assert all(text and text not in (*outcome.REASONS, *outcome.OUTCOMES) for text in texts)


def test_a_code_of_a_newer_server_is_shown_as_it_is():
    assert outcome.reason_text("wrong_magnification", conditions.AML) == "wrong_magnification"


def test_texts_name_the_condition():
    assert outcome.outcome_text(outcome.POSITIVE, conditions.AML) == "Signs of AML"
    assert outcome.outcome_text(outcome.NEGATIVE, conditions.ALL) == "No signs of ALL"
    assert " AML " in outcome.reason_text(outcome.UNCERTAIN, conditions.AML)
