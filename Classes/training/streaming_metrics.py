"""Precision, recall and ROC AUC during training, from histograms that add up over steps, workers and resumed runs."""

from collections.abc import Sequence

import numpy
import tensorflow as tf

from Classes.common import statistics

# Bins of a score histogram; Keras's AUC uses the same number of thresholds.
BINS = 200


def score_histogram(labels: tf.Tensor, logits: tf.Tensor, positive: Sequence[int]) -> tf.Tensor:
    """Count the probabilities of the positive classes, separately for negative and positive images.

    Args:
      labels: int64 [N].
      logits: [N, C].
      positive: indices of the positive classes; their probabilities are added.
    Returns:
      int32 [2, BINS]: numbers of negative (row 0) and positive (row 1) images by probability from 0 to 1.
    """
    columns = tf.nn.softmax(tf.cast(logits, tf.float32))
    probabilities = tf.add_n([columns[:, index] for index in positive])
    places = tf.minimum(tf.cast(probabilities * BINS, tf.int32), BINS - 1)
    truths = tf.add_n([tf.cast(tf.equal(labels, index), tf.int32) for index in positive])
    # Not bincount: its GPU kernel is not deterministic, and TensorFlow refuses it if runs must be reproducible.
    return tf.reshape(tf.reduce_sum(tf.one_hot(truths * BINS + places, 2 * BINS, dtype=tf.int32), 0), [2, BINS])


def sensitivity_and_specificity(histogram: numpy.ndarray) -> tuple[float, float]:
    """Return both at a threshold of 0.5, NaN without images of the class.

    Args:
      histogram: int [2, BINS], a sum of `score_histogram` results.
    """
    (false_low, false_high), (true_low, true_high) = numpy.asarray(histogram).reshape(2, 2, BINS // 2).sum(axis=2)
    positives, negatives = true_low + true_high, false_low + false_high
    return (
        float(true_high / positives) if positives else numpy.nan,
        float(false_low / negatives) if negatives else numpy.nan,
    )


def metrics_from_histogram(histogram: numpy.ndarray) -> dict[str, float]:
    """Compute precision, recall and ROC AUC from a score histogram.

    Args:
      histogram: int [2, BINS], a sum of `score_histogram` results.
    Returns:
      "Precision" and "Recall" at a threshold of 0.5 and "AUC" over all BINS thresholds, without undefined metrics.
    """
    # From the highest score down, so that the cumulative sums are the positive predictions at each threshold.
    counts = numpy.asarray(histogram)[:, ::-1]
    false, true = numpy.cumsum(counts, axis=1)
    half = BINS // 2 - 1
    found = {}
    if true[half] + false[half]:
        found["Precision"] = float(true[half] / (true[half] + false[half]))
    if true[-1]:
        found["Recall"] = float(true[half] / true[-1])
    if true[-1] and false[-1]:
        found["AUC"] = statistics.roc_auc_of_counts(counts[1], counts[0])
    return found
