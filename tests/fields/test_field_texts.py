"""Test the order and the numbers in the line of a field."""

from Classes.fields import field_texts
from tests.support import fields


def test_types_are_in_conventional_order():
    cells = [fields.typed(number, group) for number, group in enumerate(["monocyte", "neutrophil", "x", "monocyte"])]
    assert field_texts.describe_types(fields.field(*cells)) == "1 neutrophil, 2 monocyte, 1 x"


def test_only_cells_that_need_review_are_counted_for_it():
    marked = fields.typed(1, "monocyte", flags=("touching", "needs_review"))
    assert "2" in field_texts.describe_review(fields.field(marked, marked, fields.typed(2, "monocyte")))
    assert field_texts.describe_review(fields.field(fields.typed(2, "monocyte"))) == ""


def test_an_unknown_source_of_the_scale_is_shown_as_it_is():
    assert "elsewhere" in field_texts.describe_scale(fields.field(scale_source="elsewhere"))
    assert "0.25" in field_texts.describe_scale(fields.field())
