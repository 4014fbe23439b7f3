import numpy
import pytest
import sklearn.metrics
import tensorflow as tf

from Classes.training import streaming_metrics, train_state


def logits(probabilities):
    """Logits of two classes with these probabilities of class 1."""
    probabilities = numpy.asarray(probabilities, "float64")
    return numpy.log(numpy.stack([1 - probabilities, probabilities], 1)).astype("float32")


def test_by_hand():
    labels = numpy.array([1, 1, 1, 0, 0], "int64")

    found = streaming_metrics.metrics_from_histogram(
        streaming_metrics.score_histogram(labels, logits([0.9, 0.7, 0.2, 0.6, 0.1]), [1])
    )

    # Called ALL: 0.9, 0.7 and wrongly 0.6; of the six pairs only 0.2 against 0.6 stands the wrong way round.
    assert found == {"Precision": pytest.approx(2 / 3), "Recall": pytest.approx(2 / 3), "AUC": pytest.approx(5 / 6)}


def test_what_scikit_learn_says():
    generator = numpy.random.default_rng(0)
    labels = generator.integers(0, 2, 3000)
    scores = generator.normal(labels * 0.8, [1])
    probabilities = 1 / (1 + numpy.exp(-scores))

    found = streaming_metrics.metrics_from_histogram(
        streaming_metrics.score_histogram(labels, logits(probabilities), [1])
    )

    assert found["Precision"] == pytest.approx(sklearn.metrics.precision_score(labels, probabilities >= 0.5))
    assert found["Recall"] == pytest.approx(sklearn.metrics.recall_score(labels, probabilities >= 0.5))
    assert found["AUC"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, probabilities), abs=1e-3)


def test_tallies_add_up():
    generator = numpy.random.default_rng(1)
    labels, said = generator.integers(0, 3, 40), generator.normal(size=(40, 3))

    whole = streaming_metrics.score_histogram(labels, said, [2])
    parts = streaming_metrics.score_histogram(labels[:7], said[:7], [2]) + streaming_metrics.score_histogram(
        labels[7:], said[7:], [2]
    )

    numpy.testing.assert_array_equal(whole, parts)
    assert whole.numpy().sum(axis=1).tolist() == [(labels != 2).sum(), (labels == 2).sum()]


def test_a_resumed_run_continues_with_its_histogram():
    state = train_state.TrainState()
    state.histogram = (
        state.histogram
        + streaming_metrics.score_histogram(numpy.array([1, 0], "int64"), logits([0.9, 0.2]), [1]).numpy()
    )

    again = train_state.TrainState(state.values())

    numpy.testing.assert_array_equal(again.histogram, state.histogram)
    assert again.histogram.sum() == 2
    assert train_state.TrainState({"global_step": 7}).histogram.sum() == 0, "an older checkpoint has no histogram"


def test_certainty_itself_has_a_place():
    found = streaming_metrics.score_histogram(
        tf.constant([1, 0], tf.int64), tf.constant([[-100.0, 100.0], [100.0, -100.0]]), [1]
    )

    assert (int(found[1, -1]), int(found[0, 0])) == (1, 1)


@pytest.mark.parametrize(
    ("labels", "said", "expected"),
    [
        ([], [], {}),
        ([0, 0], [0.1, 0.2], {}),
        ([1, 1], [0.1, 0.2], {"Recall": 0.0}),
        ([0, 1], [0.1, 0.2], {"Recall": 0.0, "AUC": 1.0}),
        ([0, 0], [0.1, 0.9], {"Precision": 0.0}),
    ],
)
def test_undefined_metrics_are_left_out(labels, said, expected):
    histogram = streaming_metrics.score_histogram(numpy.array(labels, "int64"), logits(said).reshape(-1, 2), [1])

    assert streaming_metrics.metrics_from_histogram(histogram) == expected
