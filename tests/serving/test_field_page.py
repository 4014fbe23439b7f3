import json

import pytest

from Classes.common import translation
from Classes.common.blast_fraction import estimate_blast_fraction, measured_rate
from Classes.fields import cell_styles
from Classes.serving import api_errors, field_page
from tests.support import services

METRIC = {"value": 0.9, "interval": [0.8, 0.95]}


def counts(**fields):
    return field_page.counts_json(json.dumps(fields))


def test_counts_have_whole_per_cents_and_wilson_intervals():
    found = counts(groups={"lymphocyte": 1, "neutrophil": 3, "erythroblast": 2})
    # Wilson's 95 % intervals of 3 of 4 and 1 of 4: 30.1 to 95.4 % and 4.6 to 69.9 %.
    rows = [(row["group"], row["percent"], row["count"], row["interval"]) for row in found["rows"]]
    assert rows == [("neutrophil", "75", "3", "30 to 95"), ("lymphocyte", "25", "1", "5 to 70")]
    assert found["counts"]["not_counted"] == {"erythroblast": 2}
    assert found["counts"]["blasts"] is None


def test_the_fraction_of_blasts_is_that_of_the_script():
    found = counts(
        groups={"lymphoblast": 3, "neutrophil": 7},
        blast="lymphoblast",
        blasts=3,
        sensitivity=METRIC,
        specificity=METRIC,
    )
    expected = estimate_blast_fraction(3, 10, measured_rate(METRIC), measured_rate(METRIC))
    assert found["counts"]["blasts"]["corrected"] == expected.corrected
    assert tuple(found["counts"]["blasts"]["corrected_interval"]) == expected.corrected_interval


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"groups": []}',
        '{"groups": {"a": -1}}',
        '{"groups": {"a": true}}',
        '{"groups": {"a": 1e3}}',
        '{"groups": {"a": 1000000, "b": 1}}',
        json.dumps({"groups": {"a" * 61: 1}}),
        json.dumps({"groups": {str(number): 1 for number in range(51)}}),
        '{"groups": {"a": 1}, "blast": 1}',
        '{"groups": {"a": 1}, "blast": "b", "blasts": 2}',
        '{"groups": {"a": 1}, "blast": "b", "sensitivity": 1}',
        '{"groups": {"a": 1}, "blast": "b", "sensitivity": {"value": NaN, "interval": [0, 1]}}',
        '{"groups": {"a": 1}, "blast": "b", "sensitivity": {"value": 2, "interval": [0, 1]}}',
        '{"groups": {"a": 1}, "blast": "b", "sensitivity": {"value": 0.5, "interval": [1, 1]}}',
    ],
)
def test_other_questions_are_refused(text):
    with pytest.raises(api_errors.ApiError) as found:
        field_page.counts_json(text)
    assert found.value.code == "bad_request"


def test_the_answer_is_in_the_language_of_the_page(tmp_path):
    client = services.client(tmp_path)
    query = {"counts": '{"groups": {"lymphocyte": 2}}', "language": "es"}
    assert client.get("/field-counts", query_string=query).json["rows"][0]["title"] == "linfocito"
    assert client.get("/field-counts", query_string=query | {"counts": "x"}).status_code == 400
    client.service.close()


def test_every_type_has_the_style_of_the_overlays():
    with translation.use_language("es"):
        found = field_page.page_data()
    assert found["choices"][:2] == ["neutrophil", "lymphocyte"]
    assert {name: each["color"] for name, each in found["types"].items()} == {
        name: style.hex for name, style in cell_styles.STYLES.items()
    }
    assert found["blast"]["color"] == cell_styles.BLAST.hex
    assert found["names"]["lymphocyte"] == "linfocito"
