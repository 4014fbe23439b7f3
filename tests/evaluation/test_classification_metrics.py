import json

import numpy
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from Classes.common import conditions, statistics
from Classes.evaluation import classification_metrics

# Twelve images: 4 of 5 ALL found, 2 of 7 others called ALL.
LABELS = [1] * 5 + [0] * 7
SCORES = [0.9, 0.8, 0.7, 0.6, 0.2, 0.75, 0.65, 0.4, 0.3, 0.1, 0.1, 0.05]

# Measured whether a prevalence is stated or not.
ALWAYS = {name for name in classification_metrics.METRIC_NAMES if not name.endswith("prevalence")}
# Without meaning where there is one class only.
PAIRED = ("balanced_accuracy", "mcc", "roc_auc", "pr_auc")


def evaluate(labels=LABELS, scores=SCORES, threshold=0.5, groups=None, seed=50, prevalence=0):
    return classification_metrics.evaluate_predictions(
        labels, scores, numpy.array(scores) >= threshold, groups, seed, prevalence
    )


@pytest.mark.parametrize(
    ("name", "value", "of"),
    [
        ("accuracy", 9 / 12, [9, 12]),
        ("sensitivity", 4 / 5, [4, 5]),
        ("specificity", 5 / 7, [5, 7]),
        ("precision", 4 / 6, [4, 6]),
        ("negative_predictive_value", 5 / 6, [5, 6]),
        ("balanced_accuracy", (4 / 5 + 5 / 7) / 2, None),
        ("f1", 8 / 11, None),
        # (4·5 - 2·1) / sqrt(6 · 5 · 7 · 6).
        ("mcc", 18 / 1260**0.5, None),
        # Others that an ALL image outranks: 7 + 7 + 6 + 5 + 3 (0.2 is above 0.1, 0.1 and 0.05) of 35.
        ("roc_auc", 28 / 35, None),
        # The five ALL stand in places 1, 2, 4, 6 and 9 of the order.
        ("pr_auc", (1 / 1 + 2 / 2 + 3 / 4 + 4 / 6 + 5 / 9) / 5, None),
    ],
)
def test_metrics_calculated_by_hand(name, value, of):
    metric = evaluate()[name]

    assert metric["value"] == pytest.approx(value)
    assert metric["of"] == of
    assert metric["note"] is None
    assert -(name == "mcc") <= metric["interval"][0] <= value <= metric["interval"][1] <= 1


def test_the_confusion_counts():
    metrics = evaluate()

    assert metrics["counts"] == {"true_positives": 4, "false_positives": 2, "true_negatives": 5, "false_negatives": 1}
    assert (metrics["images"], metrics["groups"]) == (12, 12)


@pytest.mark.parametrize(
    # By hand, z = 1.959964: centre (k + z²/2) / (n + z²), half-width z sqrt(k (n - k) / n + z²/4) / (n + z²).
    ("successes", "total", "low", "high"),
    [(8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (19, 20, 0.763869, 0.991119)],
)
def test_wilson_intervals(successes, total, low, high):
    z = 1.959964
    centre = (successes + z * z / 2) / (total + z * z)
    half = z * (successes * (total - successes) / total + z * z / 4) ** 0.5 / (total + z * z)

    hits = numpy.arange(total) < successes
    interval = classification_metrics.proportion_metric(hits, None, "")["interval"]
    apart = classification_metrics.proportion_metric(hits, [f"patient {number}" for number in range(total)], "")[
        "interval"
    ]

    assert interval == apart, "one image a group"

    assert interval == pytest.approx([centre - half, centre + half], abs=1e-6)
    assert interval == pytest.approx([low, high], abs=1e-6)


def test_metrics_match_scikit_learn():
    generator = numpy.random.default_rng(1)
    labels = generator.random(300) < 0.4
    scores = numpy.clip(0.3 * labels + generator.random(300) * 0.7, 0, 1)
    detections = scores >= 0.45

    metrics = evaluate(labels, scores, 0.45)

    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, detections),
        "sensitivity": sklearn_metrics.recall_score(labels, detections),
        "specificity": sklearn_metrics.recall_score(~labels, ~detections),
        "precision": sklearn_metrics.precision_score(labels, detections),
        "negative_predictive_value": sklearn_metrics.precision_score(~labels, ~detections),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, detections),
        "f1": sklearn_metrics.f1_score(labels, detections),
        "mcc": sklearn_metrics.matthews_corrcoef(labels, detections),
        "roc_auc": sklearn_metrics.roc_auc_score(labels, scores),
        "pr_auc": sklearn_metrics.average_precision_score(labels, scores),
    }
    assert {
        name: metrics[name]["value"] for name in classification_metrics.METRIC_NAMES if name in metrics
    } == pytest.approx(expected)


