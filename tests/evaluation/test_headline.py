import dataclasses

import pytest

from Classes.common import conditions
from Classes.evaluation import classification_metrics, headline
from Classes.inference import model_card
from tests.support import graphs


@pytest.fixture
def card(tmp_path):
    graphs.write(tmp_path)
    return model_card.load_model_card(tmp_path / "ALLGraph.json")


def metrics(labels, detections):
    return classification_metrics.evaluate_predictions(labels, [float(each) for each in detections], detections)


def test_the_sentence_counts_errors_of_both_kinds(card):
    found = metrics([True] * 4 + [False] * 6, [True, True, True, False] + [True, True] + [False] * 4)

    text = headline.describe_result(card, found)

    # Wilson's 95 % interval of 7 of 10 is 0.397 to 0.892.
    assert "On 10 unseen images, the model was right 7 times (70.0 %, 95 % interval 39.7 % to 89.2 %)." in text
    assert "It missed 1 of 4 ALL images and called 2 of 6 other images ALL." in text


def test_synthetic_and_imported_models_are_named_as_such(card):
    found = metrics([True, False], [True, False])

    assert "synthetic" in headline.describe_result(dataclasses.replace(card, synthetic=True), found)
    imported = headline.describe_result(dataclasses.replace(card, data={"imported": "weights.h5"}), found)
    assert "unseen" not in imported


def test_without_images_nothing_is_claimed(card):
    assert "0" not in headline.describe_result(card, metrics([], []))


def test_the_result_names_the_condition_of_the_card(tmp_path):
    card = model_card.load_model_card(graphs.write(tmp_path, content=b"a graph", condition=conditions.AML.to_json()))
    found = metrics([True, True, False, False], [True, False, False, False])

    text = headline.describe_result(card, found)

    assert "missed 1 of 2 AML images and called 0 of 2 other images AML" in text
    assert "ALL" not in text
