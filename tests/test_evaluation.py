import json

import numpy
import pytest
from sklearn import metrics

from Classes import Evaluation

# Twelve images: 4 of 5 ALL found, 2 of 7 others called ALL.
LABELS = [1] * 5 + [0] * 7
SCORES = [0.9, 0.8, 0.7, 0.6, 0.2, 0.75, 0.65, 0.4, 0.3, 0.1, 0.1, 0.05]


def evaluate(labels=LABELS, scores=SCORES, threshold=0.5, groups=None, seed=50):
    return Evaluation.evaluate(labels, scores, numpy.array(scores) >= threshold, groups, seed)


@pytest.mark.parametrize(
    ("name", "value", "of"),
    [
        ("accuracy", 9 / 12, [9, 12]),
        ("sensitivity", 4 / 5, [4, 5]),
        ("specificity", 5 / 7, [5, 7]),
        ("precision", 4 / 6, [4, 6]),
        ("negative_predictive_value", 5 / 6, [5, 6]),
        ("f1", 8 / 11, None),
        # Others that an ALL image outranks: 7 + 7 + 6 + 5 + 3 (0.2 is above 0.1, 0.1 and 0.05) of 35.
        ("roc_auc", 28 / 35, None),
    ],
)
def test_figures_of_a_table_worked_out_by_hand(name, value, of):
    figure = evaluate()[name]

    assert figure["value"] == pytest.approx(value)
    assert figure["of"] == of
    assert figure["note"] is None
    assert 0 <= figure["interval"][0] <= value <= figure["interval"][1] <= 1


def test_the_counts():
    figures = evaluate()

    assert figures["counts"] == {"true_positives": 4, "false_positives": 2, "true_negatives": 5, "false_negatives": 1}
    assert (figures["images"], figures["groups"]) == (12, 12)


@pytest.mark.parametrize(
    # By hand, z = 1.959964: centre (k + z²/2) / (n + z²), half-width z sqrt(k (n - k) / n + z²/4) / (n + z²).
    ("successes", "total", "low", "high"),
    [(8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (19, 20, 0.763869, 0.991119)],
)
def test_wilson_intervals(successes, total, low, high):
    z = 1.959964
    centre = (successes + z * z / 2) / (total + z * z)
    half = z * (successes * (total - successes) / total + z * z / 4) ** 0.5 / (total + z * z)

    interval = Evaluation.proportion(successes, total, "")["interval"]

    assert interval == pytest.approx([centre - half, centre + half], abs=1e-6)
    assert interval == pytest.approx([low, high], abs=1e-6)


def test_against_scikit_learn():
    generator = numpy.random.default_rng(1)
    labels = generator.random(300) < 0.4
    scores = numpy.clip(0.3 * labels + generator.random(300) * 0.7, 0, 1)
    detections = scores >= 0.45

    figures = evaluate(labels, scores, 0.45)

    expected = {
        "accuracy": metrics.accuracy_score(labels, detections),
        "sensitivity": metrics.recall_score(labels, detections),
        "specificity": metrics.recall_score(~labels, ~detections),
        "precision": metrics.precision_score(labels, detections),
        "negative_predictive_value": metrics.precision_score(~labels, ~detections),
        "f1": metrics.f1_score(labels, detections),
        "roc_auc": metrics.roc_auc_score(labels, scores),
    }
    assert {name: figures[name]["value"] for name in Evaluation.NAMES} == pytest.approx(expected)


def test_the_resampled_interval_is_near_the_one_of_theory():
    # Two normal scores one standard deviation apart: AUC 0.7602; Hanley and McNeil's standard error for 200 and 200
    # images is 0.0237.
    generator = numpy.random.default_rng(2)
    labels = numpy.repeat([True, False], 200)
    figure = evaluate(labels, generator.normal(labels.astype(float), 1), 0.5)["roc_auc"]

    assert figure["value"] == pytest.approx(0.7602, abs=0.05)
    assert figure["interval"][1] - figure["interval"][0] == pytest.approx(2 * 1.96 * 0.0237, rel=0.15)


def test_a_resampled_set_is_worth_what_scikit_learn_says():
    # One image a group: each draw is a set of images, with ties among the scores.
    labels, scores = numpy.array(LABELS, bool), numpy.round(SCORES, 1)
    f1s, aucs = Evaluation._resample(labels, scores, scores >= 0.5, 12, numpy.arange(12), seed=4)

    generator = numpy.random.default_rng(4)
    for f1, auc in zip(f1s[:50], aucs[:50], strict=True):
        picks = generator.integers(12, size=12)
        assert auc == pytest.approx(metrics.roc_auc_score(labels[picks], scores[picks]))
        assert f1 == pytest.approx(metrics.f1_score(labels[picks], scores[picks] >= 0.5))


def test_views_of_one_original_make_the_interval_wider():
    generator = numpy.random.default_rng(3)
    labels = numpy.repeat(generator.random(30) < 0.5, 10)
    scores = numpy.repeat(generator.random(30), 10) * 0.7 + labels * 0.3
    groups = numpy.repeat([f"Im{number}" for number in range(30)], 10)

    alone, grouped = evaluate(labels, scores)["roc_auc"], evaluate(labels, scores, groups=groups)["roc_auc"]

    assert alone["value"] == grouped["value"]
    assert numpy.diff(grouped["interval"]) > 2 * numpy.diff(alone["interval"])


def test_the_same_seed_gives_the_same_interval():
    assert evaluate(seed=7) == evaluate(seed=7)
    assert evaluate(seed=7) != evaluate(seed=8)


@pytest.mark.parametrize(
    ("labels", "scores", "missing"),
    [
        ([], [], set(Evaluation.NAMES)),
        ([1, 1], [0.9, 0.2], {"specificity", "roc_auc"}),
        ([1, 1], [0.9, 0.8], {"specificity", "roc_auc", "negative_predictive_value"}),
        ([0, 0], [0.1, 0.9], {"sensitivity", "roc_auc"}),
        ([0, 0], [0.1, 0.2], {"sensitivity", "roc_auc", "precision", "f1"}),
        ([1, 0], [0.1, 0.2], {"precision"}),
        ([1], [0.9], {"specificity", "roc_auc", "negative_predictive_value"}),
    ],
)
def test_what_has_no_meaning_is_none_and_a_word(labels, scores, missing):
    figures = evaluate(labels, scores)

    assert {name for name in Evaluation.NAMES if figures[name]["value"] is None} == missing
    assert all(figures[name]["note"] and figures[name]["interval"] is None for name in missing)
    json.dumps(figures, allow_nan=False)
    assert len(Evaluation.table(figures)) >= 7 + len(Evaluation.NAMES)


def test_one_original_has_no_resampled_interval():
    figures = evaluate(groups=["Im001"] * 12)

    assert figures["roc_auc"]["interval"] is None
    assert figures["roc_auc"]["note"] == "too few originals for an interval"
    assert figures["accuracy"]["interval"] is not None


def test_the_table_shows_counts_values_and_intervals():
    lines = Evaluation.table(evaluate(groups=[f"Im{number // 2}" for number in range(12)]))

    assert lines[0] == "12 images of 6 originals"
    assert lines[3].split() == ["ALL", "4", "1"]
    assert lines[4].split() == ["not", "ALL", "2", "5"]
    assert "Accuracy            0.7500   0.4677 to 0.9111  9 of 12" in lines
    assert "narrower than the truth" in lines[-1]