def test_the_bootstrap_interval_is_close_to_theory():
    # Two normal scores one standard deviation apart: AUC 0.7602; Hanley and McNeil's standard error for 200 and 200
    # images is 0.0237.
    generator = numpy.random.default_rng(2)
    labels = numpy.repeat([True, False], 200)
    metric = evaluate(labels, generator.normal(labels.astype(float), 1), 0.5)["roc_auc"]

    assert metric["value"] == pytest.approx(0.7602, abs=0.05)
    assert metric["interval"][1] - metric["interval"][0] == pytest.approx(2 * 1.96 * 0.0237, rel=0.15)


@pytest.mark.slow
def test_bootstrap_samples_match_scikit_learn():
    # One image a group: each draw is a set of images, with ties among the scores.
    labels, scores = numpy.array(LABELS, bool), numpy.round(SCORES, 1)
    detections = scores >= 0.5
    names = ("roc_auc", "pr_auc", "f1", "mcc", "balanced_accuracy")
    values = {name: [] for name in names}
    generator = numpy.random.default_rng(50)
    for _ in range(1000):
        picks = generator.integers(12, size=12)
        drawn, detected, ranked = labels[picks], detections[picks], scores[picks]
        values["f1"].append(sklearn_metrics.f1_score(drawn, detected, zero_division=0))
        if drawn.any() and not drawn.all():
            values["roc_auc"].append(sklearn_metrics.roc_auc_score(drawn, ranked))
            values["pr_auc"].append(sklearn_metrics.average_precision_score(drawn, ranked))
            values["balanced_accuracy"].append(sklearn_metrics.balanced_accuracy_score(drawn, detected))
            if detected.any() and not detected.all():
                values["mcc"].append(sklearn_metrics.matthews_corrcoef(drawn, detected))

    metrics = evaluate(labels, scores)

    # 12 groups: 2.201 sqrt(12 / 11) = 2.2989 standard deviations, beyond which a normal variable is in 0.010756.
    tail = stats.norm.cdf(-stats.t.ppf(0.975, 11) * (12 / 11) ** 0.5)
    assert tail == pytest.approx(0.010756, abs=1e-5)
    for name in names:
        assert metrics[name]["interval"] == pytest.approx(numpy.quantile(values[name], [tail, 1 - tail])), name


def test_the_roc_auc_matches_scikit_learn_with_ties_and_weights():
    generator = numpy.random.default_rng(0)
    labels = numpy.arange(200) % 2 == 1
    for levels in (2, 7, 1000):
        scores = (generator.integers(0, levels, 200) + labels * levels / 5).round()
        weights = generator.integers(0, 4, 200)

        expected = sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights)
        assert statistics.roc_auc(labels, scores, weights) == pytest.approx(expected)


def test_predictive_values_at_another_prevalence():
    # Bayes: 0.8 · 0.1 of all are found and 2/7 · 0.9 are called ALL wrongly; 5/7 · 0.9 are spared, 0.2 · 0.1 missed.
    metrics = evaluate(prevalence=0.1)

    ppv, npv = metrics["ppv_at_prevalence"], metrics["npv_at_prevalence"]
    assert ppv["value"] == pytest.approx(0.08 / (0.08 + 1.8 / 7))
    assert npv["value"] == pytest.approx((4.5 / 7) / (4.5 / 7 + 0.02))
    low, high = zip(metrics["sensitivity"]["interval"], metrics["specificity"]["interval"], strict=True)
    for (sensitivity, specificity), end in ((low, 0), (high, 1)):
        right = sensitivity * 0.1
        assert ppv["interval"][end] == pytest.approx(right / (right + (1 - specificity) * 0.9))
    assert npv["interval"][0] < npv["value"] < npv["interval"][1]
    assert ppv["note"] == "if 0.1 of all are positive"
    assert "ppv_at_prevalence" not in evaluate()


def test_predictive_values_at_the_prevalence_of_the_images_are_proportions():
    metrics = evaluate(prevalence=5 / 12)

    assert metrics["ppv_at_prevalence"]["value"] == pytest.approx(metrics["precision"]["value"])
    assert metrics["npv_at_prevalence"]["value"] == pytest.approx(metrics["negative_predictive_value"]["value"])


