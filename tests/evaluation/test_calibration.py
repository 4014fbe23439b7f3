import numpy
import pytest
from scipy import special
from sklearn import calibration as sklearn_calibration

from Classes.evaluation import calibration


def drawn(count, temperature, seed=0, classes=2):
    """Logits, and labels drawn from what they say under a temperature."""
    generator = numpy.random.default_rng(seed)
    logits = generator.normal(0, 3, (count, classes))
    chances = special.softmax(logits / temperature, axis=1).cumsum(1)
    return logits, (generator.random((count, 1)) > chances).sum(1)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_labels_is_recovered(temperature, classes):
    logits, labels = drawn(20_000, temperature, classes=classes)

    assert calibration.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_a_constant_per_image_does_not_change_the_temperature():
    logits, labels = drawn(500, 2.0)

    shifted = calibration.fit_temperature(logits + numpy.arange(500)[:, None], labels)

    assert shifted == pytest.approx(calibration.fit_temperature(logits, labels), rel=1e-4)


def test_the_temperature_stays_positive_if_all_images_are_right():
    logits = numpy.array([[2.0, 0.0], [0.0, 2.0]] * 10)

    temperature = calibration.fit_temperature(logits, numpy.array([0, 1] * 10))

    assert 0.1 < temperature < 1


def test_folding_the_temperature_divides_the_logits():
    generator = numpy.random.default_rng(0)
    features = generator.normal(size=(5, 8))
    arrays = {
        "last/weights": generator.normal(size=(1, 1, 8, 3)).astype("float32"),
        "last/biases": numpy.array([1, 2, 3], "float32"),
        "other/weights": numpy.ones(2, "float32"),
    }

    folded = calibration.fold_temperature(arrays, "last", 4.0)

    def logits(values):
        return features @ values["last/weights"][0, 0] + values["last/biases"]

    numpy.testing.assert_allclose(logits(folded), logits(arrays) / 4, rtol=1e-5)
    assert folded["other/weights"] is arrays["other/weights"]
    probabilities = special.softmax(logits(arrays), axis=1)
    expected = special.softmax(logits(arrays) / 4, axis=1)
    found = calibration.softmax_at_temperature(calibration.log_probabilities(probabilities), 4.0)
    numpy.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_calibration_error_matches_scikit_learn():
    # Two bins: confidences 0.6 and 0.65, one of two right; 0.9 and 0.95, both right.
    probabilities = numpy.array([[0.6, 0.4], [0.35, 0.65], [0.1, 0.9], [0.95, 0.05]])
    found = calibration.reliability_bins(probabilities, [0, 0, 1, 0])

    assert found["ece"] == pytest.approx((abs(1 - 1.25) + abs(2 - 1.85)) / 4)
    assert [(each["images"], each["accuracy"]) for each in found["bins"]] == [(2, 0.5), (2, 1.0)]
    assert found["bins"][0]["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)

    logits, labels = drawn(3000, 2.0)
    probabilities = special.softmax(logits, axis=1)
    found = calibration.reliability_bins(probabilities, labels)
    right = probabilities.argmax(1) == labels
    accuracy, confidence = sklearn_calibration.calibration_curve(right, probabilities.max(1), n_bins=10)
    weights = numpy.array([each["images"] for each in found["bins"]]) / 3000
    assert found["ece"] == pytest.approx((weights * abs(accuracy - confidence)).sum())


def test_the_calibration_error_expected_by_chance():
    logits, labels = drawn(200, 1.0)
    probabilities = special.softmax(logits, axis=1)

    many = [calibration.reliability_bins(probabilities, drawn_again(probabilities, seed))["ece"] for seed in range(200)]

    assert calibration.reliability_bins(probabilities, labels)["chance"] == pytest.approx(numpy.mean(many), rel=0.1)


def drawn_again(probabilities, seed):
    return (numpy.random.default_rng(seed).random(len(probabilities)) < probabilities[:, 1]).astype(int)


def test_no_images_have_no_calibration_error():
    assert calibration.reliability_bins(numpy.zeros((0, 2)), []) == {"ece": None, "chance": None, "bins": []}
