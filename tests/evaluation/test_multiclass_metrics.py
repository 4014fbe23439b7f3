"""Metrics of several classes are those of scikit-learn, and what cannot be measured has a note."""

import json

import numpy
import pytest
import sklearn.metrics

from Classes.common.class_scheme import ClassScheme
from Classes.evaluation import calibration, classification_metrics, multiclass_metrics

NAMES = ["a", "b", "c", "d"]
MEANS = {"precision": "precision", "recall": "recall", "f1": "f1-score"}


def sample(count=200, classes=4, seed=4):
    """Return labels, int [count], and probabilities, float [count, classes], that are right for about two thirds."""
    generator = numpy.random.default_rng(seed)
    truths = generator.integers(0, classes, count)
    probabilities = generator.dirichlet([1] * classes, count) + 0.5 * numpy.eye(classes)[truths]
    return truths, probabilities / probabilities.sum(1, keepdims=True)


def evaluate(truths, probabilities, names=NAMES, groups=None, **options):
    return multiclass_metrics.evaluate_multiclass(truths, probabilities, names, groups, **options)


def numbers(values):
    """Yield every number in a structure for JSON."""
    if isinstance(values, dict):
        for each in values.values():
            yield from numbers(each)
    elif isinstance(values, list | tuple):
        for each in values:
            yield from numbers(each)
    elif isinstance(values, float | int):
        yield values


def test_every_metric_is_that_of_scikit_learn():
    truths, probabilities = sample()
    predicted = probabilities.argmax(1)

    found = evaluate(truths, probabilities)

    expected = sklearn.metrics.classification_report(truths, predicted, target_names=NAMES, output_dict=True)
    for name, row in found["classes"].items():
        assert row["support"] == expected[name]["support"]
        for key, other in MEANS.items():
            assert row[key]["value"] == pytest.approx(expected[name][other])
    for number, name in enumerate(NAMES):
        area = sklearn.metrics.roc_auc_score(truths == number, probabilities[:, number])
        assert found["classes"][name]["roc_auc"]["value"] == pytest.approx(area)
    for mean in ("macro", "weighted"):
        for key, other in MEANS.items():
            assert found[f"{mean}_{key}"]["value"] == pytest.approx(expected[f"{mean} avg"][other])
        area = sklearn.metrics.roc_auc_score(truths, probabilities, multi_class="ovr", average=mean)
        assert found[f"{mean}_roc_auc"]["value"] == pytest.approx(area)
    assert found["accuracy"]["value"] == pytest.approx(expected["accuracy"])
    assert found["kappa"]["value"] == pytest.approx(sklearn.metrics.cohen_kappa_score(truths, predicted))
    assert found["confusion"] == sklearn.metrics.confusion_matrix(truths, predicted).tolist()
    assert found["ece"] == calibration.reliability_bins(probabilities, truths)["ece"]


def test_every_interval_contains_its_value_and_none_is_wide():
    found = evaluate(*sample(600))

    metrics = [found[key] for key in multiclass_metrics.OVERALL_METRICS]
    metrics += [row[key] for row in found["classes"].values() for key in multiclass_metrics.CLASS_METRICS]
    for metric in metrics:
        low, high = metric["interval"]
        assert low < metric["value"] < high
        assert high - low < 0.2


def test_two_classes_have_the_f1_and_the_area_of_the_binary_metrics():
    truths, probabilities = sample(classes=2)
    patients = numpy.repeat(range(50), 4).astype(str)

    found = evaluate(truths, probabilities, ["no", "yes"], patients)["classes"]["yes"]
    binary = classification_metrics.evaluate_predictions(
        truths == 1, probabilities[:, 1], probabilities.argmax(1) == 1, patients
    )

    for key, other in {"precision": "precision", "recall": "sensitivity", "f1": "f1", "roc_auc": "roc_auc"}.items():
        assert found[key]["value"] == pytest.approx(binary[other]["value"])
        assert found[key]["interval"] == pytest.approx(binary[other]["interval"])


def test_copies_of_one_image_do_not_make_an_interval_narrower():
    truths, probabilities = sample(60)

    def width(copies):
        groups = numpy.repeat(numpy.arange(60), copies).astype(str).tolist()
        found = evaluate(numpy.repeat(truths, copies), numpy.repeat(probabilities, copies, 0), groups=groups)
        return numpy.ptp(found["macro_f1"]["interval"])

    assert width(8) == pytest.approx(width(1), rel=0.15)


