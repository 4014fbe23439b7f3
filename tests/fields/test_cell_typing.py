"""Test how the two models make one answer."""

import numpy
import pytest

from Classes.fields import blast_model
from Classes.imaging import color_stats
from tests.support import fields

CROPS = [numpy.full((80, 80, 3), 200, "uint8")]
LYMPHOCYTE, SURE_ERYTHROBLAST, UNSURE_ERYTHROBLAST = (0.9, 0.02, 0.06, 0.02), (0.1, 0, 0, 0.9), (0.4, 0, 0, 0.6)


def classify(types, blasts=None, **fields_of_card):
    model = None
    if blasts:
        card = fields.card(("0", "1"), ("1",), **fields_of_card)
        model = blast_model.BlastModel(card, fields.HandBackend(blasts), 0.7)
    return fields.typer(types, blasts=model).classify(CROPS)[0]


def test_without_a_model_of_blasts_the_type_counts():
    found = classify(LYMPHOCYTE)
    assert (found.label, found.group, found.is_blast, found.blast_probability) == ("LY", "lymphocyte", False, None)


def test_a_detected_blast_replaces_the_type():
    found = classify(LYMPHOCYTE, (0.2, 0.8))
    assert (found.name, found.group, found.is_blast) == ("lymphoblast", "lymphoblast", True)
    assert (found.blast_probability, found.group_confidence) == (0.8, 0.8)


def test_a_cell_that_is_no_blast_keeps_its_type():
    found = classify(LYMPHOCYTE, (0.8, 0.2))
    assert (found.group, found.is_blast, found.blast_probability) == ("lymphocyte", False, 0.2)


@pytest.mark.parametrize(
    ("types", "group"), [(SURE_ERYTHROBLAST, "erythroblast"), (UNSURE_ERYTHROBLAST, "lymphoblast")]
)
def test_a_cell_that_is_surely_no_white_cell_is_no_blast(types, group):
    assert classify(types, (0.1, 0.9)).group == group


def test_a_blast_with_low_confidence_or_in_the_uncertain_range_needs_review():
    assert classify(LYMPHOCYTE, (0.4, 0.6)).reasons == ("low_confidence",)
    assert classify(LYMPHOCYTE, (0.2, 0.8), uncertain=[0.3, 0.9]).reasons == ("uncertain",)
    assert classify(LYMPHOCYTE, (0.2, 0.8)).reasons == ()


def test_a_cell_with_other_colors_than_those_of_the_model_of_blasts_needs_review():
    known = color_stats.fit_reference([color_stats.color_features(numpy.full((64, 64, 3), 90, "uint8"))] * 5)
    assert classify(LYMPHOCYTE, (0.2, 0.8), colours=known).reasons == ("unlike_training",)


def test_many_cells_are_classified_in_batches():
    typer = fields.typer(LYMPHOCYTE)
    assert len(typer.classify(CROPS * 150)) == 150
    assert sum(map(len, typer.backend.batches)) == 150
    assert max(map(len, typer.backend.batches)) < 150
