"""The baseline predicts from color what color tells, and compares the model with it on the same images."""

import json

import numpy
import pytest
import sklearn.linear_model

from Classes.common.class_scheme import ClassScheme
from Classes.evaluation import color_baseline, histogram_store
from Classes.imaging import color_histogram

TWO = ClassScheme(("0", "1"), ("1",))
FOUR = ClassScheme(("benign", "early", "pre", "pro"), ("early", "pre", "pro"))


def images(labels, shift, seed=0):
    """Return histograms of noise whose red is brighter by `shift` levels per class."""
    generator = numpy.random.default_rng(seed)
    pixels = generator.integers(0, 120, (len(labels), 30, 30, 3))
    pixels[..., 0] += shift * numpy.asarray(labels)[:, None, None]
    return numpy.array([color_histogram.color_histogram(each.astype("uint8")) for each in pixels])


def predict(train, labels, rows, classes):
    """Return what the baseline predicts for `rows` after training on the histograms `train`."""
    histograms = numpy.concatenate([train, rows])
    hashes = numpy.array([f"{number:064d}" for number in range(len(histograms))], "S64")
    store = histogram_store.HistogramStore((each.decode(), row) for each, row in zip(hashes, histograms, strict=True))
    return color_baseline.predict_from_color(
        store, hashes[: len(train)], numpy.asarray(labels), hashes[len(train) :], classes
    )


def names(count):
    return [f"original {number}" for number in range(count)]


def test_classes_of_another_color_are_predicted_and_noise_is_not():
    labels = numpy.arange(80) % 2

    different = predict(images(labels, 30), labels, images(labels, 30, 1), 2)
    same = predict(images(labels, 0), labels, images(labels, 0, 1), 2)

    assert (different.argmax(1) == labels).mean() > 0.95
    assert 0.3 < (same.argmax(1) == labels).mean() < 0.7


def test_the_probabilities_are_those_of_a_logistic_regression():
    labels = numpy.arange(60) % 3
    train, rows = images(labels, 20), images(labels, 20, 1)

    found = predict(train, labels, rows, 3)

    model = sklearn.linear_model.LogisticRegression(C=color_baseline.REGULARIZATION, max_iter=5000, tol=1e-8)
    assert found == pytest.approx(model.fit(train, labels).predict_proba(rows), abs=0.02)
    assert (found == predict(train, labels, rows, 3)).all()


def test_a_class_without_training_images_has_the_probability_0():
    labels = numpy.arange(40) % 2 * 2

    found = predict(images(labels, 20), labels, images(labels, 20, 1), 4)

    assert found.shape == (40, 4)
    assert not found[:, [1, 3]].any()
    assert found.sum(1) == pytest.approx(1)


def test_the_difference_is_that_of_the_accuracies():
    labels = numpy.arange(100) % 2
    by_color = numpy.eye(2)[numpy.where(numpy.arange(100) < 20, 1 - labels, labels)]
    predicted = numpy.where(numpy.arange(100) < 4, 1 - labels, labels)

    found = color_baseline.compare(TWO, labels, names(100), by_color, predicted, 300)

    assert found["accuracy"]["of"] == [80, 100]
    assert found["difference"]["value"] == pytest.approx(0.16)
    low, high = found["difference"]["interval"]
    assert 0.05 < low < 0.16 < high < 0.3
    assert found["clearly_better"] is True
    assert found["multiclass"] is None
    assert color_baseline.find_warning(found) is None


def test_a_model_that_is_as_good_as_color_gets_a_warning():
    labels = numpy.arange(100) % 2
    predicted = numpy.where(numpy.arange(100) < 10, 1 - labels, labels)

    found = color_baseline.compare(TWO, labels, names(100), numpy.eye(2)[predicted], predicted, 300)

    assert (found["difference"]["value"], found["clearly_better"]) == (0, False)
    assert color_baseline.find_warning(found)


def test_several_classes_are_compared_by_class_and_by_disease():
    labels = numpy.repeat([0, 1, 2, 3], 25)
    # Color alone tells disease from none, but not the classes of the disease.
    by_color = numpy.eye(4)[numpy.where(labels == 0, 0, 1)]

    found = color_baseline.compare(FOUR, labels, names(100), by_color, labels, 300)

    assert found["accuracy"]["value"] == 1
    assert found["multiclass"]["accuracy"]["of"] == [50, 100]
    assert found["multiclass"]["macro_f1"]["value"] == pytest.approx((1 + 50 / 100 + 0 + 0) / 4)
    assert (found["clearly_better"], found["multiclass"]["clearly_better"]) == (False, True)
    assert color_baseline.find_warning(found)


def test_without_a_class_of_disease_only_the_classes_are_compared():
    labels = numpy.arange(30) % 3

    found = color_baseline.compare(ClassScheme(("a", "b", "c")), labels, names(30), numpy.eye(3)[labels * 0], labels, 9)

    assert found["accuracy"] is found["difference"] is None
    assert found["multiclass"]["accuracy"]["value"] == pytest.approx(1 / 3)
    assert len(color_baseline.describe(found)) == 1


@pytest.mark.parametrize(("labels", "train"), [([], [0, 1]), ([0, 1], [1, 1])])
def test_what_cannot_be_measured_has_a_note(labels, train):
    rows = images(labels, 10) if labels else numpy.zeros((0, 432))
    probabilities = predict(images(train, 10), train, rows, 2)

    found = color_baseline.compare(TWO, labels, names(len(labels)), probabilities, labels, len(train))

    assert found["accuracy"] is None
    assert found["note"]
    assert color_baseline.find_warning(found) is None
    assert len(color_baseline.describe(found)) == 1
    json.dumps(found, allow_nan=False)


def test_more_images_than_needed_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(color_baseline, "MAX_TRAINING", 4)

    assert color_baseline.select_training(numpy.arange(10, 14)).tolist() == [10, 11, 12, 13]
    assert color_baseline.select_training(numpy.arange(10, 20)).tolist() == [10, 13, 16, 19]


def test_histograms_come_back_in_any_order():
    histograms = numpy.random.default_rng(0).random((5, color_histogram.SIZE)).astype("float32")
    hashes = numpy.array([f"{number:064x}" for number in (7, 3, 9, 1, 5)], "S64")
    store = histogram_store.HistogramStore((each.decode(), row) for each, row in zip(hashes, histograms, strict=True))

    assert (store.table(hashes[[4, 0, 0, 2]]) == histograms[[4, 0, 0, 2]]).all()
    assert store.table(hashes[:0]).shape == (0, color_histogram.SIZE)
    with pytest.raises(LookupError):
        store.table(numpy.array(["2" * 64], "S64"))
