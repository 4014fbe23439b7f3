import pytest

from Classes.common import conditions, translation
from Classes.common.translation import Message

SICKLE_CELL = conditions.from_configuration(
    {
        "short": "SCD",
        "long": "Sickle cell disease",
        "affected_cells": "sickle cells",
        "translations": {"es": {"short": "ECF", "affected_cells": "células falciformes"}},
    }
)


def test_results_name_the_condition():
    assert conditions.ALL.detected_text(True) == "ALL detected"
    assert conditions.ALL.detected_text(False) == "ALL not detected"
    assert conditions.AML.detected_text(True) == "AML detected"
    assert conditions.AML.class_title(True) == "AML"
    assert conditions.AML.class_title(False) == "not AML"


def test_every_known_condition_has_a_source_and_a_spanish_name():
    with translation.use_language("es"):
        assert [each.label for each in conditions.KNOWN.values()] == ["LLA", "LMA"]
        assert all(each.title != each.long for each in conditions.KNOWN.values())
    assert all(each.source for each in conditions.KNOWN.values())


def test_a_described_condition_has_its_own_translations():
    message = Message("no image is {condition}", condition=SICKLE_CELL.name)
    assert message == "no image is SCD"
    assert SICKLE_CELL.label == "SCD"
    with translation.use_language("es"):
        assert SICKLE_CELL.label == "ECF"
        assert SICKLE_CELL.title == "Sickle cell disease"
        assert "ECF" in translation.localize(message)


def test_a_card_keeps_the_condition():
    for condition in (conditions.ALL, conditions.AML, SICKLE_CELL):
        assert conditions.from_card(condition.to_json()) == condition


def test_older_cards_are_of_models_for_all():
    assert conditions.from_card(None) == conditions.ALL


@pytest.mark.parametrize(
    ("short", "name"),
    [("AML", "AML"), ("Ménière's", "Meniere_s"), ("a/b: c", "a_b_c"), ("../..", "Condition"), ("白血病", "Condition")],
)
def test_the_name_of_a_file_has_only_plain_characters(short, name):
    assert conditions.Condition(short, "x").file_name == name
