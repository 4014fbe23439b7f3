"""Precision, recall and AUC while training, from counts that add up over steps, machines and resumed runs."""

import numpy
import tensorflow as tf

from Classes.common import statistics

# Columns of a tally; Keras's AUC works with as many thresholds.
BINS = 200


def score_histogram(labels, logits, positive):
    """How often which probability of the positive class was said, where it was true and where not.

    Args:
      labels: int64 [N].
      logits: [N, C].
      positive: index of the class that means ALL.
    Returns:
      int32 [2, BINS]: images of the other classes, and of the positive one, by probability from 0 to 1.
    """
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))[:, positive]
    places = tf.minimum(tf.cast(probabilities * BINS, tf.int32), BINS - 1)
    truths = tf.cast(tf.equal(labels, positive), tf.int32)
    # Not bincount, which a graphics processor adds up in another order each time, and so refuses where runs must agree.
    return tf.reshape(tf.reduce_sum(tf.one_hot(truths * BINS + places, 2 * BINS, dtype=tf.int32), 0), [2, BINS])


def metrics_from_histogram(tally):
    """What a tally says.

    Args:
      tally: int [2, BINS], sum of `tally`'s answers.
    Returns:
      {"Precision" and "Recall" of verdicts from a probability of 0.5, "AUC" under the ROC curve through all BINS
      thresholds}: floats, without those that have no meaning.
    """
    # From the surest "ALL" downwards: what is called ALL at each threshold.
    counts = numpy.asarray(tally)[:, ::-1]
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