def test_a_class_without_images_has_notes_and_does_not_enter_the_means():
    truths, probabilities = sample(120, classes=3)
    with_absent = numpy.column_stack([probabilities, numpy.zeros(120)])

    found, without = evaluate(truths, with_absent), evaluate(truths, probabilities, NAMES[:3])

    row = found["classes"]["d"]
    assert row["support"] == 0
    for key in multiclass_metrics.CLASS_METRICS:
        assert row[key]["value"] is row[key]["interval"] is None
        assert row[key]["note"]
    for key in multiclass_metrics.OVERALL_METRICS:
        assert found[key]["value"] == pytest.approx(without[key]["value"])
    assert "3 classes" in found["macro_f1"]["note"]


def test_a_class_without_images_that_is_predicted_costs_f1():
    predicted = numpy.eye(3)[[0, 0, 1, 2]]

    found = evaluate([0, 0, 1, 1], predicted, ["a", "b", "c"])

    assert found["classes"]["c"]["precision"]["value"] == found["classes"]["c"]["f1"]["value"] == 0
    assert found["classes"]["c"]["recall"]["value"] is None
    assert found["macro_f1"]["value"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_0():
    found = evaluate([0, 0, 1, 1, 2], numpy.eye(3)[[0, 0, 1, 1, 1]], ["a", "b", "c"])

    row = found["classes"]["c"]
    assert (row["precision"]["value"], row["recall"]["value"], row["f1"]["value"]) == (None, 0, 0)
    assert row["precision"]["note"]
    # As scikit-learn with zero_division=nan, whose means leave it out.
    assert found["macro_precision"]["value"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("count", [0, 1])
def test_no_image_and_one_image_give_notes_instead_of_numbers(count):
    found = evaluate([2][:count], numpy.eye(4)[[2][:count]])

    for key in multiclass_metrics.OVERALL_METRICS:
        assert (found[key]["value"] is not None and found[key]["interval"] is not None) or found[key]["note"]
    assert found["accuracy"]["value"] == (1 if count else None)
    assert found["kappa"]["value"] is None
    assert all(numpy.isfinite(number) for number in numbers(found))
    json.dumps(found, allow_nan=False)


def test_images_of_one_patient_have_no_intervals():
    truths, probabilities = sample(30)

    found = evaluate(truths, probabilities, groups=["patient 1"] * 30)

    assert found["source_images"] == 1
    for key in multiclass_metrics.OVERALL_METRICS:
        assert found[key]["value"] is not None
        assert found[key]["interval"] is None
        assert found[key]["note"]


def test_calibration_is_that_of_the_predicted_class():
    # The third image is called b with a confidence of 0.4, although a is more likely.
    probabilities = numpy.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])

    found = evaluate([0, 0, 1], probabilities, ["a", "b"], predicted=[0, 1, 1], uncalibrated=probabilities)

    assert found["ece"] == pytest.approx((0.1 + 0.8 + 0.6) / 3)
    assert found["calibration"]["before"] == found["calibration"]["after"]
    assert found["confusion"] == [[1, 1], [0, 1]]


def test_probabilities_of_a_group_add_up():
    scheme = ClassScheme(("a", "b", "c"), (), {"ab": ("a", "b")})
    # Each of the first two is most likely c alone, but a or b together.
    probabilities = numpy.array([[0.3, 0.3, 0.4], [0.25, 0.35, 0.4], [0.1, 0.1, 0.8]])

    found = multiclass_metrics.evaluate_scheme(scheme, [0, 1, 2], probabilities, None)

    assert list(found["groups"]["classes"]) == ["ab", "c"]
    assert found["groups"]["confusion"] == [[2, 0], [0, 1]]
    assert found["accuracy"]["of"] == [1, 3]
    assert found["groups"]["accuracy"]["of"] == [3, 3]


def test_two_classes_without_groups_have_nothing_to_add():
    assert multiclass_metrics.evaluate_scheme(ClassScheme(("0", "1"), ("1",)), [0, 1], numpy.eye(2), None) is None


def test_the_predicted_class_is_on_the_side_of_the_threshold():
    scheme = ClassScheme(("benign", "early", "pre"), ("early", "pre"))
    probabilities = numpy.array([[0.6, 0.15, 0.25], [0.6, 0.15, 0.25], [0.3, 0.4, 0.3]])

    found = multiclass_metrics.predicted_classes(scheme, probabilities, [True, False, False])

    assert found.tolist() == [2, 0, 0]