def test_predictive_values_without_a_class_or_a_prediction():
    assert evaluate([1, 1], [0.9, 0.2], prevalence=0.1)["ppv_at_prevalence"]["note"] == classification_metrics.ONE_CLASS
    nothing = evaluate([1, 0], [0.2, 0.1], prevalence=0.1)
    assert nothing["ppv_at_prevalence"]["value"] is None
    assert nothing["npv_at_prevalence"]["value"] == pytest.approx(0.9)


@pytest.mark.parametrize("count", [10, 13, 97])
def test_without_an_error_there_is_no_bootstrap_interval(count):
    metrics = evaluate([1] * count + [0] * 10, [0.9] * count + [0.1] * 10)

    for name in ("balanced_accuracy", "f1", "mcc", "roc_auc", "pr_auc"):
        assert metrics[name]["value"] == pytest.approx(1), name
        assert metrics[name]["interval"] is None, name
        assert metrics[name]["note"], name
    assert metrics["accuracy"]["interval"][1] == 1 > metrics["accuracy"]["interval"][0]


def test_metrics_per_patient():
    # Means: a 0.6, b 0.2, c 0.7, d 0.1; e has images of both classes, f is no patient.
    rows = [
        (1, 0.9, "patient a"),
        (1, 0.3, "patient a"),
        (1, 0.2, "patient b"),
        (0, 0.7, "patient c"),
        (0, 0.1, "patient d"),
        (1, 0.9, "patient e"),
        (0, 0.9, "patient e"),
        (0, 0.9, "original f"),
    ]

    metrics = classification_metrics.evaluate_by_patient(*zip(*rows, strict=True), 0.5)

    assert (metrics["images"], metrics["mixed"]) == (4, 1)
    assert metrics["counts"] == {"true_positives": 1, "false_positives": 1, "true_negatives": 1, "false_negatives": 1}
    # Of the pairs a-c, a-d, b-c, b-d two are ranked right.
    assert metrics["roc_auc"]["value"] == pytest.approx(0.5)
    assert classification_metrics.format_table(metrics, conditions.ALL, "patients")[0] == "4 patients"


def test_without_patients_there_are_no_metrics_per_patient():
    assert classification_metrics.evaluate_by_patient([1, 0], [0.9, 0.1], ["original a", "b"], 0.5) is None


def test_views_of_one_source_image_widen_the_interval():
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
        ([], [], ALWAYS),
        ([1, 1], [0.9, 0.2], {"specificity", *PAIRED}),
        ([1, 1], [0.9, 0.8], {"specificity", "negative_predictive_value", *PAIRED}),
        ([0, 0], [0.1, 0.9], {"sensitivity", *PAIRED}),
        ([0, 0], [0.1, 0.2], {"sensitivity", "precision", "f1", *PAIRED}),
        ([1, 0], [0.1, 0.2], {"precision", "mcc"}),
        ([1], [0.9], {"specificity", "negative_predictive_value", *PAIRED}),
    ],
)
def test_an_undefined_metric_is_none_with_a_note(labels, scores, missing):
    metrics = evaluate(labels, scores)

    assert {name for name in ALWAYS if metrics[name]["value"] is None} == missing
    assert all(metrics[name]["note"] and metrics[name]["interval"] is None for name in missing)
    json.dumps(metrics, allow_nan=False)
    assert len(classification_metrics.format_table(metrics, conditions.ALL)) >= 7 + len(ALWAYS)


def test_a_single_source_image_has_no_interval():
    metrics = evaluate(groups=["Im001"] * 12, prevalence=0.1)

    for name in classification_metrics.METRIC_NAMES:
        assert metrics[name]["value"] is not None
        assert metrics[name]["interval"] is None, name
        assert metrics[name]["note"], name
    assert metrics["accuracy"]["of"] == [9, 12]
    classification_metrics.format_table(metrics, conditions.ALL)


def test_the_table_shows_counts_values_and_intervals():
    lines = classification_metrics.format_table(
        evaluate(groups=[f"Im{number // 2}" for number in range(12)]), conditions.ALL
    )

    assert lines[0] == "12 images of 6 source images or patients"
    assert lines[3].split() == ["ALL", "4", "1"]
    assert lines[4].split() == ["not", "ALL", "2", "5"]
    (accuracy,) = [line.split() for line in lines if line.startswith("Accuracy")]
    assert accuracy[1] == "0.7500"
    assert accuracy[-3:] == ["9", "of", "12"]
    # Wilson's interval over 12 independent images is 0.4677 to 0.9111.
    assert float(accuracy[2]) < 0.46 < 0.92 < float(accuracy[4])
